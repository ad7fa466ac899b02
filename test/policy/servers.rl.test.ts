import { cpSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { beforeAll, expect, test } from 'vitest';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import { createPolicyServers } from '../../src/policy/servers.ts';
import type { DeployRequest, PolicyServers } from '../../src/policy/types.ts';
import { createVllmServer, type VllmServer } from '../../src/policy/vllm.ts';
import { eventually } from '../support/eventually.ts';
import { sharedVllm, type SharedVllm } from '../support/vllm.ts';
import { LETTERS, largestDifference, sampleOf, tinyProbe, tinyVersion, type TinyWeights } from './tiny.ts';

let shared: SharedVllm;
let server: VllmServer;
/** Two workers of one installation. */
let workers: readonly [PolicyServers, PolicyServers];
const { signal } = new AbortController();
const PARITY = 1e-3;

beforeAll(async () => {
  shared = await sharedVllm();
  server = createVllmServer(shared.address);
  const directory = mkdtempSync(join(tmpdir(), 'policy-'));
  const one = (): PolicyServers => createPolicyServers({ directory, log: pino({ level: 'silent' }) });
  workers = [one(), one()];
});

const base = () => ({ version: 0, model: shared.servedModel, path: null, sha256: null });
const deployOf = (
  run: string,
  more: Pick<DeployRequest, 'version' | 'probe'> & Partial<DeployRequest>,
): DeployRequest => ({
  run,
  servers: [shared.address],
  delivery: 'adapter',
  servedModel: shared.servedModel,
  ...more,
});
const adapter = (run: string, version: 1 | 2) =>
  deployOf(run, {
    version: tinyVersion(shared, `adapter-${version}`, version, `${run}-v${version}`),
    probe: tinyProbe(shared, `adapter-${version}`, version === 1 ? 'base' : 'adapter-1'),
  });

test('versions are deployed, sampled side by side, and retired when their requests have ended', async () => {
  const run = 'lora';
  const [first, second] = workers;
  expect(await first.newest(run, [shared.address])).toBeNull();
  const zero = await first.deploy(
    deployOf(run, { version: base(), probe: tinyProbe(shared, 'base') }),
    signal,
  );
  expect(zero).toMatchObject({ probe: 'first', paused: [] });
  expect(zero.parityMax).toBeLessThan(PARITY);
  const one = await first.deploy(adapter(run, 1), signal);
  expect(one).toMatchObject({ probe: 'distinct', paused: [] });
  expect(one.parityMax).toBeLessThan(PARITY);
  await Promise.all([first.deploy(adapter(run, 2), signal), second.deploy(adapter(run, 2), signal)]);
  expect((await second.newest(run, [shared.address]))?.version).toBe(2);

  const { version: v1 } = adapter(run, 1);
  const pinned = await second.sample(sampleOf(shared, run, v1), signal);
  expect(pinned.call).toMatchObject({ version: 1, model: 'lora-v1', server: shared.address });
  const again = await server.scoreTokens('lora-v1', [
    ...pinned.call.promptTokenIds,
    ...(pinned.call.choices[0]?.tokenIds ?? []),
  ]);
  expect(largestDifference(pinned.call.choices[0]?.logprobs ?? [], again.slice(-8))).toBeLessThan(PARITY);
  const latest = sampleOf(shared, run, v1);
  const newest = await second.sample({ ...latest, address: { ...latest.address, choice: 'latest' } }, signal);
  expect(newest.call).toMatchObject({ version: 2, model: 'lora-v2' });

  const long = first.sample(sampleOf(shared, run, v1, { maxTokens: 96, seed: 5 }), signal);
  await eventually('it generates', async () => (await server.load()).busyAdapters.includes('lora-v1'), {
    timeoutMs: 60_000,
    intervalMs: 5,
  });
  const early = await second.retire(
    { run, servers: [shared.address], unload: [v1], remove: [v1], drainMs: 20 },
    signal,
  );
  const { choices } = (await long).call;
  expect(choices[0]?.tokenIds.length).toBeGreaterThan(1);
  const late = await second.retire({ run, servers: [shared.address], unload: [v1], remove: [v1] }, signal);
  expect({ early, late }).toEqual({
    early: { unloaded: [], removable: [] },
    late: { unloaded: [1], removable: [1] },
  });
  expect((await server.models()).map(({ id }) => id)).not.toContain('lora-v1');
  await expect(first.sample(sampleOf(shared, run, v1), signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.missingPolicy,
  });
});

test('a server that answers with another adapter than the trainer published is caught, and never sampled', async () => {
  const run = 'wrong';
  const [servers] = workers;
  await servers.deploy(deployOf(run, { version: base(), probe: tinyProbe(shared, 'base') }), signal);
  const request = { ...adapter(run, 1), probe: tinyProbe(shared, 'adapter-2', 'adapter-1') };
  await expect(servers.deploy(request, signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.wrongPolicy,
    nonRetryable: true,
    message: expect.stringMatching(
      /127\.0\.0\.1:\d+.*version 1 of run wrong.*nearer to the version before.*difference/,
    ),
  });
  expect((await server.models()).map(({ id }) => id)).not.toContain('wrong-v1');
  await expect(servers.sample(sampleOf(shared, run, request.version), signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.missingPolicy,
  });
  const healed = await servers.deploy(adapter(run, 1), signal);
  expect(healed.probe).toBe('distinct');
});

test('a directory that was changed after it was published is not loaded', async () => {
  const run = 'changed';
  const { version, probe } = adapter(run, 1);
  const path = join(mkdtempSync(join(tmpdir(), 'changed-')), 'v1');
  cpSync(version.path ?? '', path, { recursive: true });
  cpSync(
    join(shared.models, 'adapter-2', 'adapter_model.safetensors'),
    join(path, 'adapter_model.safetensors'),
  );
  await expect(
    workers[0].deploy(deployOf(run, { version: { ...version, path }, probe }), signal),
  ).rejects.toMatchObject({
    type: FAILURE_TYPES.wrongPolicy,
    message: expect.stringContaining('adapter_model.safetensors'),
  });
});

/** Letter → log-probability of the constrained answer under some weights of the server's own. */
async function lettersOf(): Promise<ReadonlyMap<number, number>> {
  const asked = sampleOf(shared, 'full', base(), { choices: LETTERS });
  const { call } = await workers[0].sample(asked, signal);
  const body = {
    model: shared.servedModel,
    messages: asked.messages,
    max_tokens: 1,
    logprobs: true,
    top_logprobs: 4,
    allowed_token_ids: call.choices[0]?.allowed?.[0],
    return_tokens_as_token_ids: true,
  };
  const answer = (await server.client.post('/v1/chat/completions', body, { timeoutMs: 60_000 })) as {
    choices: { logprobs: { content: { top_logprobs: { token: string; logprob: number }[] }[] } }[];
  };
  const top = answer.choices[0]?.logprobs.content[0]?.top_logprobs ?? [];
  return new Map(top.map(({ token, logprob }) => [Number(token.replace('token_id:', '')), logprob]));
}

test('all parameters are changed under load, and every answer is of the version that it names', async () => {
  const run = 'full';
  const [first, second] = workers;
  const weights: readonly TinyWeights[] = ['base', 'full-1'];
  const full = (version: number): DeployRequest =>
    deployOf(run, {
      delivery: 'full',
      version: tinyVersion(shared, `full-${version % 2}`, version, shared.servedModel),
      probe: tinyProbe(
        shared,
        weights[version % 2] as TinyWeights,
        version === 0 ? null : (weights[(version + 1) % 2] as TinyWeights),
      ),
    });
  const zero = await first.deploy(full(0), signal);
  expect(zero.probe).toBe('first');
  expect(zero.paused).toHaveLength(1);
  const tables = [await lettersOf()];
  await first.deploy(full(1), signal);
  tables.push(await lettersOf());

  let deployed = false;
  const answers: { readonly version: number | null; readonly tokenId: number; readonly logprob: number }[] =
    [];
  const sampleOn = async (servers: PolicyServers, seed: number): Promise<void> => {
    for (let round = 0; !deployed || round < 2; round += 1) {
      const request = sampleOf(
        shared,
        run,
        { model: shared.servedModel, version: 0 },
        { choices: LETTERS, n: 4, seed: seed + round },
      );
      const { call } = await servers.sample(request, signal);
      for (const { tokenIds, logprobs } of call.choices)
        answers.push({
          version: call.version,
          tokenId: tokenIds[0] as number,
          logprob: logprobs[0] as number,
        });
    }
  };
  const deploying = (async () => {
    for (let version = 2; version <= 7; version += 1) {
      const { probe, parityMax, paused } = await second.deploy(full(version), signal);
      expect({ probe, paused: paused.length }).toEqual({ probe: 'distinct', paused: 1 });
      expect(parityMax).toBeLessThan(PARITY);
    }
    deployed = true;
  })();
  await Promise.all([deploying, sampleOn(first, 100), sampleOn(second, 200), sampleOn(first, 300)]);
  const versions = new Set(answers.map(({ version }) => version));
  expect(versions.size).toBeGreaterThan(2);
  for (const { version, tokenId, logprob } of answers)
    expect(logprob).toBeCloseTo(tables[(version ?? 0) % 2]?.get(tokenId) ?? Number.NaN, 3);
});

test('an export without the output head is refused before a server sees it', async () => {
  const version = tinyVersion(shared, 'tied-1', 8, shared.servedModel);
  const request = deployOf('full', { delivery: 'full', version, probe: tinyProbe(shared, 'full-1') });
  await expect(workers[0].deploy(request, signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.badInput,
    message: expect.stringContaining('lm_head.weight'),
  });
});

test('a server that a dead worker left paused, with half of its weights, is mended by whoever samples next', async () => {
  await server.pause('keep');
  await server.setWeightVersion('unknown');
  const request = sampleOf(shared, 'full', { model: shared.servedModel, version: 7 }, { choices: LETTERS });
  const { call } = await workers[0].sample(request, signal);
  expect(call.version).toBe(7);
  expect(await server.isPaused()).toBe(false);
  await workers[0].mend('full', [shared.address], signal); // the one that the request began has ended
  await server.pause('keep');
  expect(await workers[1].mend('full', [shared.address], signal)).toEqual([
    { server: shared.address, state: 'healthy', done: ['resumed'] },
  ]);
});

test('a run whose servers were taken over by another one is told so, and so is an adapter on foreign weights', async () => {
  const [servers] = workers;
  const run = 'rival';
  const version = tinyVersion(shared, 'full-1', 1, shared.servedModel);
  await servers.deploy(
    deployOf(run, { delivery: 'full', version, probe: tinyProbe(shared, 'full-1') }),
    signal,
  );
  await expect(
    servers.sample(sampleOf(shared, 'full', { model: shared.servedModel, version: 7 }), signal),
  ).rejects.toMatchObject({
    type: FAILURE_TYPES.wrongPolicy,
    message: expect.stringContaining('run rival'),
  });
  const onForeign = deployOf('lora-2', { version: base(), probe: tinyProbe(shared, 'base') });
  await expect(servers.deploy(onForeign, signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.wrongPolicy,
    message: expect.stringContaining('loaded as rival/v1'),
  });
});

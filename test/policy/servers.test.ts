import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ApplicationFailure } from '@temporalio/common';
import pino from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import type { PublishedVersion } from '../../src/domain/rl/messages.ts';
import { ownServer } from '../../src/policy/choice.ts';
import { createPolicyServers } from '../../src/policy/servers.ts';
import type { DeployRequest, PolicyServers, SampleRequest } from '../../src/policy/types.ts';
import { sendJson } from '../support/http.ts';
import { startFakeVllm, type FakeVllm } from './fakeVllm.ts';

const RUN = 'run';
const { signal } = new AbortController();
let fakes: readonly FakeVllm[];
let directory: string;
let policy: PolicyServers;

beforeEach(async () => {
  fakes = await Promise.all([startFakeVllm(), startFakeVllm()]);
  directory = mkdtempSync(join(tmpdir(), 'policy-'));
  policy = worker();
});
afterEach(() => Promise.all(fakes.map((fake) => fake[Symbol.asyncDispose]())));

const worker = (): PolicyServers =>
  createPolicyServers({ directory: join(directory, 'ledgers'), log: pino({ level: 'silent' }) });
const servers = (): readonly string[] => fakes.map(({ address }) => address);
const fake = (at: 0 | 1): FakeVllm => fakes[at] as FakeVllm;

/** A version's directory, whose weights say -(version + 1) of every token, on every server's disk. */
function published(version: number, model: string, says = -(version + 1)): PublishedVersion {
  const path = join(directory, `${model}-${version}`);
  mkdirSync(path);
  const header = Buffer.from(
    JSON.stringify({ 'lm_head.weight': { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const content = Buffer.concat([length, header, Buffer.from([version, 0, 0, 0])]);
  writeFileSync(join(path, 'model.safetensors'), content);
  writeFileSync(join(path, 'config.json'), '{}');
  const files = { 'config.json': hash('{}'), 'model.safetensors': hash(content) };
  const sha256 = hash(
    `{"config.json": "${files['config.json']}", "model.safetensors": "${files['model.safetensors']}"}`,
  );
  writeFileSync(join(path, 'manifest.json'), JSON.stringify({ step: version, sha256, files }));
  for (const { state } of fakes) state.disk.set(path, says);
  return { version, model, path, sha256 };
}
const hash = (content: string | Buffer): string => createHash('sha256').update(content).digest('hex');

const says = (version: number): readonly number[] => [-(version + 1), -(version + 1)];
const deployOf = (version: PublishedVersion, more: Partial<DeployRequest> = {}): DeployRequest => ({
  run: RUN,
  servers: servers(),
  delivery: 'adapter',
  servedModel: 'base',
  version,
  probe: {
    tokenIds: [5, 6, 7],
    expected: says(version.version),
    previous: version.version === 0 ? null : says(version.version - 1),
  },
  ...more,
});
const BASE: PublishedVersion = { version: 0, model: 'base', path: null, sha256: null };
const full = (version: number): DeployRequest => deployOf(published(version, 'base'), { delivery: 'full' });
const sampleOf = (version: PublishedVersion, more: Partial<SampleRequest> = {}): SampleRequest => ({
  run: RUN,
  address: { servers: servers(), choice: 'pinned', model: version.model, version: version.version },
  key: 'g1',
  messages: [{ role: 'user', content: 'hello' }],
  n: 1,
  temperature: 1,
  maxTokens: 2,
  seed: 1,
  choices: null,
  ...more,
});

test('a version gets onto every server, and a repeated deployment changes nothing', async () => {
  await policy.deploy(deployOf(BASE), signal);
  const request = deployOf(published(1, 'p-v1'));
  expect(await policy.deploy(request, signal)).toMatchObject({ parityMax: 0, probe: 'distinct', paused: [] });
  const before = fakes.map((one) => one.changes());
  expect(before).toEqual([['/v1/load_lora_adapter'], ['/v1/load_lora_adapter']]);
  expect(await worker().deploy(request, signal)).toMatchObject({ probe: 'distinct' });
  expect(fakes.map((one) => one.changes())).toEqual(before);
  expect((await worker().newest(RUN, servers()))?.version).toBe(1);
});

test('all parameters are changed between pause and resume, with an empty cache and a label', async () => {
  const deployed = await policy.deploy(full(0), signal);
  expect(deployed.paused.map(({ server }) => server)).toEqual(servers());
  expect(fake(0).changes()).toEqual([
    '/pause?mode=wait',
    '/update_weight_version',
    '/collective_rpc',
    '/reset_prefix_cache',
    '/update_weight_version',
    '/resume',
  ]);
  expect(fake(0).state).toMatchObject({
    paused: false,
    label: expect.stringMatching(/^run\/v0\/[0-9a-f]{12}$/),
  });
});

test('a load that fails leaves the server resumed, and nobody samples before another one has succeeded', async () => {
  await policy.deploy(full(0), signal);
  const request = full(1);
  for (const { state } of fakes) state.disk.delete(request.version.path ?? '');
  await expect(policy.deploy(request, signal)).rejects.toMatchObject({ type: FAILURE_TYPES.infra });
  expect(fakes.map(({ state }) => [state.paused, state.label])).toEqual([
    [false, 'unknown'],
    [false, 'unknown'],
  ]);
  await expect(policy.sample(sampleOf(request.version), signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.infra,
  });
  for (const { state } of fakes) state.disk.set(request.version.path ?? '', -2);
  expect((await policy.sample(sampleOf(request.version), signal)).call.version).toBe(1);
});

test('one server that is away does not stop a version; it gets it when it is asked again', async () => {
  await policy.deploy(deployOf(BASE), signal);
  const version = published(1, 'p-v1');
  fake(1).state.intercept = (_request, response) => (response.destroy(), true);
  expect((await policy.deploy(deployOf(version), signal)).missed).toEqual([fake(1).address]);
  fake(1).state.intercept = null;
  const address = { servers: [fake(1).address], choice: 'pinned' as const, model: version.model, version: 1 };
  expect((await policy.sample(sampleOf(version, { address }), signal)).call).toMatchObject({
    version: 1,
    model: 'p-v1',
  });
  fakes.forEach(({ state }) => (state.intercept = (_request, response) => (response.destroy(), true)));
  await expect(policy.deploy(deployOf(version), signal)).rejects.toMatchObject({ type: FAILURE_TYPES.infra });
});

test('an episode stays with its server while that is healthy, and goes to the least loaded one when it is not', async () => {
  const third = await startFakeVllm();
  try {
    fakes = [...fakes, third];
    await policy.deploy(deployOf(BASE), signal);
    const own = ownServer(servers(), 'g1');
    for (let turn = 0; turn < 3; turn += 1)
      expect((await policy.sample(sampleOf(BASE), signal)).call.server).toBe(own);
    const [busy, idle] = fakes.filter(({ address }) => address !== own) as [FakeVllm, FakeVllm];
    busy.state.running = 7;
    const dead = fakes.find(({ address }) => address === own) as FakeVllm;
    dead.state.intercept = (_request, response) => (
      sendJson(response, { error: { message: 'dead' } }, { status: 503 }),
      true
    );
    const other = worker(); // what this one knows of the load is fresh
    expect((await other.sample(sampleOf(BASE), signal)).call.server).toBe(idle.address);
  } finally {
    await third[Symbol.asyncDispose]();
  }
});

test('a server that fails while it is asked costs the request nothing but the next server', async () => {
  await policy.deploy(deployOf(BASE), signal);
  const own = fakes.find(({ address }) => address === ownServer(servers(), 'g1')) as FakeVllm;
  own.state.intercept = ({ url }, response) => url === '/v1/chat/completions' && (response.destroy(), true);
  expect((await policy.sample(sampleOf(BASE), signal)).call.server).not.toBe(own.address);
  const wrongRequest = { ...sampleOf(BASE), choices: ['A', 'AB'] };
  await expect(policy.sample(wrongRequest, signal)).rejects.toMatchObject({ type: FAILURE_TYPES.badInput });
});

test('an answer that a change of all parameters overtook is asked for again, and bears the version it is of', async () => {
  const only = { servers: [fake(0).address] };
  await policy.deploy({ ...full(0), ...only }, signal);
  const next = { ...full(1), ...only };
  let answered = 0;
  fake(0).state.intercept = async ({ url }) => {
    if (url !== '/v1/chat/completions') return false;
    answered += 1;
    if (answered === 1) await worker().deploy(next, signal); // it was queued behind the change
    return false;
  };
  const address = { ...only, choice: 'pinned' as const, model: 'base', version: 0 };
  const { call } = await policy.sample(sampleOf(BASE, { address }), signal);
  expect(answered).toBe(2);
  expect(call.version).toBe(1);
  expect(call.choices[0]?.logprobs).toEqual([-2, -2]);
});

test('a server that was restarted gets its adapters back on the first request that misses them', async () => {
  await policy.deploy(deployOf(BASE), signal);
  const version = published(1, 'p-v1');
  await policy.deploy(deployOf(version), signal);
  for (const { state } of fakes) state.adapters.clear();
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_none, at) => policy.sample(sampleOf(version, { key: `g${at}` }), signal)),
  );
  expect(new Set(answers.map(({ call }) => call.server)).size).toBe(2);
  expect(answers.every(({ call }) => call.version === 1 && call.choices[0]?.logprobs[0] === -2)).toBe(true);
  for (const one of fakes) expect(one.changes().filter((url) => url.includes('/load_lora'))).toHaveLength(2);
});

test('versions whose files are gone are forgotten where newer ones have followed; the newest is missed aloud', async () => {
  const versions = [1, 2].map((version) => published(version, `run-v${version}`));
  for (const version of versions) await policy.deploy(deployOf(version), signal);
  expect((await policy.held(RUN, servers())).map(({ version }) => version)).toEqual([1, 2]);
  const [first, second] = versions;
  for (const { state } of fakes) {
    state.adapters.clear(); // restarted
    state.disk.delete(first?.path ?? '');
  }
  const mended = await policy.mend(RUN, servers(), signal);
  expect(mended[0]?.done).toEqual(['forgot run-v1, whose files are gone', 'loaded run-v2']);
  expect((await policy.held(RUN, servers())).map(({ version }) => version)).toEqual([2]);
  for (const { state } of fakes) {
    state.adapters.clear();
    state.disk.delete(second?.path ?? '');
  }
  await expect(policy.mend(RUN, servers(), signal)).rejects.toThrow(/finds no adapter at .*run-v2/);
});

test('a model that no server has fails at once outside training, since nobody will load it there', async () => {
  const request = { ...sampleOf({ ...BASE, model: 'mistyped', version: 0 }), run: null };
  await expect(policy.sample(request, signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.badInput,
    nonRetryable: true,
  });
});

test('a restarted server whose model on the disk is another one now is caught before anybody samples from it', async () => {
  const { version, ...rest } = full(0);
  await policy.deploy({ version, ...rest }, signal);
  const both = [policy, worker()];
  await Promise.all(both.map((one) => one.sample(sampleOf(version), signal)));
  for (const { state } of fakes) {
    state.label = 'default';
    state.disk.set(version.path ?? '', -7);
    state.intercept = async ({ body }) => {
      if (body.includes('logprob_token_ids')) await delay(300); // others ask between the load and the proof
      return false;
    };
  }
  const asked = Array.from({ length: 10 }, async (_none, at) => {
    await delay(at * 60);
    return both[at % 2]?.sample(sampleOf(version), signal);
  });
  const outcomes = await Promise.allSettled(asked);
  expect(outcomes.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 'rejected'));
  const reasons = outcomes.map((outcome) => (outcome as PromiseRejectedResult).reason as ApplicationFailure);
  expect(reasons.map(({ type }) => type)).toContain(FAILURE_TYPES.wrongPolicy);
});

test('a wrong adapter is unloaded and forgotten, and the message names server, version and difference', async () => {
  await policy.deploy(deployOf(BASE), signal);
  const stale = published(1, 'p-v1', -1); // as if the trainer's new version had never reached the disk
  const failed = policy.deploy(deployOf(stale), signal);
  await expect(failed).rejects.toMatchObject({ type: FAILURE_TYPES.wrongPolicy, nonRetryable: true });
  await expect(failed).rejects.toThrow(
    /127\.0\.0\.1:\d+, asked for version 1 of run run .*nearer to the version before.*1\.00/,
  );
  expect(fakes.flatMap(({ state }) => [...state.adapters.keys()])).toEqual([]);
  expect((await policy.newest(RUN, servers()))?.version).toBe(0);
});

test("somebody else's adapter of the same name is neither sampled nor unloaded", async () => {
  await policy.deploy(deployOf(BASE), signal);
  fake(1).state.adapters.set('p-v1', { path: '/elsewhere', weights: -2 });
  await expect(policy.deploy(deployOf(published(1, 'p-v1')), signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.wrongPolicy,
    message: expect.stringContaining('/elsewhere'),
  });
  expect(fake(1).state.adapters.get('p-v1')?.path).toBe('/elsewhere');
});

test('a server with log-probabilities from before temperature and masks is refused with the option to start it with', async () => {
  fake(1).state.processed = false;
  await expect(policy.deploy(deployOf(BASE), signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.badInput,
    message: expect.stringContaining('--logprobs-mode processed_logprobs'),
  });
});

test('what was published is proven before a server sees it', async () => {
  const version = published(1, 'p-v1');
  writeFileSync(join(version.path ?? '', 'config.json'), '{ }');
  await expect(policy.deploy(deployOf(version), signal)).rejects.toThrow(/config\.json is another file/);
  const other = published(2, 'p-v2');
  const renamed = { ...other, sha256: version.sha256 };
  await expect(policy.deploy(deployOf(renamed), signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.wrongPolicy,
  });
  const gone = { ...other, path: join(directory, 'gone') };
  await expect(policy.deploy(deployOf(gone), signal)).rejects.toMatchObject({ type: FAILURE_TYPES.infra });
  expect(fakes.flatMap((one) => one.changes())).toEqual([]);
});

test('a version is unloaded when its requests have ended, and removable when no server holds it', async () => {
  await policy.deploy(deployOf(BASE), signal);
  const version = published(1, 'p-v1');
  await policy.deploy(deployOf(version), signal);
  await policy.deploy(deployOf(published(2, 'p-v2')), signal);
  const request = { run: RUN, servers: servers(), unload: [version], remove: [version], drainMs: 50 };
  fake(1).state.busyAdapters = ['p-v1'];
  expect(await policy.retire(request, signal)).toEqual({ unloaded: [], removable: [] });
  await expect(policy.sample(sampleOf(version), signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.missingPolicy,
  });
  fake(1).state.busyAdapters = [];
  expect(await policy.retire(request, signal)).toEqual({ unloaded: [1], removable: [1] });
  expect(await policy.retire(request, signal)).toEqual({ unloaded: [1], removable: [1] }); // a repeated attempt
  expect(fakes.map(({ state }) => [...state.adapters.keys()])).toEqual([['p-v2'], ['p-v2']]);
});

test('files stay while a server hangs, and may go when its process has ended', async () => {
  await policy.deploy(deployOf(BASE), signal);
  const version = published(1, 'p-v1');
  await policy.deploy(deployOf(version), signal);
  const request = { run: RUN, servers: servers(), unload: [version], remove: [version], drainMs: 50 };
  fake(1).state.intercept = (_request, response) => (response.destroy(), true);
  expect(await policy.retire(request, signal)).toEqual({ unloaded: [], removable: [] });
  await fake(1).http.close();
  expect(await policy.retire(request, signal)).toEqual({ unloaded: [1], removable: [1] });
});

test('two runs with adapters share a server; one that trains all parameters takes it over and says so', async () => {
  await policy.deploy(deployOf(BASE), signal);
  await policy.deploy({ ...deployOf(BASE), run: 'other' }, signal);
  const version = published(1, 'p-v1');
  await policy.deploy(deployOf(version), signal);
  expect((await policy.sample({ ...sampleOf(BASE), run: 'other' }, signal)).call.version).toBe(0);
  await policy.deploy({ ...full(0), run: 'greedy', probe: deployOf(BASE).probe }, signal);
  await policy.deploy({ ...deployOf(published(9, 'base')), run: 'greedy', delivery: 'full' }, signal);
  await expect(policy.sample(sampleOf(BASE), signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.wrongPolicy,
    message: expect.stringContaining('loaded as greedy/v9'),
  });
});

test('a paused server is resumed by the next who samples, once for all who wait', async () => {
  await policy.deploy(deployOf(BASE), signal);
  for (const { state } of fakes) state.paused = true;
  const other = worker();
  await Promise.all(
    Array.from({ length: 12 }, (_none, at) =>
      (at % 2 === 0 ? policy : other).sample(sampleOf(BASE, { key: `g${at}` }), signal),
    ),
  );
  for (const one of fakes) expect(one.changes()).toEqual(['/resume']);
});

test('a request that waits on a server whose pauser has died is answered', async () => {
  await policy.deploy(deployOf(BASE), signal);
  await policy.sample(sampleOf(BASE), signal);
  const own = fakes.find(({ address }) => address === ownServer(servers(), 'g1')) as FakeVllm;
  own.state.paused = true; // a moment ago it was not
  expect((await policy.sample(sampleOf(BASE), signal)).call.server).toBe(own.address);
  expect(own.changes()).toEqual(['/resume']);
});

test('a server that is asked often is asked for its weights once for each answer', async () => {
  await policy.deploy(deployOf(BASE), signal);
  const looks = (): number =>
    fakes.flatMap(({ http }) => http.requests).filter(({ url }) => /weight_info|is_paused/.test(url)).length;
  await policy.sample(sampleOf(BASE), signal);
  const before = looks();
  for (let turn = 0; turn < 5; turn += 1) await policy.sample(sampleOf(BASE), signal);
  expect(looks() - before).toBe(5);
});

test('a cancelled sample is cancelled, on no other server', async () => {
  await policy.deploy(deployOf(BASE), signal);
  const stop = new AbortController();
  for (const { state } of fakes)
    state.intercept = ({ url }) => {
      if (url === '/v1/chat/completions') stop.abort();
      return url === '/v1/chat/completions';
    };
  await expect(policy.sample(sampleOf(BASE), stop.signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.cancelled,
  });
  expect(
    fakes.flatMap(({ http }) => http.requests).filter(({ url }) => url === '/v1/chat/completions'),
  ).toHaveLength(1);
});

test('outside training any server is asked by its name alone', async () => {
  const request = { ...sampleOf({ ...BASE, version: 0 }), run: null };
  const { call } = await policy.sample(
    { ...request, address: { ...request.address, version: null } },
    signal,
  );
  expect(call).toMatchObject({ version: null, model: 'base' });
  expect(
    fakes.flatMap(({ http }) => http.requests.map(({ url }) => url)).filter((url) => url.includes('weight')),
  ).toEqual([]);
});

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, expect, test } from 'vitest';
import { campaignStatus, startCampaign, waitForCampaign } from '../../src/client/campaigns.ts';
import { connectClient } from '../../src/client/connect.ts';
import { workflowIds } from '../../src/domain/ids.ts';
import { DEFAULT_QUEUE_PREFIX } from '../../src/domain/messages.ts';
import type { CampaignResult } from '../../src/domain/messages.ts';
import { recordNames } from '../../src/domain/records.ts';
import { defaultCacheDir } from '../../src/setup/state.ts';
import { ensureTemporal, stopEmbeddedTemporal } from '../../src/setup/temporalServer.ts';
import { createFsRecordStore } from '../../src/store/fs.ts';
import { testInstallation } from '../support/docker.ts';
import type { TestInstallation } from '../support/docker.ts';
import { temporalServer } from '../support/temporal.ts';

const KILLS = 10;
const SLOTS = 3;
const REQUEST = { name: 'kill', sources: [{ pypi: 'cachetools', maxCandidates: 2 }] };
const SEED = Number(process.env['REPOFORGE_TEST_SEED'] ?? Date.now() % 1_000_000);

interface Trial {
  readonly dataset: string;
  readonly result: CampaignResult;
  readonly kills: number;
  readonly containersLeft: readonly string[];
  readonly temporaryLeft: readonly string[];
  readonly instances: readonly { readonly id: string; readonly stages: readonly string[] }[];
  readonly recorded: readonly string[];
}

const installations: TestInstallation[] = [];
const workers: ChildProcess[] = [];
afterAll(async () => {
  for (const worker of workers) worker.kill('SIGKILL');
  for (const { state } of installations) await stopEmbeddedTemporal(state);
  for (const one of installations) await one.cleanup();
});

/** Small numbers that a seed gives again. */
function createRandom(seed: number): () => number {
  let state = seed % 2 ** 31;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
}

/** A worker process of its own, ready to work; its temporary files lie where we can count them. */
async function startWorker(installation: TestInstallation, temporary: string): Promise<ChildProcess> {
  const worker = spawn(process.execPath, [join(import.meta.dirname, '..', 'support', 'workerProcess.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      REPOFORGE_STATE: installation.stateDir,
      REPOFORGE_CACHE: defaultCacheDir(),
      REPOFORGE_SANDBOX_SLOTS: String(SLOTS),
      REPOFORGE_TEMPORAL_CLI: temporalServer().binary,
      REPOFORGE_LOG_LEVEL: 'error',
      TMPDIR: temporary,
    },
  });
  workers.push(worker);
  await Promise.race([
    once(worker.stdout, 'data'),
    once(worker, 'exit').then(([code]) => Promise.reject(new Error(`the worker ended with ${String(code)}`))),
  ]);
  return worker;
}

async function end(worker: ChildProcess, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  const ended = once(worker, 'exit');
  worker.kill(signal);
  await ended;
}

/** Runs the campaign in an empty installation; `kills` times the worker is killed at a moment that `random` names. */
async function runTrial(kills: number, random: () => number): Promise<Trial> {
  const installation = await testInstallation();
  installations.push(installation);
  const { state } = installation;
  const temporary = await mkdtemp(join(tmpdir(), 'rf-kill-'));
  const temporal = await ensureTemporal({
    state,
    settings: { cacheDir: defaultCacheDir(), temporalUiUrl: null },
    say: () => undefined,
    env: { ...process.env, PATH: `${join(temporalServer().binary, '..')}:${process.env['PATH']}` },
  });
  const connected = await connectClient(temporal);
  const { client } = connected;
  try {
    const records = createFsRecordStore(state.paths.records);
    const context = { client, queuePrefix: DEFAULT_QUEUE_PREFIX, records };
    await startCampaign(context, REQUEST);
    const running = async (): Promise<boolean> =>
      (await campaignStatus(context, REQUEST.name))?.status === 'RUNNING';
    const startedMs = performance.now();
    const say = (what: string): void =>
      void process.stderr.write(`  ${((performance.now() - startedMs) / 1_000).toFixed(1)} s: ${what}\n`);
    let killed = 0;
    let worker = await startWorker(installation, temporary);
    while (killed < kills && (await running())) {
      await delay(300 + random() * 6_000);
      await end(worker, 'SIGKILL');
      killed += 1;
      say(`kill ${killed}`);
      worker = await startWorker(installation, temporary);
    }
    const result = await waitForCampaign(context, REQUEST.name);
    say(`done, ${result.published} published`);
    await end(worker, 'SIGTERM');
    const ids = (await records.list(recordNames.campaign(REQUEST.name))).flatMap(
      (name) => /\/instances\/([^/]+)\/result$/.exec(name)?.[1] ?? [],
    );
    return {
      dataset: await readFile(join(state.dir, result.dataset), 'utf8'),
      result,
      kills: killed,
      containersLeft: (await installation.driver.list(installation.installation)).map(({ labels }) =>
        JSON.stringify(labels),
      ),
      temporaryLeft: await readdir(temporary),
      instances: await Promise.all(
        ids.map(async (id) => ({ id, stages: await completedStages(context, id) })),
      ),
      recorded: await records.list(`${recordNames.campaign(REQUEST.name)}/instances`),
    };
  } finally {
    await connected.close();
    await stopEmbeddedTemporal(state);
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Stage of every activity that an instance's history says was completed, over all of its runs. */
async function completedStages(
  context: { readonly client: Awaited<ReturnType<typeof connectClient>>['client'] },
  id: string,
): Promise<readonly string[]> {
  const workflowId = workflowIds.instance(REQUEST.name, id);
  const stages: string[] = [];
  const runs = context.client.workflow.list({ query: `WorkflowId = "${workflowId}"` });
  for await (const { runId } of runs) {
    const { events } = await context.client.workflow.getHandle(workflowId, runId).fetchHistory();
    const scheduled = new Map<string, string>();
    for (const event of events ?? []) {
      const input = event.activityTaskScheduledEventAttributes?.input?.payloads?.[0]?.data;
      const { stage } = (input ? JSON.parse(Buffer.from(input).toString()) : {}) as { stage?: string };
      if (stage !== undefined) scheduled.set(String(event.eventId), stage);
      const done = scheduled.get(String(event.activityTaskCompletedEventAttributes?.scheduledEventId));
      if (done !== undefined) stages.push(done);
    }
  }
  return stages;
}

/** Who proves an environment is whoever asks first; what is published is the same either way. */
const withoutProver = (names: readonly string[]): readonly string[] =>
  names.filter((name) => !/\/(compare|health-full)\./.test(name));

test(`A campaign whose worker is killed ${KILLS} times leaves the same dataset as one that was left alone`, async () => {
  process.stderr.write(`kill test: REPOFORGE_TEST_SEED=${SEED}\n`);
  const quiet = await runTrial(0, Math.random);
  const killed = await runTrial(KILLS, createRandom(SEED));

  expect(quiet.result.published).toBeGreaterThan(0);
  expect(killed.kills).toBe(KILLS);
  expect(killed.dataset).toBe(quiet.dataset);
  expect(killed.containersLeft).toEqual([]);
  expect(killed.temporaryLeft).toEqual([]);

  for (const { id, stages } of killed.instances)
    expect(new Set(stages).size, `${id}: ${stages.join(' ')}`).toBe(stages.length);
  expect(killed.instances.map(({ id }) => id)).toEqual(quiet.instances.map(({ id }) => id));
  expect(withoutProver(killed.recorded)).toEqual(withoutProver(quiet.recorded));
  expect(killed.recorded).toHaveLength(quiet.recorded.length);
}, 900_000); // a minute and a half each when nothing else runs

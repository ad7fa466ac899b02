import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { SERVED_MODEL, bugInstances, openServer, openTrainer, tinyModel } from '../../scripts/rl/world.ts';
import type { Instances } from '../../scripts/rl/world.ts';
import { startRl, waitForRl } from '../../src/client/rl.ts';
import type { RlOptions } from '../../src/domain/rl/options.ts';
import { RL_PRESETS } from '../../src/domain/rl/presets.ts';
import type { VllmProcess } from '../../src/policy/process.ts';
import { readRlLog } from '../../src/report/rlLog.ts';
import { openSession } from '../../src/setup/session.ts';
import type { Session } from '../../src/setup/session.ts';
import { readSettings } from '../../src/setup/settings.ts';
import { createHttpTrainer } from '../../src/training/httpTrainer.ts';
import type { TrainerProcess } from '../../src/training/process.ts';
import type { RunningWorkers } from '../../src/workers/main.ts';
import { makeBugProject } from './bugProject.ts';
import { testInstallation } from '../support/docker.ts';
import type { TestInstallation } from '../support/docker.ts';
import { temporalServer, uniquePrefix } from '../support/temporal.ts';

/**
 * Everything is real: bugs in a project through the whole lifecycle, vLLM, the trainer, verdicts from
 * containers. The model is not warmed, so that nothing is learned in so few steps; `npm run demo:rl` shows learning.
 */
const output = { json: false, say: () => undefined, result: () => undefined };
let installation: TestInstallation;
let session: Session;
let workers: RunningWorkers;
let trainer: TrainerProcess & { readonly python: string };
let server: VllmProcess;
let instances: Instances;
let model: string;

beforeAll(async () => {
  installation = await testInstallation();
  vi.stubEnv('TEMPORAL_ADDRESS', temporalServer().address);
  const settings = {
    ...readSettings(),
    stateDir: installation.stateDir,
    queuePrefix: uniquePrefix('training'),
  };
  session = await openSession({ settings, log: pino({ level: 'silent' }), say: output.say });
  trainer = await openTrainer(session, output);
  model = await tinyModel(session, trainer.python);
  const project = join(installation.stateDir, 'project');
  await makeBugProject(project);
  // containers on one core, the server's start on the other
  [instances, server] = await Promise.all([
    bugInstances(session, output, { campaign: 'bugs', packages: [project], wanted: 3 }),
    openServer(session, output, model, { maxRank: 8, maxLoras: 4 }),
  ]);
  workers = await session.startWorkers();
}, 900_000);

afterAll(async () => {
  await workers?.stop();
  await server?.stop();
  await trainer?.stop();
  await session?.close();
  await installation?.cleanup();
}, 120_000);

const TINY: RlOptions = {
  ...RL_PRESETS.tiny.options,
  groupsPerStep: 3,
  groupSize: 8,
  width: 9,
  stepsPerRun: 2,
};

async function train(run: string, options: Partial<RlOptions>) {
  const context = { ...session, store: session.deps.store };
  const { dataset, rows } = instances;
  await session.deps.leases.hold(() =>
    startRl(context, {
      run,
      dataset,
      rows,
      heldOut: 0,
      model,
      servedModel: SERVED_MODEL,
      servers: [server.address],
      trainer: trainer.url,
      options: { ...TINY, ...options },
    }),
  );
  const summary = await waitForRl(context, run);
  const log = await readRlLog(session.records, run);
  const journal = await createHttpTrainer({ url: trainer.url }).journal(run);
  return { summary, log, journal, samples: journal.flatMap(({ sampleIds }) => sampleIds) };
}

// first: the other run changes the server's base
test('Adapters, S = 1: versions are loaded beside those in use, and none is trained further back than the bound', async () => {
  const { summary, log, samples } = await train('lora', {
    steps: 6,
    lora: { rank: 8, alpha: 16 },
    maxStaleness: 1,
    learningRate: 2e-3,
  });
  expect(summary).toMatchObject({ state: 'done', step: 6 });
  expect(new Set(samples).size).toBe(samples.length);
  const staleness = log.entries.map(({ step }) => step.staleness.max);
  expect(Math.max(...staleness)).toBe(1);
  const versions = log.entries.flatMap(({ rollouts }) =>
    rollouts.flatMap(({ calls }) => calls.map(({ version }) => version)),
  );
  expect(new Set(versions).size).toBeGreaterThan(3);
  // each distinct patch was run once, every later verdict served
  expect(summary.counts.executed).toBeGreaterThanOrEqual(3 * 2);
  expect(summary.counts.executed).toBeLessThanOrEqual(3 * 4);
  expect(summary.counts.served).toBeGreaterThan(0);
  expect(summary.counts.parityMax).toBeLessThan(1e-3);
}, 600_000);

test('All parameters, S = 0: servers say what the trainer says, every sample is trained once, verdicts are of containers', async () => {
  const { summary, log, journal, samples } = await train('full', { steps: 5 });
  expect(summary).toMatchObject({ state: 'done', step: 5 });
  expect(journal.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5]);
  expect(new Set(samples).size).toBe(5 * 3 * 8);
  expect(samples).toHaveLength(5 * 3 * 8);
  expect(log.missing).toEqual([]);
  for (const { step } of log.entries) {
    expect(step.metrics['mismatch_max']).toBeLessThan(1e-3);
    expect(step.staleness.max).toBe(0);
    expect(step.reward).toBeGreaterThan(0);
    expect(step.reward).toBeLessThan(1);
  }
  expect(summary.counts.parityMax).toBeLessThan(1e-3);
  // their verdicts are known from the run before
  expect(summary.counts.executed).toBe(0);
  expect(summary.counts.served).toBeGreaterThan(0);
  expect(await readFile(summary.report ?? '', 'utf8')).toContain('<svg');
}, 600_000);

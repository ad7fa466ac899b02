import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { VARIANTS, learn } from '../../scripts/rl/learn.ts';
import type { LearnRequest } from '../../scripts/rl/learn.ts';
import {
  SERVED_MODEL,
  bugInstances,
  openServer,
  openTrainer,
  runName,
  warmModel,
} from '../../scripts/rl/world.ts';
import type { Instances, WarmModel } from '../../scripts/rl/world.ts';
import { forgetTraining } from '../../src/cli/forget.ts';
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
 * Everything is real: bugs in a project through the whole lifecycle, a warm start on other tasks, vLLM, the trainer, verdicts
 * from containers. A small `npm run demo:rl`.
 */
const output = { json: false, say: () => undefined, result: () => undefined };
let installation: TestInstallation;
let session: Session;
let workers: RunningWorkers;
let trainer: TrainerProcess & { readonly python: string };
let server: VllmProcess;
let instances: Instances;
let model: WarmModel;
let request: Pick<LearnRequest, 'instances' | 'model' | 'server' | 'trainer'>;

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
  const project = join(installation.stateDir, 'project');
  await makeBugProject(project);
  const openWarm = async (): Promise<void> => {
    model = await warmModel(session, output, trainer, 'narrow');
    server = await openServer(session, output, model.path, { maxRank: 8, maxLoras: 4 });
  };
  // containers on one core, the model and its server on the other
  [instances] = await Promise.all([
    bugInstances(session, output, { campaign: 'bugs', packages: [project], wanted: 4 }),
    openWarm(),
  ]);
  request = { instances, model, server: server.address, trainer: trainer.url };
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
      model: model.path,
      servedModel: SERVED_MODEL,
      servers: [server.address],
      trainer: trainer.url,
      options: { ...TINY, ...options },
    }),
  );
  const summary = await waitForRl(context, run);
  const log = await readRlLog(session.records, run);
  const journal = await createHttpTrainer({ url: trainer.url }).journal(run);
  return { summary, log, samples: journal.flatMap(({ sampleIds }) => sampleIds) };
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
  expect(summary.counts.executed).toBeGreaterThanOrEqual(4 * 2);
  expect(summary.counts.executed).toBeLessThanOrEqual(4 * 4);
  expect(summary.counts.served).toBeGreaterThan(0);
  expect(summary.counts.parityMax).toBeLessThan(1e-3);
}, 600_000);

test('All parameters, S = 0, on drawn orders: learns from verdicts of containers; servers say what the trainer says, every sample is trained once', async () => {
  const learned = await learn(session, workers, output, {
    ...request,
    name: 'full',
    variant: 'full',
    seed: 0,
  });
  expect(learned).toMatchObject({ state: 'done', staleness_max: 0 });
  expect(learned.reward_first).toBeLessThanOrEqual(0.4);
  expect(learned.reward_last).toBeGreaterThanOrEqual(0.8);
  expect(learned.steps).toBeLessThanOrEqual(150);
  expect(learned.constant_best).toBeLessThanOrEqual(1 / 4 + 0.05);
  // of the batches and of the probes
  expect(learned.parity_max).toBeLessThan(1e-3);
  // verdicts are known from the run before
  expect(learned.executed).toBe(0);
  expect(learned.served).toBeGreaterThan(0);
  const journal = await createHttpTrainer({ url: trainer.url }).journal('full');
  expect(journal.map(({ step }) => step)).toEqual(learned.curve.map((_reward, at) => at + 1));
  const samples = journal.flatMap(({ sampleIds }) => sampleIds);
  const { groupsPerStep, groupSize } = VARIANTS.full;
  expect(samples).toHaveLength(learned.steps * groupsPerStep * groupSize);
  expect(new Set(samples).size).toBe(samples.length);
  expect((await readRlLog(session.records, 'full')).missing).toEqual([]);
  expect(await readFile(join(installation.stateDir, 'rl/full/report/index.html'), 'utf8')).toContain('<svg');
}, 1_500_000);

test('The same with rewards permuted inside each batch learns nothing', async () => {
  const control = { ...request, name: 'control', variant: 'control', seed: 0, steps: 20 } as const;
  const learned = await learn(session, workers, output, control);
  expect(learned).toMatchObject({ state: 'done', steps: 20 });
  expect(learned.reward_window_max).toBeLessThanOrEqual(0.35); // all of its steps
}, 600_000);

test('A training run is forgotten, but for its name and what the trainer has of it', async () => {
  await expect(forgetTraining(session, 'controls')).rejects.toThrow(/no training run "controls"/);
  await forgetTraining(session, 'control');
  expect(await session.records.list('rollouts/control')).toEqual([]);
  expect((await readRlLog(session.records, 'control')).entries).toEqual([]);
  expect(await runName(session, 'control', { resume: true })).toBe('control-2');
  expect(await createHttpTrainer({ url: trainer.url }).journal('control')).toHaveLength(20);
});

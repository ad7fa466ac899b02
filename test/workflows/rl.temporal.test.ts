import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApplicationFailure } from '@temporalio/common';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRlControlActivities } from '../../src/activities/rlControl.ts';
import type { RlControlDeps } from '../../src/activities/rlControl.ts';
import type { RlControlActivities } from '../../src/activities/rlTypes.ts';
import { createEngines } from '../../bench/rl/engines.ts';
import type { EnginePlan, RlEngines } from '../../bench/rl/engines.ts';
import { cancelRl, rlStatus, startRl, stopRl, waitForRl } from '../../src/client/rl.ts';
import type { RlStartRequest } from '../../src/client/rl.ts';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import { workflowIds } from '../../src/domain/ids.ts';
import { QUEUE_ROLES, scopedWorkflowId, taskQueue } from '../../src/domain/messages.ts';
import type { RlInput, RlProgress, RlSummary } from '../../src/domain/rl/messages.ts';
import type { RlOptions } from '../../src/domain/rl/options.ts';
import { RL_PRESETS } from '../../src/domain/rl/presets.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import { startWorkers } from '../../src/workers/main.ts';
import { makeRow } from '../evaluation/rows.ts';
import { eventually } from '../support/eventually.ts';
import { createStubs, fakeRef } from '../support/stubs.ts';
import { temporalEnvironment, uniquePrefix, workflowBundle } from '../support/temporal.ts';

let env: TestWorkflowEnvironment;
beforeAll(async () => {
  env = await temporalEnvironment();
});
afterAll(() => env.teardown());

const PATIENT = { timeoutMs: 40_000 }; // a busy machine

const QUICK: EnginePlan = {
  seed: 1,
  slots: 64,
  answerMs: 1,
  toolMs: 2,
  sigma: 1,
  turns: { min: 1, max: 4 },
  filtered: 0.25,
  trainMs: 5,
  loadMs: 5,
};
const OPTIONS: RlOptions = {
  ...RL_PRESETS.tiny.options,
  steps: 6,
  groupsPerStep: 3,
  groupSize: 4,
  width: 32,
  lora: { rank: 8, alpha: 16 },
};

interface Rl extends RlEngines {
  readonly prefix: string;
  start(
    options?: Partial<RlOptions>,
    more?: Partial<Pick<RlInput, 'epoch' | 'heldOutCount'>>,
  ): Promise<{
    result(): Promise<RlSummary>;
    progress(): Promise<RlProgress>;
    update(name: string, ...args: unknown[]): Promise<void>;
  }>;
}

async function withRl(
  title: string,
  plan: Partial<EnginePlan>,
  work: (rl: Rl) => Promise<void>,
): Promise<void> {
  const prefix = uniquePrefix(title);
  const engines = createEngines({ ...QUICK, ...plan });
  const stubs = createStubs(env, { candidates: {} }).activities;
  const lookUp: RlControlActivities['describeRollouts'] = (request) =>
    createRlControlActivities({ client: env.client } as RlControlDeps).describeRollouts(request);
  const workers = await startWorkers({
    leases: null,
    roles: QUEUE_ROLES,
    connection: env.nativeConnection,
    place: {
      queuePrefix: prefix,
      namespace: env.namespace ?? 'default',
      sizing: { sandboxSlots: 50, miningPerSecond: null, llmSlots: 100 },
    },
    activities: {
      ...stubs,
      control: { ...stubs.control, ...engines.control, describeRollouts: lookUp },
      sandbox: { ...stubs.sandbox, ...engines.sandbox },
      host: engines.host,
      llm: { ...stubs.llm, ...engines.llm },
      trainer: engines.trainer,
    },
    bundle: workflowBundle(),
    log: pino({ level: 'silent' }),
  });
  const workflowId = scopedWorkflowId(prefix, workflowIds.rl('run'));
  const start: Rl['start'] = async (options = {}, more = {}) => {
    const input: RlInput = {
      run: 'run',
      queuePrefix: prefix,
      manifest: fakeRef('manifest'),
      promptCount: 5,
      heldOutCount: 0,
      options: { ...OPTIONS, ...options },
      epoch: 0,
      ...more,
    };
    await env.client.workflow.start('rl', {
      workflowId,
      taskQueue: taskQueue(prefix, 'control'),
      args: [input],
    });
    const handle = env.client.workflow.getHandle(workflowId);
    return {
      result: () => handle.result() as Promise<RlSummary>,
      progress: () => handle.query<RlProgress>('progress'),
      update: async (name, ...args) =>
        handle.executeUpdate<void, [unknown]>(name, { args: args as [unknown] }),
    };
  };
  try {
    await work({ ...engines, prefix, start });
  } finally {
    engines.stop();
    await workers.stop();
  }
}

const trainedIds = ({ log }: RlEngines): readonly string[] => [...log.trained.values()].flat();

describe('the rl workflow', () => {
  test.each([0, 1, 3])(
    'with a bound of %i takes its steps, and no group twice, however slow some are',
    async (bound) => {
      const straggler = (group: string): number => (Number(group.slice(-2)) % 5 === 0 ? 60 : 1);
      await withRl(`rl${bound}`, { straggler }, async (rl) => {
        const run = await rl.start({ maxStaleness: bound });
        expect(await run.result()).toMatchObject({
          state: 'done',
          step: 6,
          counts: { trained: 18, stale: 0 },
        });
        expect([...rl.log.trained.keys()]).toEqual([1, 2, 3, 4, 5, 6]);
        expect(new Set(trainedIds(rl)).size).toBe(18);
        const staleness = rl.log.steps.map(({ step }) => step.staleness.max);
        expect(Math.max(...staleness)).toBeLessThanOrEqual(bound);
        if (bound > 0) expect(Math.max(...staleness)).toBeGreaterThan(0);
        // who waits for the slow ones trains on all of them: what was dispatched in a step's reach is trained or had no variance
        const fates = rl.log.steps.flatMap(({ timeline }) => timeline.groups.map(({ fate }) => fate));
        expect(new Set(fates)).toEqual(new Set(['trained', 'no_variance']));
      });
    },
  );

  test('drops what is stale where it was told to, and counts it', async () => {
    const straggler = (group: string): number => (Number(group.slice(-2)) % 4 === 0 ? 400 : 1);
    await withRl('rldrop', { straggler, filtered: 0 }, async (rl) => {
      const run = await rl.start({ maxStaleness: 1, stale: 'drop', steps: 10 });
      const { counts } = await run.result();
      expect(counts.trained).toBe(30);
      expect(counts.stale).toBeGreaterThan(0);
      expect(Math.max(...rl.log.steps.map(({ step }) => step.staleness.max))).toBeLessThanOrEqual(1);
    });
  });

  test('trains what a step has taken, and drops the rest, when the bound is lowered during it', async () => {
    await withRl('rllower', { filtered: 0, trainMs: 1_000 }, async (rl) => {
      const run = await rl.start({ maxStaleness: 3, steps: 5 });
      await eventually('the second step', () => rl.log.calls['trainStep'] === 2, PATIENT);
      await run.update('setStaleness', { maxStaleness: 0 });
      const { counts } = await run.result();
      expect(counts.trained).toBe(15);
      const groups = rl.log.steps.flatMap(({ timeline }) => timeline.groups);
      expect(new Set(groups.map(({ id }) => id)).size).toBe(groups.length);
      expect(groups.filter(({ fate }) => fate === 'trained').map(({ id }) => id)).toEqual(trainedIds(rl));
      expect(groups.filter(({ fate }) => fate === 'stale').length).toBe(counts.stale);
      expect(counts.stale).toBeGreaterThan(0);
    });
  });

  test('carries everything over continue-as-new: numbers, versions and groups in flight', async () => {
    await withRl('rlcan', {}, async (rl) => {
      const run = await rl.start({ maxStaleness: 2, stepsPerRun: 2, steps: 7 });
      const { counts, step } = await run.result();
      expect(step).toBe(7);
      expect(counts.trained).toBe(21);
      expect(new Set(trainedIds(rl)).size).toBe(21);
      expect(rl.log.steps.map(({ step: one }) => one.step)).toEqual([1, 2, 3, 4, 5, 6, 7]);
      expect(rl.log.calls['openTraining']).toBe(4);
    });
  });

  test('scores the held-out instances every second version, over continue-as-new, and the last one before it ends', async () => {
    await withRl('rlheld', { filtered: 0 }, async (rl) => {
      const run = await rl.start({ evaluateEvery: 2, stepsPerRun: 3, maxStaleness: 1 }, { heldOutCount: 2 });
      expect(await run.result()).toMatchObject({ state: 'done', step: 6 });
      expect(rl.log.heldOut.toSorted((a, b) => a.step - b.step)).toEqual(
        [0, 2, 4, 6].map((step) => ({ step, reward: 0.5, episodes: 2 * 4 })),
      );
      // none of them is a group of a step
      expect(trainedIds(rl).filter((id) => id.includes('held'))).toEqual([]);
    });
  });

  test('pauses, is resized and given another bound, and stops after the step under way', async () => {
    await withRl('rlsteer', { trainMs: 50 }, async (rl) => {
      const run = await rl.start({ steps: 1_000, maxStaleness: 1 });
      await eventually('a step', async () => (await run.progress()).step > 0, PATIENT);
      await run.update('pause');
      await eventually(
        'all is quiet',
        async () => {
          const { state, runningGroups } = await run.progress();
          return state === 'paused' && runningGroups === 0;
        },
        PATIENT,
      );
      const { step } = await run.progress();
      await run.update('resize', { width: 2 });
      await run.update('setStaleness', { maxStaleness: 0 });
      await expect(run.update('resize', { width: 0 })).rejects.toThrow();
      await expect(run.update('setStaleness', { maxStaleness: -1 })).rejects.toThrow();
      expect((await run.progress()).step).toBeLessThanOrEqual(step + 1);
      await run.update('resume');
      await eventually('it goes on', async () => (await run.progress()).step > step + 1, PATIENT);
      expect(await run.progress()).toMatchObject({ width: 2, maxStaleness: 0, state: 'running' });
      await run.update('stop');
      const summary = await run.result();
      expect(summary).toMatchObject({ state: 'stopped', note: 'stopped by a person' });
      expect(summary.step).toBe(rl.log.committed);
      // the same name goes on from the trainer's step
      const again = await rl.start({ steps: summary.step + 2 }, { epoch: 1 });
      expect(await again.result()).toMatchObject({ state: 'done', step: summary.step + 2 });
      expect(new Set(trainedIds(rl)).size).toBe(trainedIds(rl).length);
    });
  });

  test('gives up, resumable, when no group of ten batches taught anything', async () => {
    await withRl('rlgarbage', { filtered: 1 }, async (rl) => {
      const run = await rl.start({});
      expect(await run.result()).toMatchObject({
        state: 'stuck',
        step: 0,
        note: expect.stringMatching(/10 batches/),
      });
      expect(rl.log.calls['trainStep']).toBeUndefined();
    });
  });

  test('gives up with what the trainer said when a loss is not finite', async () => {
    const before = (activity: string, { step }: { readonly step?: number }): void => {
      if (activity === 'trainStep' && step === 3)
        throw ApplicationFailure.nonRetryable('step 3: loss nan', FAILURE_TYPES.notFinite);
    };
    await withRl('rlnan', { before }, async (rl) => {
      const run = await rl.start({});
      expect(await run.result()).toMatchObject({
        state: 'stuck',
        step: 2,
        note: expect.stringContaining('nan'),
      });
    });
  });

  test('waits out a trainer and a server that fail for a while', async () => {
    const failures = new Map<string, number>();
    const before = (activity: string): void => {
      const count = (failures.get(activity) ?? 0) + 1;
      failures.set(activity, count);
      const fails =
        ['trainStep', 'deployVersion', 'publishVersion', 'sampleTurn'].includes(activity) && count === 2;
      if (fails) throw ApplicationFailure.create({ message: 'gone', type: FAILURE_TYPES.infra });
    };
    await withRl('rlfaults', { before }, async (rl) => {
      const run = await rl.start({ maxStaleness: 1 });
      expect(await run.result()).toMatchObject({ state: 'done', step: 6 });
      expect(new Set(trainedIds(rl)).size).toBe(18);
    });
  });

  test('outlives an outage of the policy servers, says what it waits for, and goes on by itself', async () => {
    let away = true;
    const before = (activity: string): void => {
      if (activity === 'sampleTurn' && away)
        throw ApplicationFailure.nonRetryable('the server refuses the key', FAILURE_TYPES.authentication);
    };
    await withRl('rloutage', { before, filtered: 0 }, async (rl) => {
      // with all that it drops counted against it, this run would be stuck after its first batch
      const run = await rl.start({ steps: 2, maxEmptyBatches: 1 });
      const told = async (): Promise<boolean> =>
        /infrastructure ended [3-9] groups in a row, the last: .*refuses the key/.test(
          (await run.progress()).note,
        );
      await eventually('the run says what it waits for', told, PATIENT);
      away = false;
      const { state, step, counts } = await run.result();
      expect({ state, step }).toEqual({ state: 'done', step: 2 });
      expect(counts.infra).toBeLessThan(20);
      expect(counts.infraInRow).toBe(0);
    });
  });

  test('is ended at once where its trainer is gone for good, and says what else a file asks for now', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'rf-rl-'));
    const before = (activity: string): void => {
      if (activity === 'openTraining')
        throw ApplicationFailure.create({ message: 'nobody listens', type: FAILURE_TYPES.infra });
    };
    await withRl('rlgone', { before }, async (rl) => {
      const context = {
        client: env.client,
        queuePrefix: rl.prefix,
        store: createFsArtefactStore(join(dir, 'artefacts')),
        records: createFsRecordStore(join(dir, 'records')),
      };
      const request: RlStartRequest = {
        run: 'gone',
        dataset: 'd.jsonl',
        rows: [{ row: makeRow(), provenCanaries: null }],
        heldOut: 0,
        options: { ...RL_PRESETS.repoforge.options, steps: 2 },
        servers: ['http://127.0.0.1:1'],
        trainer: 'http://127.0.0.1:2',
        model: '/model',
        servedModel: 'policy',
      };
      expect(await startRl(context, request)).toMatchObject({
        how: 'started',
        otherwise: false,
        withoutCanaries: 1,
      });
      expect(await startRl(context, request)).toMatchObject({ how: 'attached', otherwise: false });
      const corrected = { ...request, trainer: 'http://127.0.0.1:3' };
      expect(await startRl(context, corrected)).toMatchObject({ how: 'attached', otherwise: true });
      const heldUp = async (): Promise<boolean> =>
        ((await rlStatus(context, 'gone'))?.heldUpBy ?? []).some((what) => what.includes('nobody listens'));
      await eventually('status says what the run waits for', heldUp, PATIENT);
      await stopRl(context, 'gone'); // waits for a step that never comes
      expect((await rlStatus(context, 'gone'))?.status).toBe('RUNNING');
      await cancelRl(context, 'gone');
      await expect(waitForRl(context, 'gone')).rejects.toThrow(/cancel/i);
      expect(await startRl(context, corrected)).toMatchObject({ how: 'resumed', otherwise: false });
      await cancelRl(context, 'gone');
    });
    await rm(dir, { recursive: true });
  });

  test('finds rollouts that were terminated, and goes on without their groups', async () => {
    const straggler = (group: string): number => (group.endsWith('01') ? 1e6 : 1);
    await withRl('rlsilent', { filtered: 0, straggler }, async (rl) => {
      const budget = { ...OPTIONS.budget, maxWallMs: 8_000 };
      const run = await rl.start({ maxStaleness: 1, reconcileMs: 200, budget, steps: 3 });
      const lost = scopedWorkflowId(rl.prefix, workflowIds.rollout('run', 'e0-g000001', null));
      // a group counts as running from its dispatch on; its first rollout is there a moment later
      const terminated = async (): Promise<boolean> =>
        env.client.workflow
          .getHandle(lost)
          .terminate('a test')
          .then(
            () => true,
            () => false,
          );
      await eventually('its rollout is there to be terminated', terminated, PATIENT);
      expect(await run.result()).toMatchObject({ state: 'done', step: 3, counts: { trained: 9, infra: 1 } });
    });
  });
});

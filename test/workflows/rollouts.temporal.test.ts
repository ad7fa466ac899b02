import { ApplicationFailure } from '@temporalio/common';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { workflowIds } from '../../src/domain/ids.ts';
import { scopedWorkflowId, taskQueue } from '../../src/domain/messages.ts';
import type { RolloutsInput, RolloutsProgress } from '../../src/domain/rl/rollouts.ts';
import type { rollouts } from '../../src/workflows/rollouts.ts';
import { eventually } from '../support/eventually.ts';
import { createGate } from '../support/gate.ts';
import { stubOutcome, stubRollout } from '../support/rolloutStubs.ts';
import { fakeRef } from '../support/stubs.ts';
import { temporalEnvironment } from '../support/temporal.ts';
import { withBench } from '../support/workflowBench.ts';
import type { Bench } from '../support/workflowBench.ts';

let env: TestWorkflowEnvironment;
beforeAll(async () => {
  env = await temporalEnvironment();
});
afterAll(() => env.teardown());

const start = (bench: Bench, options: Partial<RolloutsInput>) =>
  env.client.workflow.start<typeof rollouts>('rollouts', {
    workflowId: scopedWorkflowId(bench.prefix, workflowIds.rollouts('run')),
    taskQueue: taskQueue(bench.prefix, 'control'),
    args: [
      {
        run: 'run',
        queuePrefix: bench.prefix,
        manifest: fakeRef('manifest'),
        servers: [],
        totals: { play: 4, select: 0 },
        width: 3,
        pageSize: 250,
        ...options,
      },
    ],
  });

/** The shortest rollout: the model finishes at once. */
const sampleTurn = async () =>
  ({ next: 'end', end: 'finished', action: 'finish', sampledTokens: 5 }) as const;
const groups = (bench: Bench): readonly string[] =>
  bench.of('gradeRollout').map(({ request }) => (request['rollout'] as { group: string }).group);

test('Every attempt is played once over several pages, then one choice is made for each instance, which counts as no attempt', async () => {
  await withBench(env, 'rollouts', { candidates: {}, rollout: { sampleTurn } }, async (bench) => {
    const handle = await start(bench, { totals: { play: 5, select: 2 }, pageSize: 2 });
    expect(await handle.result()).toMatchObject({
      state: 'done',
      counts: { done: 7, episodes: 5, resolved: 5, infra: 0, executed: 7, sampledTokens: 35 },
      report: { preds: 'preds.json' },
    });
    expect(groups(bench).toSorted()).toEqual(['p0', 'p1', 'p2', 'p3', 'p4', 's0', 's1']);
    expect(groups(bench).slice(-2).toSorted()).toEqual(['s0', 's1']);
  });
});

test('What is recorded is counted and not played, what has nothing to play is done, and what fails for good is infrastructure', async () => {
  const readRollouts = async ({ queuePrefix, count }: { queuePrefix: string; count: number }) =>
    Array.from({ length: count }, (_none, at) => {
      const input = { ...stubRollout(queuePrefix), group: `p${at}` };
      const settled = stubOutcome(input, [{ end: 'finished', patch: null, note: '' }]);
      return at === 0 ? { input, settled } : { input: at === 1 ? null : input, settled: null };
    });
  const before = ({ activity, request }: { activity: string; request: Record<string, unknown> }): void => {
    if (activity === 'sampleTurn' && (request['rollout'] as { group: string }).group === 'p3')
      throw ApplicationFailure.nonRetryable('the model is not there', 'NotFound');
  };
  const plan = { candidates: {}, before, rollout: { sampleTurn, readRollouts } };
  await withBench(env, 'rolloutsettled', plan, async (bench) => {
    const handle = await start(bench, {});
    expect(await handle.result()).toMatchObject({ counts: { done: 4, episodes: 3, resolved: 2, infra: 1 } });
    expect(groups(bench)).toEqual(['p2']);
  });
});

test('The window is as wide as it was told, also later; a pause starts nothing, and a stop cancels and still writes the report', async () => {
  const gate = createGate();
  const before = ({ activity, request }: { activity: string; request: Record<string, unknown> }) =>
    activity === 'sampleTurn' ? gate.pass((request['rollout'] as { group: string }).group) : undefined;
  await withBench(
    env,
    'rolloutswindow',
    { candidates: {}, before, rollout: { sampleTurn } },
    async (bench) => {
      const handle = await start(bench, { totals: { play: 8, select: 0 }, width: 2 });
      const waiting = (count: number) =>
        eventually(`${count} at the gate`, () => gate.waiting().length === count, { timeoutMs: 40_000 });
      await waiting(2);
      await handle.executeUpdate('resize', { args: [{ width: 3 }] });
      await waiting(3);
      await handle.executeUpdate('pause');
      gate.open('p0');
      const progress = () => handle.query<RolloutsProgress>('progress');
      await eventually('one is done', async () => (await progress()).counts.done === 1, {
        timeoutMs: 40_000,
      });
      expect(await progress()).toMatchObject({ state: 'paused', running: 2, width: 3, total: 8 });
      await handle.executeUpdate('stop', { args: [{ running: 'cancel' }] });
      setTimeout(() => gate.openAll(), 1_000); // stubs do not hear that they are cancelled
      expect(await handle.result()).toMatchObject({ state: 'stopped', counts: { done: 1, infra: 0 } });
      expect(bench.of('writeRollouts')).toHaveLength(1);
    },
  );
});

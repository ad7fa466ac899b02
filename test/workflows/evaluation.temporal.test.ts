import { ApplicationFailure } from '@temporalio/common';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { workflowIds } from '../../src/domain/ids.ts';
import { scopedWorkflowId, taskQueue } from '../../src/domain/messages.ts';
import type { EvaluationInput, EvaluationProgress } from '../../src/domain/messages.ts';
import type { evaluation } from '../../src/workflows/evaluation.ts';
import { eventually } from '../support/eventually.ts';
import { createGate } from '../support/gate.ts';
import { fakeRef } from '../support/stubs.ts';
import { temporalEnvironment } from '../support/temporal.ts';
import { withBench } from '../support/workflowBench.ts';
import type { Bench } from '../support/workflowBench.ts';

let env: TestWorkflowEnvironment;
beforeAll(async () => {
  env = await temporalEnvironment();
});
afterAll(() => env.teardown());

const start = (bench: Bench, options: Partial<EvaluationInput>) =>
  env.client.workflow.start<typeof evaluation>('evaluation', {
    workflowId: scopedWorkflowId(bench.prefix, workflowIds.evaluation('run')),
    taskQueue: taskQueue(bench.prefix, 'control'),
    args: [
      {
        runId: 'run',
        queuePrefix: bench.prefix,
        manifest: fakeRef('manifest'),
        total: 10,
        width: 4,
        pageSize: 500,
        ...options,
      },
    ],
  });

test('Every prediction is evaluated once over several pages, and executed and served are told apart', async () => {
  await withBench(env, 'evaluation', { candidates: {} }, async (bench) => {
    const handle = await start(bench, { total: 23, pageSize: 5 });
    expect(await handle.result()).toMatchObject({
      state: 'done',
      total: 23,
      counts: { done: 23, executed: 12, served: 11, resolved: 23, infra: 0 },
      reports: ['report.json'],
    });
    const indices = bench.of('evaluatePrediction').map(({ request }) => Number(request['index']));
    expect(indices.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 23 }, (_, index) => index));
  });
});

test('An evaluation that infrastructure fails for good is counted as infra and the run goes on to its reports', async () => {
  const before = ({ activity, request }: { activity: string; request: Record<string, unknown> }): void => {
    if (activity === 'evaluatePrediction' && request['index'] === 2)
      throw ApplicationFailure.nonRetryable('the daemon is gone', 'Infra');
  };
  await withBench(env, 'evalinfra', { candidates: {}, before }, async (bench) => {
    const handle = await start(bench, { total: 4 });
    expect(await handle.result()).toMatchObject({ counts: { done: 4, infra: 1, resolved: 3 } });
  });
});

test('The window is as wide as it was told, also later, and a stop ends with reports of what is done', async () => {
  const gate = createGate();
  const before = ({ activity, request }: { activity: string; request: Record<string, unknown> }) =>
    activity === 'evaluatePrediction' ? gate.pass(String(request['index'])) : undefined;
  await withBench(env, 'evalwindow', { candidates: {}, before }, async (bench) => {
    const handle = await start(bench, { total: 10, width: 2 });
    const waiting = (count: number) =>
      eventually(`${count} at the gate`, () => gate.waiting().length === count, { timeoutMs: 40_000 });
    await waiting(2);
    await handle.executeUpdate('resize', { args: [{ width: 3 }] });
    await waiting(3);
    await handle.executeUpdate('pause');
    gate.open('0');
    const progress = () => handle.query<EvaluationProgress>('progress');
    await eventually('one is done', async () => (await progress()).counts.done === 1, { timeoutMs: 40_000 });
    expect(await progress()).toMatchObject({ state: 'paused', running: 2, width: 3 });
    await handle.executeUpdate('stop', { args: [{ running: 'finish' }] });
    gate.openAll();
    expect(await handle.result()).toMatchObject({ state: 'stopped', counts: { done: 3 } });
  });
});

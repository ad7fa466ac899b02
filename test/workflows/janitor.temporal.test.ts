import { ApplicationFailure } from '@temporalio/common';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ensureJanitor } from '../../src/client/janitor.ts';
import { scopedWorkflowId, taskQueue } from '../../src/domain/messages.ts';
import type { janitor } from '../../src/workflows/janitor.ts';
import { eventually } from '../support/eventually.ts';
import { temporalEnvironment } from '../support/temporal.ts';
import { withBench } from '../support/workflowBench.ts';
import type { Bench } from '../support/workflowBench.ts';

let env: TestWorkflowEnvironment;
beforeAll(async () => {
  env = await temporalEnvironment();
});
afterAll(() => env.teardown());

const run = (bench: Bench, sample: number) =>
  env.client.workflow.execute<typeof janitor>('janitor', {
    workflowId: scopedWorkflowId(bench.prefix, 'janitor'),
    taskQueue: taskQueue(bench.prefix, 'control'),
    args: [{ queuePrefix: bench.prefix, sample }],
  });

test('A row whose gold is not resolved any more is drift, and one that infrastructure kept from running is not', async () => {
  const plan = {
    candidates: {},
    sample: ['good', 'drifted', 'unlucky', 'not-asked'],
    goldVerdict: (id: string) => (id === 'drifted' ? ('unresolved' as const) : ('resolved' as const)),
    before: ({ activity, request }: { activity: string; request: Record<string, unknown> }) => {
      if (activity === 'recheckGold' && request['instanceId'] === 'unlucky')
        throw ApplicationFailure.nonRetryable('the daemon is gone', 'Infra');
    },
  };
  await withBench(env, 'janitor', plan, async (bench) => {
    expect(await run(bench, 3)).toEqual({
      swept: { containers: 1, files: 2, bytes: 3 },
      checked: 2,
      unchecked: 1,
      drift: ['camp/drifted: unresolved'],
    });
  });
});

test('The schedule is made once however many workers start, and runs the janitor', async () => {
  await withBench(env, 'janitor', { candidates: {}, sample: ['good'] }, async (bench) => {
    await Promise.all([ensureJanitor(env.client, bench.prefix), ensureJanitor(env.client, bench.prefix)]);
    const schedule = env.client.schedule.getHandle(scopedWorkflowId(bench.prefix, 'janitor'));
    try {
      const { spec, info } = await schedule.describe();
      expect(spec.intervals).toMatchObject([{ every: 86_400_000 }]);
      expect(info.nextActionTimes[0]?.getTime()).toBeGreaterThan(Date.now() + 23 * 3_600_000);
      await schedule.trigger();
      await eventually('gold was run again', () => bench.of('recheckGold').length === 1);
    } finally {
      await schedule.delete();
    }
  });
});

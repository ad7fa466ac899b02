import { setTimeout as delay } from 'node:timers/promises';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mostOvertaken } from '../../scripts/soak/queue.ts';
import { workflowIds } from '../../src/domain/ids.ts';
import { scopedWorkflowId, taskQueue } from '../../src/domain/messages.ts';
import type { evaluation } from '../../src/workflows/evaluation.ts';
import { eventually } from '../support/eventually.ts';
import { fakeRef, type Call } from '../support/stubs.ts';
import { temporalEnvironment } from '../support/temporal.ts';
import { withBench } from '../support/workflowBench.ts';

const LARGE = 200;
const SMALL = 6;
const WINDOW = 16;
const SLOTS = 2;
const SMALL_FROM = 40; // the small run is started when so many of the large one are done

let env: TestWorkflowEnvironment;
let calls: readonly Call[];
let mostAtOnce = 0;
beforeAll(async () => {
  env = await temporalEnvironment();
  let running = 0;
  const before = async ({ activity }: Call): Promise<void> => {
    if (activity !== 'evaluatePrediction') return;
    mostAtOnce = Math.max(mostAtOnce, (running += 1));
    await delay(20);
    running -= 1;
  };
  await withBench(
    env,
    'queue',
    { candidates: {}, before },
    async (bench) => {
      const { prefix } = bench;
      const start = (runId: string, total: number) =>
        env.client.workflow.start<typeof evaluation>('evaluation', {
          workflowId: scopedWorkflowId(prefix, workflowIds.evaluation(runId)),
          taskQueue: taskQueue(prefix, 'control'),
          args: [
            { runId, queuePrefix: prefix, manifest: fakeRef(runId), total, width: WINDOW, pageSize: 500 },
          ],
        });
      const large = await start('large', LARGE);
      await eventually('some are done', () => bench.of('evaluatePrediction').length >= SMALL_FROM, {
        timeoutMs: 60_000,
      });
      const small = await start('small', SMALL);
      await Promise.all([small.result(), large.result()]);
      calls = bench.of('evaluatePrediction');
    },
    SLOTS,
  );
}, 120_000);
afterAll(() => env.teardown());

const placesOf = (runId: string): readonly number[] =>
  calls.filter(({ request }) => request['runId'] === runId).map(({ request }) => Number(request['index']));

describe(`${LARGE} evaluations on ${SLOTS} slots, and ${SMALL} that come later`, () => {
  it('are each done once, never more at once than there are slots', () => {
    const every = (count: number) => Array.from({ length: count }, (_, index) => index);
    expect(placesOf('large').toSorted((a, b) => a - b)).toEqual(every(LARGE));
    expect(placesOf('small').toSorted((a, b) => a - b)).toEqual(every(SMALL));
    expect(mostAtOnce).toBe(SLOTS);
  });

  it('are done in the order in which they were queued, but for those of one window', () => {
    expect(mostOvertaken(placesOf('large'))).toBeLessThanOrEqual(WINDOW);
  });

  it('share the slots: the small run waits for about a window of the large one, not for all of it', () => {
    const runs = calls.map(({ request }) => request['runId']);
    const meanwhile = runs.slice(SMALL_FROM, runs.lastIndexOf('small')).filter((runId) => runId === 'large');
    expect(meanwhile.length).toBeLessThanOrEqual(2 * WINDOW);
  });
});

it('The most overtaken evaluation is the one that most later ones went before', () => {
  expect(mostOvertaken([0, 1, 2, 3])).toBe(0);
  expect(mostOvertaken([1, 2, 0, 3])).toBe(2);
});

/** Many evaluations queued at once on few slots, and a small run that comes later: what that asks of the host, and in which order it is done. */
import { setTimeout as delay } from 'node:timers/promises';
import {
  evaluationStatus,
  startEvaluation,
  waitForEvaluation,
  type EvaluationContext,
} from '../../src/client/evaluations.ts';
import { workflowIds } from '../../src/domain/ids.ts';
import { scopedWorkflowId } from '../../src/domain/messages.ts';
import { predictions, wrongVerdicts, type EvaluatedRows, type ExpectedPrediction } from './predictions.ts';

export interface QueueOptions {
  readonly context: EvaluationContext;
  readonly rows: EvaluatedRows;
  /** Evaluations of the large run, at least so many; the small one has as many as one round of predictions. */
  readonly evaluations: number;
  readonly countContainers: () => Promise<number>;
  readonly workerMemoryBytes: () => number;
  readonly say: (line: string) => void;
}

export interface QueueReport {
  readonly large: number;
  readonly small: number;
  /** Predictions whose verdict is not the one that they were made for, with what they got. */
  readonly wrong: readonly string[];
  readonly mostContainers: number;
  /** Resident memory of the worker after the first tenth of the large run, and the largest. */
  readonly memoryBytes: { readonly early: number; readonly peak: number };
  /** Evaluations of the large run that ended between the start and the end of the small one. */
  readonly passedMeanwhile: number;
  /** The most that any evaluation of the large run was overtaken by ones queued after it. */
  readonly mostOvertaken: number;
  readonly wallMs: number;
}

const LOOK_EVERY_MS = 150; // a container lives for a second or more

/** Runs both; the small one starts when a tenth of the large one is done. */
export async function runQueue(options: QueueOptions): Promise<QueueReport> {
  const { context, rows, say } = options;
  const rounds = Math.ceil(options.evaluations / predictions(rows.rows, 0).length);
  const large = Array.from({ length: rounds }, (_, round) => predictions(rows.rows, round + 1)).flat();
  const small = predictions(rows.rows, rounds + 1);
  const watch = watchHost(options);
  const startedMs = performance.now();
  const start = async (runId: string, entries: readonly ExpectedPrediction[]): Promise<void> => {
    const listed = rows.rows.map((row) => ({ row, provenCanaries: rows.provenCanaries(row.instance_id) }));
    await startEvaluation(context, { runId, dataset: 'queue', rows: listed, entries });
  };
  const done = async (): Promise<number> =>
    (await evaluationStatus(context, 'large'))?.progress?.counts.done ?? 0;
  await start('large', large);
  while ((await done()) < large.length / 10) await delay(LOOK_EVERY_MS);
  const early = options.workerMemoryBytes();
  const before = await done();
  await start('small', small);
  await waitForEvaluation(context, 'small');
  const passedMeanwhile = (await done()) - before;
  say(`the small run is done; of the large one ${passedMeanwhile} ended meanwhile`);
  await waitForEvaluation(context, 'large');
  const wallMs = performance.now() - startedMs;
  const host = await watch.stop();
  const wrong = [
    ...(await wrongVerdicts(context, 'large', large)),
    ...(await wrongVerdicts(context, 'small', small)),
  ];
  return {
    large: large.length,
    small: small.length,
    wrong,
    mostContainers: host.mostContainers,
    memoryBytes: { early, peak: options.workerMemoryBytes() },
    passedMeanwhile,
    mostOvertaken: mostOvertaken(await startOrder(context, 'large')),
    wallMs,
  };
}

function watchHost({ countContainers }: QueueOptions): {
  stop(): Promise<{ readonly mostContainers: number }>;
} {
  let watching = true;
  let mostContainers = 0;
  const look = async (): Promise<void> => {
    while (watching) {
      mostContainers = Math.max(mostContainers, await countContainers());
      await delay(LOOK_EVERY_MS);
    }
  };
  const looking = look();
  return {
    async stop() {
      watching = false;
      await looking;
      return { mostContainers };
    },
  };
}

/** Places in the queue in the order in which workers took them. */
async function startOrder(context: EvaluationContext, runId: string): Promise<readonly number[]> {
  const id = scopedWorkflowId(context.queuePrefix, workflowIds.evaluation(runId));
  const { events } = await context.client.workflow.getHandle(id).fetchHistory();
  const placeOf = new Map<string, number>();
  const order: number[] = [];
  for (const event of events ?? []) {
    const { activityTaskScheduledEventAttributes: scheduled, activityTaskStartedEventAttributes: started } =
      event;
    if (scheduled?.activityType?.name === 'evaluatePrediction')
      placeOf.set(String(event.eventId), placeOf.size);
    const place = placeOf.get(String(started?.scheduledEventId));
    if (place !== undefined) order.push(place);
  }
  return order;
}

/** The largest number of later ones that started before any one. */
export const mostOvertaken = (order: readonly number[]): number =>
  Math.max(0, ...order.map((place, at) => order.slice(0, at).filter((other) => other > place).length));

import { Context } from '@temporalio/activity';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import type { StageRecord } from '../domain/records.ts';
import { recordNames } from '../domain/records.ts';
import type { WorkContext } from '../ecosystems/types.ts';
import type { RecordStore } from '../store/types.ts';
import { noteProgress } from './heartbeat.ts';
import type { StageOf } from './types.ts';

export interface WorkDeps {
  readonly installation: string;
  readonly records: RecordStore;
  readonly log: Logger;
}

/**
 * Runs `work` with an owner for its containers, progress notes and a cancellation signal (the beat itself is the worker's). When it was told to end (asked to
 * stop, attempt superseded, worker shutting down), whatever it throws becomes that cancellation, so that Temporal cancels
 * the activity or tries it again elsewhere, as is right for the reason.
 */
export async function withWork<T>(
  deps: Pick<WorkDeps, 'installation'>,
  campaign: string | undefined,
  work: (context: WorkContext) => Promise<T>,
): Promise<T> {
  const context = Context.current();
  const { info, cancellationSignal: signal } = context;
  try {
    return await work({
      owner: {
        installation: deps.installation,
        host: hostname(),
        ...(campaign === undefined ? {} : { campaign }),
        ...(info.workflowExecution === undefined
          ? {}
          : { workflowId: info.workflowExecution.workflowId, runId: info.workflowExecution.runId }),
        activityId: info.activityId,
        attempt: info.attempt,
      },
      heartbeat: (details) => noteProgress(context, details),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw error;
  }
}

/**
 * A stage's result, first writer wins: a record that is there is adopted and the work is not done again. `produce` runs
 * at most once per attempt; of two attempts that overlap, both return what the first one recorded.
 */
export async function recorded<T>(
  deps: Pick<WorkDeps, 'records'>,
  { campaign, instanceId, stage }: Pick<StageOf, 'campaign' | 'instanceId' | 'stage'>,
  produce: () => Promise<T>,
): Promise<T> {
  const name = recordNames.stage(campaign, instanceId, stage);
  const known = await deps.records.read<StageRecord<T>>(name);
  if (known !== null) return known.value;
  const startedMs = performance.now();
  const value = await produce();
  const { info } = Context.current();
  const record: StageRecord<T> = {
    schema: 1,
    value,
    runId: info.workflowExecution?.runId ?? '',
    activityId: info.activityId,
    attempt: info.attempt,
    durationMs: Math.round(performance.now() - startedMs),
  };
  return (await deps.records.record(name, record)).value.value;
}

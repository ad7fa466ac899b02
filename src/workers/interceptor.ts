import type { Context } from '@temporalio/activity';
import type { ActivityInboundCallsInterceptor, ActivityInterceptorsFactory } from '@temporalio/worker';
import type { Logger } from 'pino';
import { withHeartbeat } from '../activities/heartbeat.ts';
import { FAILURE_TYPES } from '../domain/failures.ts';
import type { Leases } from '../store/leases.ts';

/** From this attempt on, something that patience does not mend is likely, and a person should hear of it. */
const ALARM_FROM_ATTEMPT = 10;

/** A beat and a lease for every activity, and one line in the log: type, workflow, attempt, duration, and how it ended; louder when it keeps failing. */
export const activityFrame =
  (log: Logger, leases: Pick<Leases, 'hold'> | null): ActivityInterceptorsFactory =>
  (context: Context) => ({ inbound: framed(log, leases, context) });

function framed(
  log: Logger,
  leases: Pick<Leases, 'hold'> | null,
  context: Context,
): ActivityInboundCallsInterceptor {
  const { info } = context;
  const child = log.child({
    activity: info.activityType,
    workflow: info.workflowExecution?.workflowId,
    activityId: info.activityId,
    attempt: info.attempt,
  });
  return {
    async execute(input, next) {
      const startedMs = performance.now();
      const durationMs = (): number => Math.round(performance.now() - startedMs);
      try {
        const work = (): Promise<unknown> => next(input);
        const result = await withHeartbeat(context, () => leases?.hold(work) ?? work());
        child.debug({ durationMs: durationMs() }, 'activity done');
        return result;
      } catch (error) {
        const how = { durationMs: durationMs(), err: error };
        if (context.cancellationSignal.aborted) child.info(how, 'activity cancelled');
        else if (isWaitForRoom(error)) child.debug(how, 'activity waits for room');
        else if (info.attempt === ALARM_FROM_ATTEMPT)
          child.error(how, 'this activity has failed many times; it is tried on, and needs a look');
        else child.warn(how, 'activity failed');
        throw error;
      }
    },
  };
}

/** Asked again every few seconds. Of a full disk the gate has told the person already, once; a full host is no fault. */
const isWaitForRoom = (error: unknown): boolean =>
  WAITS.includes((error as { readonly type?: unknown } | null)?.type as string);
const WAITS: readonly string[] = [FAILURE_TYPES.noDisk, FAILURE_TYPES.hostFull];

import type { Context } from '@temporalio/activity';
import type { ActivityInboundCallsInterceptor, ActivityInterceptorsFactory } from '@temporalio/worker';
import type { Logger } from 'pino';
import { withHeartbeat } from '../activities/heartbeat.ts';

/** From this attempt on, something that patience does not mend is likely, and a person should hear of it. */
const ALARM_FROM_ATTEMPT = 10;

/** A beat for every activity, and one line in the log: type, workflow, attempt, duration, and how it ended; louder when it keeps failing. */
export const activityFrame =
  (log: Logger): ActivityInterceptorsFactory =>
  (context: Context) => ({ inbound: framed(log, context) });

function framed(log: Logger, context: Context): ActivityInboundCallsInterceptor {
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
      if (info.attempt === ALARM_FROM_ATTEMPT)
        child.error('this activity has failed many times; it is tried on, and needs a look');
      try {
        const result = await withHeartbeat(context, () => next(input));
        child.debug({ durationMs: durationMs() }, 'activity done');
        return result;
      } catch (error) {
        const how = { durationMs: durationMs(), err: error };
        if (context.cancellationSignal.aborted) child.info(how, 'activity cancelled');
        else child.warn(how, 'activity failed');
        throw error;
      }
    },
  };
}

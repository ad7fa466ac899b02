import { setTimeout as delay } from 'node:timers/promises';
import { isGrpcDeadlineError, isGrpcServiceError, isRetryableError } from '@temporalio/client';

const ASK_AGAIN_MS = 1_000; // the SDK has tried for half a minute already, with growing pauses

/** True when no answer came from Temporal at all: it is away, or too busy. What it answered is never an outage. */
export function isOutage(error: unknown): boolean {
  if (isGrpcDeadlineError(error)) return true;
  const reason = error instanceof Error && !isGrpcServiceError(error) ? error.cause : error;
  return isGrpcServiceError(reason) && isRetryableError(reason);
}

/**
 * Waits for a workflow's end over outages of Temporal, however long they last: the SDK alone gives up after half a minute.
 * Rejects with the workflow's failure, or when `signal` is aborted during an outage.
 */
export async function waitOverOutages<T>(wait: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await wait();
    } catch (error) {
      if (!isOutage(error) || signal?.aborted === true) throw error;
      await delay(ASK_AGAIN_MS, undefined, signal === undefined ? {} : { signal });
    }
  }
}

import type { Logger } from 'pino';
import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import { withFileLock } from '../setup/fileLock.ts';

const LOCK_ROUND_MS = 2_000; // how soon a waiter notices that it was cancelled

/** Runs `work` alone among all processes that use this mirror. The kernel frees the lock when its holder dies. */
export async function withMirrorLock<T>(
  file: string,
  context: { readonly log: Logger; readonly id: string; readonly signal: AbortSignal | undefined },
  work: () => Promise<T>,
): Promise<T> {
  for (;;) {
    if (context.signal?.aborted)
      throw permanentFailure(FAILURE_TYPES.cancelled, `Waiting for the mirror ${context.id} was cancelled.`);
    let started = false;
    const begin = (): Promise<T> => {
      started = true;
      return work();
    };
    try {
      return await withFileLock(file, begin, { timeoutMs: LOCK_ROUND_MS });
    } catch (error) {
      if (started) throw error;
      if ((error as NodeJS.ErrnoException).code !== undefined)
        throw infraFailure(`The lock of the mirror ${context.id} cannot be used: ${String(error)}`, {
          cause: error,
        });
      context.log.debug({ mirror: context.id }, 'waiting for another process to finish with the mirror');
    }
  }
}

import { setTimeout as delay } from 'node:timers/promises';

/**
 * Calls `attempt` until it neither throws nor returns false, undefined or null; returns what it returned.
 * After `timeoutMs` it fails with the last error, or with `what` did not come true.
 */
export async function eventually<T>(
  what: string,
  attempt: () => Promise<T> | T,
  { timeoutMs = 10_000, intervalMs = 25 }: { readonly timeoutMs?: number; readonly intervalMs?: number } = {},
): Promise<NonNullable<T>> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    let last: unknown;
    try {
      const value = await attempt();
      if (value !== false && value !== undefined && value !== null) return value;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) {
      throw new Error(`Not within ${timeoutMs} ms: ${what}`, last === undefined ? {} : { cause: last });
    }
    await delay(intervalMs);
  }
}

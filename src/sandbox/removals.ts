import type { Logger } from 'pino';

/** Removals that nobody waits for: a daemon takes 0.1 to 0.3 s for one, and the results are there already. */
export interface Removals {
  /** Returns at once, or when the daemon has caught up so far that only `limit` are on their way. */
  add(removal: Promise<void>, container: string): Promise<void>;
  settled(): Promise<void>;
}

export function createRemovals(limit: number, log: Logger): Removals {
  const pending = new Set<Promise<void>>();
  return {
    async add(removal, container) {
      const ending = removal
        .catch((error: unknown) => log.warn({ container, err: error }, 'a container was left to the janitor'))
        .finally(() => pending.delete(ending));
      pending.add(ending);
      while (pending.size > limit) await Promise.race(pending);
    },
    async settled() {
      while (pending.size > 0) await Promise.all(pending);
    },
  };
}

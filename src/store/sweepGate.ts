import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withFileLock } from '../setup/fileLock.ts';

/**
 * Keeps writers and the sweep of `gc` apart, across processes, at the cost of one `stat` for writers. A writer first makes
 * itself visible (renews a file's age, writes a lease), then passes. The sweep first closes the gate, then looks: so either
 * the sweep sees the writer, or the writer waits for the sweep's end and looks again.
 */
export interface SweepGate {
  /** Returns when no sweep is going on. */
  pass(): Promise<void>;
  /** Runs the sweep with the gate closed; one at a time. A sweep that is killed holds nobody up. */
  closed<T>(sweep: () => Promise<T>): Promise<T>;
}

export function createSweepGate(dir: string): SweepGate {
  const lock = join(dir, 'sweep.lock');
  const sign = join(dir, 'sweeping');
  const isClosed = async (): Promise<boolean> =>
    stat(sign).then(
      () => true,
      () => false,
    );
  return {
    async pass() {
      // the kernel frees the lock of a killed sweep; its sign is taken down by whoever comes first
      if (await isClosed()) await withFileLock(lock, async () => rm(sign, { force: true }));
    },
    async closed(sweep) {
      await mkdir(dir, { recursive: true });
      return withFileLock(lock, async () => {
        await writeFile(sign, '');
        try {
          return await sweep();
        } finally {
          await rm(sign, { force: true });
        }
      });
    },
  };
}

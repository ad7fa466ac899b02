import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { holderState, processTag } from '../setup/processes.ts';
import { ifAbsent } from './absent.ts';
import { storageFailure } from './durable.ts';
import type { SweepGate } from './sweepGate.ts';

/**
 * Work in progress, as `gc` sees it: what was written or renewed since the oldest lease began is in somebody's hands, if only
 * not yet in a record. Activities hold one while they run.
 */
export interface Leases {
  /** Runs `work` under a lease; waits first when a sweep is going on. */
  hold<T>(work: () => Promise<T>): Promise<T>;
  /** When the oldest work that still runs began; null when none does. Takes down leases of dead processes. */
  oldestMs(): Promise<number | null>;
}

const RENEW_EVERY_MS = 60_000;
/** A lease of another host, whose processes cannot be asked after, counts as long as it is renewed. */
const SILENT_AFTER_MS = 10 * 60_000;

/** Leases are empty files `<start>~<process>~<random>` in one directory. */
export function createLeases(dir: string, gate: SweepGate): Leases {
  return {
    async hold(work) {
      const file = join(dir, `${Date.now()}~${processTag()}~${randomBytes(6).toString('hex')}`);
      try {
        await mkdir(dir, { recursive: true });
        await writeFile(file, '', { flag: 'wx' });
      } catch (error) {
        throw storageFailure('note that work begins', error);
      }
      const renewal = setInterval(() => {
        const now = new Date();
        utimes(file, now, now).catch(() => undefined);
      }, RENEW_EVERY_MS).unref();
      try {
        await gate.pass();
        return await work();
      } finally {
        clearInterval(renewal);
        await rm(file, { force: true });
      }
    },
    async oldestMs() {
      let oldest: number | null = null;
      for (const name of await readdir(dir).catch(ifAbsent([]))) {
        const [start = '', tag = ''] = name.split('~');
        const sinceMs = Number(start);
        if (await isAlive(join(dir, name), tag)) oldest = Math.min(oldest ?? sinceMs, sinceMs);
        else await rm(join(dir, name), { force: true });
      }
      return oldest;
    },
  };
}

async function isAlive(file: string, tag: string): Promise<boolean> {
  const state = holderState(tag);
  if (state !== 'elsewhere') return state === 'running';
  const found = await stat(file).catch(ifAbsent(null));
  return found !== null && Date.now() - found.mtimeMs < SILENT_AFTER_MS;
}

import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';

const SQLITE_BUSY = 5;
const POLL_MS = 100;

/**
 * Runs `work` while holding an exclusive lock on `file`, across processes and within one.
 * The kernel holds it (SQLite's file lock), so it ends with its holder, also after SIGKILL: there are no stale locks.
 * `onWait` is called once when another holder makes us wait. The file stays; deleting it would let two in.
 * Throws when the lock is not had within `timeoutMs`.
 */
export async function withFileLock<T>(
  file: string,
  work: () => Promise<T>,
  options: { readonly timeoutMs?: number; readonly onWait?: () => void } = {},
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? 10 * 60_000; // above the longest holder, a build of the Temporal CLI
  mkdirSync(dirname(file), { recursive: true });
  const database = new DatabaseSync(file);
  try {
    const deadline = Date.now() + timeoutMs;
    for (let tries = 0; !tryLock(database); tries += 1) {
      if (tries === 0) options.onWait?.();
      if (Date.now() > deadline)
        throw new Error(`Another process has held ${file} for ${timeoutMs / 1000} s.`);
      await delay(POLL_MS);
    }
    return await work();
  } finally {
    database.close();
  }
}

function tryLock(database: DatabaseSync): boolean {
  try {
    database.exec('PRAGMA busy_timeout=0');
    database.exec('BEGIN EXCLUSIVE');
    return true;
  } catch (error) {
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return false;
    throw error;
  }
}

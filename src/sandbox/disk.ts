import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FAILURE_TYPES, infraFailure } from '../domain/failures.ts';

const GB = 1e9;

/** Bytes that an ordinary user may still write on the file system of `path` (or of its nearest parent that exists). */
export async function freeDiskBytes(path: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  } catch (error) {
    const parent = dirname(path);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || parent === path) throw error;
    return freeDiskBytes(parent);
  }
}

/**
 * The gate before work that writes much: throws `Infra.NoDisk` when less than `floorBytes` are free, so that the
 * activity is retried until there is room, and nothing is cut off half-way.
 */
export async function assertFreeDisk(path: string, floorBytes: number): Promise<void> {
  const free = await freeDiskBytes(path);
  if (free >= floorBytes) return;
  throw infraFailure(
    `Only ${(free / GB).toFixed(1)} GB are free on the disk of ${path}; at least ${(floorBytes / GB).toFixed(1)} GB are needed. Free some space (\`repoforge storage\` shows what uses it); the work goes on by itself.`,
    { type: FAILURE_TYPES.noDisk, nextRetryMs: 60_000 },
  );
}

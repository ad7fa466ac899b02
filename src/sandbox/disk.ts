import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FAILURE_TYPES, infraFailure } from '../domain/failures.ts';

const GB = 1e9;
/** A look at free space costs nothing; whoever made room sees work go on. */
const ASK_AGAIN_MS = 15_000;

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
    { type: FAILURE_TYPES.noDisk, nextRetryMs: ASK_AGAIN_MS },
  );
}

/**
 * The gate of one process: throws as `assertFreeDisk` does while any of the places is below the floor. Tells a person when
 * work begins to wait and when it goes on, once each, however many activities ask.
 */
export function createDiskGate(gate: {
  readonly floorBytes: number;
  readonly places: () => Promise<readonly string[]>;
  readonly say: (line: string) => void;
}): () => Promise<void> {
  let waiting = false;
  return async () => {
    const places = await gate.places();
    try {
      for (const place of places) await assertFreeDisk(place, gate.floorBytes);
    } catch (error) {
      if (!waiting)
        gate.say(`Work waits for disk space. ${error instanceof Error ? error.message : String(error)}`);
      waiting = true;
      throw error;
    }
    if (waiting) gate.say('There is disk space again; work goes on.');
    waiting = false;
  };
}

const LOOK_EVERY_MS = 1_000;

/**
 * Runs `work` and watches the disk meanwhile: where room ran out, whoever filled it and whether or not there is room again,
 * a result that is not a success says nothing. Then it throws `Infra.NoDisk`.
 */
export async function withDiskWatch<T>(
  watch: { readonly places: readonly string[]; readonly reserveBytes: number },
  work: () => Promise<T>,
  isSuccess: (result: T) => boolean,
): Promise<T> {
  let lowest = Number.POSITIVE_INFINITY;
  const look = async (): Promise<void> => {
    for (const place of watch.places) lowest = Math.min(lowest, await freeDiskBytes(place));
  };
  const timer = setInterval(() => void look().catch(() => undefined), LOOK_EVERY_MS);
  try {
    const result = await work();
    if (isSuccess(result)) return result;
    await look();
    if (lowest >= watch.reserveBytes) return result;
  } finally {
    clearInterval(timer);
  }
  throw infraFailure(
    `The disk ran full during the run: ${(lowest / GB).toFixed(1)} GB were left. What failed says nothing; it is run again.`,
    { type: FAILURE_TYPES.noDisk, nextRetryMs: ASK_AGAIN_MS },
  );
}

import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FAILURE_TYPES, infraFailure } from '../domain/failures.ts';
import { processTag } from '../setup/processes.ts';

export const errorCode = (error: unknown): string | undefined =>
  (error as NodeJS.ErrnoException | null)?.code;

/** Full disk and I/O errors are infrastructure: the caller is retried when there is room again. */
export function storageFailure(action: string, error: unknown): Error {
  const code = errorCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return infraFailure(`No space left to ${action}: free disk, the work goes on by itself.`, {
      type: FAILURE_TYPES.noDisk,
      cause: error,
    });
  return infraFailure(`Cannot ${action}: ${error instanceof Error ? error.message : String(error)}`, {
    cause: error,
  });
}

/** A rename or link survives a power cut only when its directory was written too. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A name that nobody else has, and that says whose it is: the janitor removes it when that process is gone. */
export const temporaryName = (dir: string): string =>
  join(dir, `${processTag()}-${randomBytes(8).toString('hex')}.tmp`);

/** Writes a new file and waits until it is on the disk. A failure (a full disk, say) leaves nothing behind. */
export async function writeDurably(file: string, content: Buffer | string): Promise<void> {
  const handle = await open(file, 'wx');
  try {
    await handle.writeFile(content);
    await handle.sync();
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
}

/** Writes a file of lines, whole or not at all: a reader sees the old file or the new one. */
export async function writeLines(
  path: string,
  lines: Iterable<string> | AsyncIterable<string>,
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const partial = temporaryName(dirname(path));
  const file = await open(partial, 'w');
  try {
    for await (const line of lines) await file.appendFile(`${line}\n`);
    await file.sync();
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

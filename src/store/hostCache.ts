/**
 * Files of this host that can all be made again: checked by hash when they are read, bounded together, and the longest unused
 * goes first.
 */
import { mkdir, readFile, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { sha256OfBytes } from './digest.ts';
import { temporaryName, writeDurably } from './durable.ts';

const FULL_AFTER_EVICTION = 0.9;

export interface Cached {
  readonly bytes: Buffer;
  /** What was put beside the bytes. */
  readonly note: Readonly<Record<string, unknown>>;
}

export interface HostCache {
  /** Of all files together; what alone is larger is not kept. */
  readonly maxBytes: number;
  /** null when nothing is kept under the key, or when it is damaged. */
  get(key: string): Promise<Cached | null>;
  /** Throws when the disk refuses. */
  put(key: string, bytes: Buffer, note?: Cached['note']): Promise<void>;
}

/** A file is a line of JSON, then the bytes that it speaks of. */
type Header = Cached['note'] & { readonly sha256: string };

/** @param options.maxBytes of all files together; a file that goes beyond takes the place of the longest unused */
export function createHostCache(options: {
  readonly dir: string;
  readonly maxBytes: number;
  readonly log: Logger;
}): HostCache {
  const { dir, maxBytes, log } = options;
  return {
    maxBytes,
    async get(key) {
      const path = join(dir, key);
      const file = await readFile(path).catch(() => null);
      const end = file?.indexOf(10) ?? -1;
      if (file === null || end < 0) return null;
      const bytes = file.subarray(end + 1);
      const { sha256: expected, ...note } = headerOf(file.subarray(0, end)) ?? { sha256: null };
      if (expected !== sha256OfBytes(bytes)) {
        log.warn({ file: path }, 'a cached file is damaged; it is made again');
        return null;
      }
      const now = new Date();
      await utimes(path, now, now).catch(() => undefined); // the longest unused goes first
      return { bytes, note };
    },
    async put(key, bytes, note = {}) {
      const header: Header = { ...note, sha256: sha256OfBytes(bytes) };
      const file = Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), bytes]);
      if (file.length > maxBytes) return; // it would push out everything, itself included
      await mkdir(dir, { recursive: true });
      const temporary = temporaryName(dir);
      await writeDurably(temporary, file);
      await rename(temporary, join(dir, key));
      await evict(dir, maxBytes);
    },
  };
}

function headerOf(line: Buffer): Header | null {
  try {
    return JSON.parse(line.toString('utf8')) as Header;
  } catch {
    return null;
  }
}

async function evict(dir: string, maxBytes: number): Promise<void> {
  const files = await Promise.all(
    (await readdir(dir)).map(async (name) => ({
      name,
      found: await stat(join(dir, name)).catch(() => null),
    })),
  );
  const present = files.flatMap(({ name, found }) =>
    found === null ? [] : [{ name, bytes: found.size, usedMs: found.mtimeMs }],
  );
  let bytes = present.reduce((sum, file) => sum + file.bytes, 0);
  if (bytes <= maxBytes) return;
  for (const file of present.toSorted((a, b) => a.usedMs - b.usedMs)) {
    if (bytes <= maxBytes * FULL_AFTER_EVICTION) return;
    await rm(join(dir, file.name), { force: true });
    bytes -= file.bytes;
  }
}

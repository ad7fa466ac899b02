/** Scratch directories and temporary files that say whose they are, and the sweep of those whose process is gone. */
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { holderState, processTag } from '../setup/processes.ts';
import { ifAbsent } from './absent.ts';
import { treeSize } from './treeSize.ts';

const SCRATCH = /^repoforge-[a-z]+-(\d+\.\w*\.[0-9a-f]{12})-/;
const TEMPORARY = /^(\d+\.\w*\.[0-9a-f]{12})-[0-9a-f]{16}\.tmp$/;
/** Names that tell no process of this host count as left when they are older than any activity may run. */
const LEFT_AFTER_MS = 25 * 3_600_000;

/** A fresh directory under TMPDIR that the janitor removes should this process die before it does. */
export const scratchDirectory = (purpose: string): Promise<string> =>
  mkdtemp(join(tmpdir(), `repoforge-${purpose}-${processTag()}-`));

/**
 * Removes what dead processes left: temporary files under the given directories, mirrors that were being made, and scratch
 * directories under TMPDIR. What a living process of this host made stays, however old; what carries no process of this host goes by
 * age. Returns how many entries went, and their bytes.
 */
export async function sweepTemporary(places: {
  /** Searched in depth for temporary files. */
  readonly directories: readonly string[];
  readonly mirrors: string;
}): Promise<{ readonly removed: number; readonly bytes: number }> {
  const left: string[] = [];
  for (const name of await readdir(tmpdir()).catch(ifAbsent([])))
    if (SCRATCH.test(name)) left.push(join(tmpdir(), name));
  for (const name of await readdir(places.mirrors).catch(ifAbsent([])))
    if (name.includes('.new-')) left.push(join(places.mirrors, name));
  for (const directory of places.directories)
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true }).catch(
      ifAbsent([]),
    ))
      if (entry.isFile() && entry.name.endsWith('.tmp')) left.push(join(entry.parentPath, entry.name));
  let removed = 0;
  let bytes = 0;
  for (const path of left) {
    if (!(await isLeft(path))) continue;
    bytes += (await treeSize(path)).bytes;
    await rm(path, { recursive: true, force: true });
    removed += 1;
  }
  return { removed, bytes };
}

async function isLeft(path: string): Promise<boolean> {
  const name = basename(path);
  const tag = (SCRATCH.exec(name) ?? TEMPORARY.exec(name))?.[1];
  const state = tag === undefined ? 'elsewhere' : holderState(tag);
  if (state !== 'elsewhere') return state === 'dead';
  const found = await stat(path).catch(ifAbsent(null));
  return found !== null && Date.now() - found.mtimeMs > LEFT_AFTER_MS;
}

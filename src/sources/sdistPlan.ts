import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { BadArchiveError, corrupt, readMembers } from './sdistArchive.ts';
import type { RawMember } from './sdistArchive.ts';

export interface ArchiveLimits {
  readonly maxFiles: number;
  /** Of everything unpacked. */
  readonly maxBytes: number;
  /** Unpacked over packed bytes; only judged above `ratioFloorBytes`, since small text compresses very well. */
  readonly maxRatio: number;
  readonly ratioFloorBytes: number;
}

export const DEFAULT_ARCHIVE_LIMITS: ArchiveLimits = {
  maxFiles: 50_000,
  maxBytes: 1024 ** 3,
  maxRatio: 200, // gzip of ordinary sources is below 20; of one repeated byte about 1,000
  ratioFloorBytes: 32 * 1024 ** 2,
};

/** What the tree of an archive will hold at a path (latin1 bytes, top-level directory stripped). */
export type PlannedEntry =
  | { readonly kind: 'file'; readonly executable: boolean; readonly digest: string }
  | { readonly kind: 'symlink'; readonly target: string };

export interface ArchivePlan {
  readonly entries: ReadonlyMap<string, PlannedEntry>;
  readonly newestMtimeMs: number | null;
}

/**
 * Reads a whole archive without unpacking it anywhere and decides what its tree is. Everything that could leave the
 * tree, overwrite a neighbour or exhaust the machine is a BadArchiveError: absolute and `..` paths, links out of the
 * tree (also through other links), devices, files through links, unequal duplicates, bombs.
 */
export async function planArchive(
  file: string,
  filename: string,
  limits: ArchiveLimits,
): Promise<ArchivePlan> {
  const packedBytes = (await stat(file)).size;
  const entries = new Map<string, PlannedEntry>();
  let top: string | null = null;
  let members = 0;
  let bytes = 0;
  let newestMtimeMs: number | null = null;
  for await (const member of readMembers(file, filename, limits.maxBytes)) {
    if (++members > limits.maxFiles)
      throw new BadArchiveError(`The archive holds more than ${limits.maxFiles} files.`);
    const place = placeOf(member.name);
    const hash = createHash('sha256');
    for await (const chunk of contentOf(member)) {
      bytes += chunk.length;
      if (bytes > limits.maxBytes)
        throw new BadArchiveError(`The archive unpacks to more than ${limits.maxBytes} bytes.`);
      hash.update(chunk);
    }
    if (bytes > limits.ratioFloorBytes && bytes > packedBytes * limits.maxRatio)
      throw new BadArchiveError(`The archive unpacks to more than ${limits.maxRatio} times its size.`);
    if (place === null || (place.path === '' && member.type === 'directory')) continue;
    if (top !== null && place.top !== top)
      throw new BadArchiveError(
        `The archive has more than one top-level entry: ${show(top)} and ${show(place.top)}.`,
      );
    top = place.top;
    if (place.path === '')
      throw new BadArchiveError(`${show(member.name)} is not inside a top-level directory.`);
    addEntry(entries, place.path, member, top, hash.digest('hex'));
    if (member.mtimeMs !== null && member.type === 'file')
      newestMtimeMs = Math.max(newestMtimeMs ?? 0, member.mtimeMs);
  }
  if (entries.size === 0) throw new BadArchiveError('The archive holds no files.');
  checkTree(entries);
  return { entries, newestMtimeMs };
}

/** A member's bytes; an archive that ends or breaks inside a member is a BadArchiveError, too. */
async function* contentOf(member: RawMember): AsyncGenerator<Buffer> {
  try {
    yield* member.content as AsyncIterable<Buffer>;
  } catch (error) {
    throw corrupt(error);
  }
}

function addEntry(
  entries: Map<string, PlannedEntry>,
  path: string,
  member: RawMember,
  top: string,
  digest: string,
): void {
  if (member.type === 'directory') return;
  const entry = plannedEntry(entries, path, member, top, digest);
  const known = entries.get(path);
  if (known && JSON.stringify(known) !== JSON.stringify(entry))
    throw new BadArchiveError(`The archive holds ${show(path)} twice with different content.`);
  entries.set(path, entry);
}

function plannedEntry(
  entries: ReadonlyMap<string, PlannedEntry>,
  path: string,
  member: RawMember,
  top: string,
  digest: string,
): PlannedEntry {
  switch (member.type) {
    case 'file':
      return { kind: 'file', executable: member.executable, digest };
    case 'symlink': {
      const target = member.linkName ?? '';
      if (target === '' || target.startsWith('/') || target.includes('\0') || /^[A-Za-z]:|\\/.test(target))
        throw new BadArchiveError(`${show(path)} links to ${show(target)}, outside the archive.`);
      return { kind: 'symlink', target };
    }
    case 'hardlink': {
      const target = placeOf(member.linkName ?? '');
      const linked = target?.top === top ? entries.get(target.path) : undefined;
      if (linked?.kind !== 'file')
        throw new BadArchiveError(
          `${show(path)} is a hard link to ${show(member.linkName ?? '')}, which is no earlier file of the archive.`,
        );
      return linked;
    }
    case 'directory':
    case 'other':
      throw new BadArchiveError(`${show(path)} is a device, pipe or another special file.`);
  }
}

/** Top-level name and path below it; null for members to skip (macOS forks, `.git`). Throws on unsafe names. */
export function placeOf(name: string): { readonly top: string; readonly path: string } | null {
  if (name.startsWith('/') || /^[A-Za-z]:[\\/]/.test(name) || name.startsWith('\\\\'))
    throw new BadArchiveError(`${show(name)} is an absolute path.`);
  if (name.includes('\0')) throw new BadArchiveError(`${show(name)} holds a NUL byte.`);
  if (name.split(/[\\/]/).includes('..'))
    throw new BadArchiveError(`${show(name)} leaves the archive's directory.`);
  const segments = name.split('/').filter((segment) => segment !== '' && segment !== '.');
  const top = segments[0];
  if (top === undefined || top.startsWith('._') || top === '__MACOSX') return null;
  // Careless sdists carry `.git` files of submodules; git refuses such names, and no test needs them.
  if (segments.some((segment) => /^(\.git|git~1)$/i.test(segment))) return null;
  return { top, path: segments.slice(1).join('/') };
}

function checkTree(entries: ReadonlyMap<string, PlannedEntry>): void {
  const links = [...entries].filter(([, entry]) => entry.kind === 'symlink').map(([path]) => path);
  const foldedLinks = new Map(links.map((path) => [path.toLowerCase(), path]));
  for (const path of entries.keys()) {
    const segments = path.split('/');
    for (let depth = 1; depth <= segments.length; depth++) {
      const prefix = segments.slice(0, depth).join('/');
      if (depth < segments.length && entries.has(prefix))
        throw new BadArchiveError(`${show(path)} lies below ${show(prefix)}, which is not a directory.`);
      const link = foldedLinks.get(prefix.toLowerCase());
      if (link !== undefined && link !== prefix)
        throw new BadArchiveError(`${show(path)} and the link ${show(link)} differ only in case.`);
    }
  }
  for (const link of links)
    if (leavesTree(entries, link))
      throw new BadArchiveError(`The link ${show(link)} leaves the archive's directory.`);
}

const MAX_LINK_STEPS = 200;

/** Follows a link as the kernel would, through other links, and tells whether it ever climbs above the root. */
function leavesTree(entries: ReadonlyMap<string, PlannedEntry>, link: string): boolean {
  const pending = link.split('/').reverse();
  const at: string[] = [];
  for (let step = 0; pending.length > 0; step++) {
    if (step > MAX_LINK_STEPS) return true; // a loop: nothing that a project needs
    const segment = pending.pop();
    if (segment === undefined || segment === '' || segment === '.') continue;
    if (segment === '..') {
      if (at.pop() === undefined) return true;
      continue;
    }
    const entry = entries.get([...at, segment].join('/'));
    if (entry?.kind === 'symlink') pending.push(...entry.target.split('/').reverse());
    else at.push(segment);
  }
  return false;
}

const show = (bytes: string): string => `"${Buffer.from(bytes, 'latin1').toString('utf8').slice(0, 200)}"`;

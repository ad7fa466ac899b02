/**
 * What a candidate patch makes of the base tree, worked out on git objects alone: nothing of the patch is executed or written
 * to a disk of ours, and the row's protected paths are taken out before anything enters a sandbox.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { infraFailure } from '../../domain/failures.ts';
import type { Mirror } from '../../sources/types.ts';
import type { RawChange } from '../../sources/gitParse.ts';
import { parseCatFileBatch, parseRawDiff } from '../../sources/gitParse.ts';
import { git, gitOk, gitText } from '../../sources/gitRun.ts';
import { scratchDirectory } from '../../store/temporary.ts';

export interface ChangedFile {
  readonly path: string;
  readonly mode: '100644' | '100755' | '120000';
  readonly content: Buffer;
}

export interface TreeChange {
  readonly files: readonly ChangedFile[];
  readonly deleted: readonly string[];
}

export type PatchResult =
  | { readonly ok: true; readonly change: TreeChange; readonly droppedPaths: readonly string[] }
  | { readonly ok: false; readonly outcome: 'empty_patch' | 'patch_failed'; readonly note: string };

const MAX_PATCH_BYTES = 32 * 1024 ** 2; // far above any patch that a person or a model writes
const MAX_CHANGED_BYTES = 128 * 1024 ** 2; // a binary patch may expand; no honest change is larger

/**
 * How a patch is tried, first success wins. Strict; then with counts of hunks corrected and one line of context enough (what
 * models write often has both faults); then with white space in the context ignored (lost carriage returns).
 */
const WAYS: readonly (readonly string[])[] = [
  [],
  ['--recount', '-C1'],
  ['--recount', '-C1', '--ignore-whitespace'],
];

/** Applies a patch to a base tree, without its protected paths. The mirror itself is not written to. */
export async function applyPatch(input: {
  readonly mirror: Mirror;
  readonly baseCommit: string;
  /** Every path of the base tree. */
  readonly basePaths: readonly string[];
  readonly patch: Buffer;
  readonly isProtected: (path: string) => boolean;
}): Promise<PatchResult> {
  const { mirror, baseCommit } = input;
  const failed = (note: string) => ({ ok: false, outcome: 'patch_failed', note }) as const;
  if (input.patch.toString('latin1').trim() === '') {
    return { ok: false, outcome: 'empty_patch', note: 'The patch is empty.' };
  }
  if (input.patch.length > MAX_PATCH_BYTES) {
    return failed(`The patch has ${input.patch.length} bytes, more than the ${MAX_PATCH_BYTES} allowed.`);
  }
  const patch = input.patch.at(-1) === 10 ? input.patch : Buffer.concat([input.patch, Buffer.from('\n')]);
  return withObjects(mirror, async (env) => {
    const at = { gitDir: mirror.gitDir, env };
    const complaint = await applyToIndex(baseCommit, patch, at);
    if (complaint !== null) return failed(complaint);
    const raw = await gitOk(
      ['diff-index', '--cached', '--raw', '-z', '--no-renames', '--no-abbrev', baseCommit],
      at,
    );
    const changes = parseRawDiff(raw);
    const { kept, dropped } = divide(changes, input.basePaths, input.isProtected);
    const change = await readChange(kept, at);
    if (change === null) return failed(`The patch makes more than ${MAX_CHANGED_BYTES} bytes of files.`);
    return { ok: true, change, droppedPaths: dropped };
  });
}

/** What one commit of the mirror changes against another, as files to write and paths to delete. */
export async function changeBetween(mirror: Mirror, base: string, head: string): Promise<TreeChange> {
  const at = { gitDir: mirror.gitDir };
  const raw = await gitOk(['diff-tree', '-r', '--raw', '-z', '--no-renames', '--no-abbrev', base, head], at);
  const change = await readChange(parseRawDiff(raw).filter(isOrdinary), at);
  return change ?? { files: [], deleted: [] };
}

interface GitPlace {
  readonly gitDir: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A private index and object directory over the mirror's objects; both are gone afterwards. */
async function withObjects<T>(
  mirror: Mirror,
  work: (env: Readonly<Record<string, string>>) => Promise<T>,
): Promise<T> {
  const directory = await scratchDirectory('apply');
  try {
    await mkdir(join(directory, 'objects'));
    return await work({
      GIT_INDEX_FILE: join(directory, 'index'),
      GIT_OBJECT_DIRECTORY: join(directory, 'objects'),
      GIT_ALTERNATE_OBJECT_DIRECTORIES: join(mirror.gitDir, 'objects'),
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Says nothing about a patch. At the end of a line: what stands before may be a path that the patch chose. */
const OWN_DISK =
  /: (?:No space left on device|Too many open files|Input\/output error|Read-only file system)$/m;

/** null when it applied, else git's first complaint about the patch as it is. */
async function applyToIndex(baseCommit: string, patch: Buffer, at: GitPlace): Promise<string | null> {
  let complaint = '';
  for (const way of WAYS) {
    await gitOk(['read-tree', baseCommit], at);
    const result = await git(['apply', '--cached', '--whitespace=nowarn', ...way, '-'], {
      ...at,
      input: patch,
    });
    if (result.exitCode === 0) return null;
    if (OWN_DISK.test(result.stderr))
      throw infraFailure(`git apply failed: ${result.stderr.trim().slice(-500)}`);
    complaint ||= result.stderr.trim().split('\n').slice(0, 3).join('; ');
  }
  return `The patch does not apply: ${complaint}`;
}

/** Submodules and names that are not UTF-8 cannot be written faithfully. */
const isOrdinary = (change: RawChange): boolean => !change.undecodable && change.newMode !== '160000';

/** Paths of ours, and git's own, are nobody's to change. */
const isOurs = (path: string): boolean => /(^|\/)\.git(\/|$)/i.test(path) || path.startsWith('.repoforge-');

function divide(
  changes: readonly RawChange[],
  basePaths: readonly string[],
  isProtected: (path: string) => boolean,
): { readonly kept: readonly RawChange[]; readonly dropped: readonly string[] } {
  const allowed = changes.filter((one) => isOrdinary(one) && !isOurs(one.path) && !isProtected(one.path));
  const gone = new Set(allowed.filter(({ status }) => status === 'D').map(({ path }) => path));
  // A file may not take the place of a directory that still holds something (`tests` over `tests/test_a.py`).
  const directories = new Set<string>();
  for (const path of basePaths) if (!gone.has(path)) addParents(path, directories);
  for (const { path, status } of allowed) if (status !== 'D') addParents(path, directories);
  const kept = allowed.filter(({ path, status }) => status === 'D' || !directories.has(path));
  const keptPaths = new Set(kept.map(({ path }) => path));
  return {
    kept,
    dropped: changes
      .map(({ path }) => path)
      .filter((path) => !keptPaths.has(path))
      .sort(),
  };
}

function addParents(path: string, into: Set<string>): void {
  for (let cut = path.lastIndexOf('/'); cut > 0; cut = path.lastIndexOf('/', cut - 1))
    into.add(path.slice(0, cut));
}

async function readChange(changes: readonly RawChange[], at: GitPlace): Promise<TreeChange | null> {
  const written = changes.filter(({ status }) => status !== 'D');
  const deleted = changes.filter(({ status }) => status === 'D').map(({ path }) => path);
  if (written.length === 0) return { files: [], deleted };
  const input = `${written.map(({ newOid }) => newOid).join('\n')}\n`;
  const sizes = (await gitText(['cat-file', '--batch-check=%(objectsize)'], { ...at, input })).split('\n');
  if (sizes.reduce((sum, size) => sum + Number(size), 0) > MAX_CHANGED_BYTES) return null;
  const contents = parseCatFileBatch(await gitOk(['cat-file', '--batch'], { ...at, input }), written.length);
  const files = written.map(({ path, newMode, newOid }, index): ChangedFile => {
    const content = contents[index];
    if (content === undefined || content === null)
      throw infraFailure(`The mirror ${at.gitDir} lacks ${newOid}, the content of ${path}.`);
    return { path, mode: newMode === '100755' || newMode === '120000' ? newMode : '100644', content };
  });
  return { files, deleted };
}

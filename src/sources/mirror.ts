import { mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import type { Logger } from 'pino';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { treeSize } from '../store/treeSize.ts';
import { withMirrorLock } from './mirrorLock.ts';
import { fetchInto } from './mirrorFetch.ts';
import type { FetchOptions, FetchResult } from './mirrorFetch.ts';
import { git, gitOk, gitStream, gitText } from './gitRun.ts';
import { commitWithFiles, commitWithPatch, withIndex } from './mirrorCommits.ts';
import type { FileChange } from './mirrorCommits.ts';
import { parseCatFileBatch, parseLsTree, parseRawDiff } from './gitParse.ts';
import type { RawChange } from './gitParse.ts';
import type { Mirror, MirrorStore } from './types.ts';

/** A mirror as the sources use it: the contract's methods and those that mining needs. */
export interface SourceMirror extends Mirror {
  /** Changed paths between two commits, without rename detection. */
  changes(base: string, head: string): Promise<readonly RawChange[]>;
  /** Contents by object id, in order; null for an object that is absent or no blob. */
  readBlobs(oids: readonly string[]): Promise<readonly (Buffer | null)[]>;
  /** Sizes in bytes by object id, in order; null for an object that is absent or no blob. */
  blobSizes(oids: readonly string[]): Promise<readonly (number | null)[]>;
  /** Full commit id of a revision, or null. */
  resolve(revision: string): Promise<string | null>;
  /** A deterministic commit on `base` with other contents of files that it has, and without others; kept by a ref. */
  commitWithFiles(base: string, change: FileChange, refName: string): Promise<string>;
}

export interface SourceMirrorStore extends MirrorStore {
  open(id: string): Promise<SourceMirror>;
  /** Makes an empty bare repository, or opens the one that is there. */
  create(id: string): Promise<SourceMirror>;
  /** Makes or updates a mirror of a URL or path; see `fetchInto`. */
  fetch(
    id: string,
    urlOrPath: string,
    options?: FetchOptions,
  ): Promise<FetchResult & { readonly mirror: SourceMirror }>;
  /** Every mirror with its allocated bytes and when it was last written. */
  list(): Promise<readonly { readonly id: string; readonly bytes: number; readonly usedAtMs: number }[]>;
  /** For `gc`: removes a mirror unless it was written at `beforeMs` or later. Says whether it did. */
  remove(id: string, beforeMs: number): Promise<boolean>;
}

/**
 * `$GIT_DIR/info/attributes` wins over every .gitattributes in a tree: nothing is left out of an archive
 * (export-ignore), expanded (export-subst, ident), converted (text, eol, filter, encoding) or called binary (diff).
 */
const ATTRIBUTES =
  '* -export-ignore -export-subst -text !eol -crlf -ident !filter !working-tree-encoding !diff !merge !whitespace\n';

const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/;

/** Bare repositories under one directory. Several processes may use the same directory at once. */
export function createMirrorStore(mirrorsDir: string, deps: { readonly log: Logger }): SourceMirrorStore {
  const gitDirOf = (id: string): string => {
    if (!ID.test(id) || id.includes('..'))
      throw permanentFailure(FAILURE_TYPES.badInput, `"${id.slice(0, 120)}" cannot name a mirror.`);
    return join(mirrorsDir, id);
  };
  const open = async (id: string): Promise<SourceMirror> => {
    const gitDir = gitDirOf(id);
    if (!(await isRepository(gitDir)))
      throw permanentFailure(
        FAILURE_TYPES.notFound,
        `There is no mirror "${id}" under the state directory. Run the campaign's mining again to make it.`,
      );
    return openMirror(id, gitDir);
  };
  const locked = <T>(id: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> =>
    withMirrorLock(join(mirrorsDir, '.locks', id), { log: deps.log, id, signal }, work);
  const create = async (id: string): Promise<SourceMirror> => {
    const gitDir = gitDirOf(id);
    if (!(await isRepository(gitDir)))
      await locked(id, undefined, async () => {
        if (!(await isRepository(gitDir))) await placeAtomically(gitDir, initBare);
      });
    return openMirror(id, gitDir);
  };
  return {
    open,
    create,
    list: async () => {
      const names = (await readdir(mirrorsDir).catch(() => [])).filter((name) => ID.test(name));
      return Promise.all(
        names.map(async (id) => {
          const { bytes, newestMs } = await treeSize(join(mirrorsDir, id));
          return { id, bytes, usedAtMs: newestMs };
        }),
      );
    },
    remove: async (id, beforeMs) =>
      locked(id, undefined, async () => {
        const gitDir = gitDirOf(id);
        if ((await treeSize(gitDir)).newestMs >= beforeMs) return false;
        await rm(gitDir, { recursive: true, force: true });
        return true;
      }),
    fetch: async (id, urlOrPath, options = {}) => {
      const gitDir = gitDirOf(id);
      const place = {
        gitDir,
        exists: () => isRepository(gitDir),
        place: <T>(fill: (dir: string) => Promise<T>) =>
          placeAtomically(gitDir, async (dir) => {
            await initBare(dir);
            return fill(dir);
          }),
      };
      const result = await locked(id, options.signal, () => fetchInto(place, urlOrPath, options));
      return { ...result, mirror: openMirror(id, gitDir) };
    },
  };
}

async function isRepository(gitDir: string): Promise<boolean> {
  return stat(join(gitDir, 'HEAD')).then(
    () => true,
    () => false,
  );
}

async function initBare(dir: string): Promise<void> {
  await gitOk(['init', '--quiet', '--bare', '--template=', '--initial-branch=main', dir]);
  await mkdir(join(dir, 'info'), { recursive: true });
  await writeFile(join(dir, 'info', 'attributes'), ATTRIBUTES);
}

/**
 * Builds the repository beside its place and renames it there. The caller holds the lock, so what lies beside it from
 * before was left by a process that died.
 */
async function placeAtomically<T>(gitDir: string, fill: (dir: string) => Promise<T>): Promise<T> {
  const parent = dirname(gitDir);
  await mkdir(parent, { recursive: true });
  const prefix = `${basename(gitDir)}.new-`;
  for (const name of await readdir(parent))
    if (name.startsWith(prefix)) await rm(join(parent, name), { recursive: true, force: true });
  const temporary = await mkdtemp(join(parent, prefix));
  try {
    const result = await fill(temporary);
    await rename(temporary, gitDir);
    return result;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

function openMirror(id: string, gitDir: string): SourceMirror {
  const at = { gitDir };
  const listTree: Mirror['listTree'] = async (commit) =>
    parseLsTree(await gitOk(['ls-tree', '-r', '-l', '-z', '--full-tree', commit], at));
  const readBlobs: SourceMirror['readBlobs'] = async (requests) => {
    if (requests.length === 0) return [];
    const output = await gitOk(['cat-file', '--batch'], { ...at, input: `${requests.join('\n')}\n` });
    return parseCatFileBatch(output, requests.length);
  };
  const readFiles: Mirror['readFiles'] = async (commit, paths) => {
    const oids = paths.some((path) => /[\n\r]/.test(path)) ? await oidsByPath(listTree, commit) : null;
    const requests = paths.map((path) => (oids ? (oids.get(path) ?? 'absent') : `${commit}:${path}`));
    const contents = await readBlobs(requests);
    return new Map(
      paths.flatMap((path, index) => {
        const content = contents[index];
        return content ? [[path, content] as const] : [];
      }),
    );
  };
  return {
    id,
    gitDir,
    listTree,
    readBlobs,
    readFiles,
    blobSizes: async (oids) => {
      if (oids.length === 0) return [];
      const output = await gitText(['cat-file', '--batch-check'], { ...at, input: `${oids.join('\n')}\n` });
      return output.split('\n').map((line) => {
        const size = / blob (\d+)$/.exec(line)?.[1];
        return size === undefined ? null : Number(size);
      });
    },
    readFile: async (commit, path) => (await readFiles(commit, [path])).get(path) ?? null,
    archive: (commit, paths) => archive(gitDir, commit, paths),
    treeOid: (commit) => gitText(['rev-parse', '--verify', '--quiet', `${commit}^{tree}`], at),
    resolve: async (revision) => {
      const result = await git(
        ['rev-parse', '--verify', '--quiet', '--end-of-options', `${revision}^{commit}`],
        at,
      );
      return result.exitCode === 0 ? result.stdout.toString('latin1').trim() : null;
    },
    changes: async (base, head) =>
      parseRawDiff(
        await gitOk(['diff-tree', '-r', '--raw', '-z', '--no-renames', '--no-abbrev', base, head], at),
      ),
    diff: (base, head, paths) => diff(gitDir, base, head, paths),
    commitWithPatch: (base, patch, refName) => commitWithPatch(gitDir, base, patch, refName),
    commitWithFiles: (base, change, refName) => commitWithFiles(gitDir, base, change, refName),
  };
}

async function oidsByPath(listTree: Mirror['listTree'], commit: string): Promise<Map<string, string>> {
  return new Map((await listTree(commit)).map((entry) => [entry.path, entry.oid]));
}

/** `git archive` of a commit; the attributes above make it the tree byte for byte. Missing commits fail the stream. */
function archive(gitDir: string, commit: string, paths: readonly string[] | undefined): Readable {
  return gitStream(['archive', '--format=tar', commit, ...(paths === undefined ? [] : ['--', ...paths])], {
    gitDir,
  });
}

/** More paths than this go through an index instead of the command line, whose length is limited. */
const MAX_PATH_ARGUMENTS = 500;

const DIFF = [
  '--binary',
  '--full-index',
  '--no-renames',
  '--no-color',
  '--no-ext-diff',
  '--no-textconv',
  '--patch',
];

async function diff(gitDir: string, base: string, head: string, paths: readonly string[]): Promise<Buffer> {
  if (paths.length === 0) return Buffer.alloc(0);
  if (paths.length <= MAX_PATH_ARGUMENTS)
    return gitOk(['diff-tree', '-r', ...DIFF, base, head, '--', ...paths], { gitDir });
  const wanted = new Set(paths);
  const raw = await gitOk(['diff-tree', '-r', '--raw', '-z', '--no-renames', '--no-abbrev', base, head], {
    gitDir,
  });
  const lines = parseRawDiff(raw)
    .filter((change) => wanted.has(change.path) && !change.undecodable)
    .map(
      (change) => `${change.newMode === '000000' ? '0' : change.newMode} ${change.newOid}\t${change.path}\0`,
    );
  return withIndex(async (env) => {
    await gitOk(['read-tree', base], { gitDir, env });
    await gitOk(['update-index', '-z', '--index-info'], { gitDir, env, input: lines.join('') });
    const tree = await gitText(['write-tree'], { gitDir, env });
    return gitOk(['diff-tree', '-r', ...DIFF, base, tree], { gitDir });
  });
}

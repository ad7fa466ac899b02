/** Trees as tar streams, with the owners that a sandbox needs: inside, nobody may change an owner any more. */
import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { extract, pack } from 'tar-stream';
import type { Header, Pack } from 'tar-stream';
import type { Sandbox } from '../../sandbox/types.ts';
import type { TreeChange } from './workspaceChange.ts';

/** Header of a written entry. */
type EntryHeader = Parameters<Pack['entry']>[0];

const TEST = { uid: 1000, gid: 1000 } as const;
const BUILD = { uid: 1001, gid: 1000 } as const;
const ROOT = { uid: 0, gid: 0 } as const;

/** Who may write what: the repository is shared by test and build users, the venv belongs to the build user alone. */
const shared = (mode: number): number => (mode & 0o755) | ((mode & 0o700) >> 3);
const readOnly = (mode: number): number => mode & 0o755;

export interface RunnerFile {
  /** Absolute path in the sandbox. Owned by root, read-only for everybody else. */
  readonly path: string;
  readonly content: Buffer | string;
}

/** `git archive` of a tree → the same under `testbed/`, owned by the test user and writable by its group. */
export function repositoryTar(archive: Readable): Readable {
  return rewriteTar(archive, (header) => ({
    ...plain(header),
    ...TEST,
    name: posix.join('testbed', header.name) + (header.type === 'directory' ? '/' : ''),
    mode: shared(header.mode ?? 0o644),
  }));
}

/** What every header keeps: no extended attributes, no names of users. */
const plain = (header: Header) => ({
  type: header.type ?? ('file' as const),
  size: header.size ?? 0,
  ...(header.mtime === undefined ? {} : { mtime: header.mtime }),
  ...(header.linkname ? { linkname: header.linkname } : {}),
});

type Rewrite = (header: Header) => EntryHeader | null;

/** Streams a tar through, entry by entry; `rewrite` gives the new header, or null to leave the entry out. */
function rewriteTar(archive: Readable, rewrite: Rewrite): Readable {
  const out = pack();
  const copy = async (): Promise<void> => {
    await copyEntries(archive, out, rewrite);
    out.finalize();
  };
  copy().catch((error: Error) => {
    archive.destroy();
    out.destroy(error);
  });
  return Readable.from(out as AsyncIterable<Buffer>, { objectMode: false });
}

async function copyEntries(archive: Readable, out: Pack, rewrite: Rewrite): Promise<void> {
  const source = extract();
  archive.on('error', (error) => source.destroy(error));
  archive.pipe(source as unknown as NodeJS.WritableStream);
  for await (const entry of source) {
    const header = rewrite(entry.header);
    if (header === null) {
      (entry as unknown as Readable).resume();
      continue;
    }
    const sink = out.entry(header);
    for await (const chunk of entry) {
      if (!sink.write(chunk)) await new Promise<void>((resolve) => sink.once('drain', () => resolve()));
    }
    sink.end(undefined);
  }
}

/** What ends a tar; `joinTars` leaves it off all but the last. */
const TAR_END_BYTES = 1024;

/** Entries of several tars as one: a later entry of a name wins. All but the last must be without trailing padding, as ours are. */
export const joinTars = (first: Buffer, last: Buffer): Buffer =>
  Buffer.concat([first.subarray(0, first.length - TAR_END_BYTES), last]);

/**
 * Trees out of a sandbox as one tar for `/`, owners and modes as they are there; null when that is over `maxBytes`. One
 * after the other: a daemon lets a container's second archive wait until the first was read.
 */
export async function keepTrees(
  sandbox: Pick<Sandbox, 'getTree'>,
  paths: readonly string[],
  maxBytes: number,
): Promise<Buffer | null> {
  const out = pack();
  const chunks: Buffer[] = [];
  let bytes = 0;
  out.on('data', (chunk) => {
    bytes += (chunk as Buffer).length;
    if (bytes <= maxBytes) chunks.push(chunk as Buffer); // the rest is read and dropped
  });
  const ended = new Promise<void>((resolve, reject) => out.once('end', resolve).once('error', reject));
  for (const path of paths) {
    await copyEntries(await sandbox.getTree(path), out, (header) => ({
      ...plain(header),
      name: header.name,
      mode: header.mode ?? 0o644,
      uid: header.uid ?? 0,
      gid: header.gid ?? 0,
    }));
  }
  out.finalize();
  await ended;
  return bytes <= maxBytes ? Buffer.concat(chunks) : null;
}

/**
 * A change as a tar for `/`. Every parent directory has an entry of its own: where a link stands in its place, the daemon
 * puts a directory there, so nothing is ever written through a link. Runner files come along, owned by root.
 */
export async function changeTar(change: TreeChange, runnerFiles: readonly RunnerFile[]): Promise<Buffer> {
  const out = pack();
  const chunks: Buffer[] = [];
  out.on('data', (chunk) => {
    chunks.push(chunk as Buffer);
  });
  const ended = new Promise<void>((resolve, reject) => out.once('end', resolve).once('error', reject));
  const directories = new Set<string>();
  for (const { path } of change.files) {
    for (let parent = posix.dirname(path); parent !== '.'; parent = posix.dirname(parent))
      directories.add(parent);
  }
  for (const directory of [...directories].sort()) {
    out.entry({ name: `testbed/${directory}/`, type: 'directory', mode: 0o775, ...TEST });
  }
  for (const { path, mode, content } of change.files) {
    const name = `testbed/${path}`;
    if (mode === '120000') out.entry({ name, type: 'symlink', linkname: content.toString('utf8'), ...TEST });
    else out.entry({ name, mode: mode === '100755' ? 0o775 : 0o664, ...TEST }, content);
  }
  for (const { path, content } of runnerFiles) {
    out.entry({ name: path.replace(/^\//, ''), mode: 0o644, ...ROOT }, content);
  }
  out.finalize();
  await ended;
  return Buffer.concat(chunks);
}

const MAX_BUILT_BYTES = 2 * 1024 ** 3;

/**
 * A tree out of a build container, made fit for the test container: only files, links and directories, no special bits,
 * owners as they must be, without git's own files and without protected paths (those come from the row).
 */
export function builtTar(
  archive: Readable,
  kind: 'testbed' | 'venv',
  isProtected: (path: string) => boolean,
): { readonly stream: Readable; readonly isTooLarge: () => boolean } {
  let bytes = 0;
  const stream = rewriteTar(archive, (header) => {
    bytes += header.size ?? 0;
    if (bytes > MAX_BUILT_BYTES) throw new Error(`The build made more than ${MAX_BUILT_BYTES} bytes.`);
    const path = posix.relative(kind, posix.normalize(header.name));
    if (path.startsWith('..') || isUnwanted(header, kind, path, isProtected)) return null;
    const mode = header.mode ?? 0o644;
    return {
      ...plain(header),
      ...(kind === 'testbed' ? TEST : BUILD),
      name: header.name,
      mode: kind === 'testbed' ? shared(mode) : readOnly(mode),
    };
  });
  return { stream, isTooLarge: () => bytes > MAX_BUILT_BYTES };
}

function isUnwanted(
  header: Header,
  kind: 'testbed' | 'venv',
  path: string,
  isProtected: (path: string) => boolean,
): boolean {
  const types: readonly (string | undefined | null)[] = ['file', 'directory', 'symlink', 'link'];
  if (!types.includes(header.type)) return true;
  if (kind === 'venv') return false;
  return /^\.git(\/|$)/.test(path) || (header.type !== 'directory' && isProtected(path));
}

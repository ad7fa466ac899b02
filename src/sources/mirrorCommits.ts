import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { infraFailure } from '../domain/failures.ts';
import { scratchDirectory } from '../store/temporary.ts';
import { parseLsTree } from './gitParse.ts';
import { git, gitOk, gitText } from './gitRun.ts';

/** Person and time of every commit that RepoForge makes are fixed, so equal content has equal ids everywhere. */
export const COMMITTER = { name: 'RepoForge', email: 'repoforge@localhost' } as const;

export interface FileChange {
  readonly message: string;
  readonly write: ReadonlyMap<string, Buffer>;
  readonly remove: readonly string[];
}

/** Runs git commands on an index of their own. */
export async function withIndex<T>(work: (env: Readonly<Record<string, string>>) => Promise<T>): Promise<T> {
  const dir = await scratchDirectory('index');
  try {
    return await work({ GIT_INDEX_FILE: join(dir, 'index') });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** `git apply --cached` on a commit's tree; a deterministic commit of the result, kept by a ref; null when it does not apply. */
export async function commitWithPatch(
  gitDir: string,
  base: string,
  patch: Buffer,
  refName: string,
): Promise<string | null> {
  const tree = await withIndex(async (env) => {
    await gitOk(['read-tree', base], { gitDir, env });
    if (patch.length > 0) {
      const applied = await git(['apply', '--cached', '--whitespace=nowarn', '-'], {
        gitDir,
        env,
        input: patch,
      });
      if (applied.exitCode !== 0) return null;
    }
    return gitText(['write-tree'], { gitDir, env });
  });
  if (tree === null) return null;
  return commitTree(gitDir, { tree, parent: base, message: 'Base with the test patch', refName });
}

/** A deterministic commit on `base` with other contents of some files, and without some; kept by a ref. */
export async function commitWithFiles(
  gitDir: string,
  base: string,
  { message, write, remove }: FileChange,
  refName: string,
): Promise<string> {
  const entries = parseLsTree(await gitOk(['ls-tree', '-r', '-l', '-z', '--full-tree', base], { gitDir }));
  const modes = new Map(entries.map((entry) => [entry.path, entry.mode]));
  const lines = remove.map((path) => `0 ${'0'.repeat(40)}\t${path}\0`);
  for (const [path, input] of write) {
    const oid = await gitOk(['hash-object', '-w', '--stdin'], { gitDir, input });
    lines.push(`${modes.get(path) ?? '100644'} ${oid.toString('latin1').trim()}\t${path}\0`);
  }
  const tree = await withIndex(async (env) => {
    await gitOk(['read-tree', base], { gitDir, env });
    await gitOk(['update-index', '-z', '--index-info'], { gitDir, env, input: lines.join('') });
    return gitText(['write-tree'], { gitDir, env });
  });
  return commitTree(gitDir, { tree, parent: base, message, refName });
}

interface NewCommit {
  readonly tree: string;
  readonly parent: string;
  readonly message: string;
  /** Below `refs/repoforge/` unless it begins with `refs/`. */
  readonly refName: string;
}

/** A commit as old as its parent, so that equal trees of equal parents are equal commits. */
async function commitTree(gitDir: string, { tree, parent, message, refName }: NewCommit): Promise<string> {
  const seconds = await gitText(['show', '-s', '--format=%ct', parent], { gitDir });
  const env = commitEnvironment(Number(seconds));
  const commit = await gitText(['commit-tree', tree, '-p', parent, '-m', message], { gitDir, env });
  await updateRef(gitDir, refName.startsWith('refs/') ? refName : `refs/repoforge/${refName}`, commit);
  return commit;
}

export function commitEnvironment(epochSeconds: number): Record<string, string> {
  const date = `${epochSeconds} +0000`;
  return {
    GIT_AUTHOR_NAME: COMMITTER.name,
    GIT_AUTHOR_EMAIL: COMMITTER.email,
    GIT_AUTHOR_DATE: date,
    GIT_COMMITTER_NAME: COMMITTER.name,
    GIT_COMMITTER_EMAIL: COMMITTER.email,
    GIT_COMMITTER_DATE: date,
  };
}

/** Several processes may write the same ref to the same value: a held ref lock is waited for, briefly. */
async function updateRef(gitDir: string, ref: string, commit: string): Promise<void> {
  const attempts = 10;
  for (let attempt = 1; ; attempt++) {
    const result = await git(['update-ref', ref, commit], { gitDir });
    if (result.exitCode === 0) return;
    if (attempt === attempts || !/lock/i.test(result.stderr))
      throw infraFailure(`The ref ${ref} could not be written in ${gitDir}: ${result.stderr.trim()}`);
    await new Promise((resolve) => setTimeout(resolve, 20 * attempt));
  }
}

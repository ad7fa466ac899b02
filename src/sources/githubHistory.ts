import { git, gitText } from './gitRun.ts';
import type { SourceMirror } from './mirror.ts';

/** How a pull request reached its branch. `head`: its merge commit is in no branch any more, so its own head is used. */
export type MergeKind = 'merge' | 'squash' | 'rebase' | 'fast_forward' | 'head';

/** A merged pull request as git sees it: `base`..`head` is its change. */
export interface MergedChange {
  readonly kind: MergeKind;
  readonly base: string;
  readonly head: string;
  /** The pull request's own commits, oldest first; empty when the mirror has not got its head. */
  readonly commits: readonly CommitFacts[];
}

export interface CommitFacts {
  readonly sha: string;
  /** ISO 8601; survives rebasing, unlike the committer's. */
  readonly authoredAt: string;
  readonly committedAt: string;
  readonly message: string;
}

/** Commits of one pull request that are read; a branch that drifted for years would otherwise list its whole history. */
const MAX_COMMITS = 500;

export const pullHeadRef = (pull: number): string => `refs/pull/${pull}/head`;

/**
 * Finds what a merged pull request changed.
 * - merge commit: against its first parent, so conflict resolutions belong to the change;
 * - squash: the parent of the one commit;
 * - rebase: the parent of the first of the rebased commits, recognised by author date and subject;
 * - fast-forward: where the head left the base branch.
 * null when the mirror holds neither the merge commit nor the head, or the change has no parent.
 */
export async function mergedChange(
  mirror: SourceMirror,
  pull: {
    readonly number: number;
    readonly merge_commit_sha: string | null;
    readonly head: { readonly sha: string };
    readonly base: { readonly sha: string };
  },
): Promise<MergedChange | null> {
  const merged = pull.merge_commit_sha === null ? null : await mirror.resolve(pull.merge_commit_sha);
  const head = (await mirror.resolve(pullHeadRef(pull.number))) ?? (await mirror.resolve(pull.head.sha));
  if (merged === null) return head === null ? null : ownHead(mirror, head, pull.base.sha);
  const [first, second] = await parentsOf(mirror, merged);
  if (first === undefined) return null;
  if (second !== undefined) {
    return { kind: 'merge', base: first, head: merged, commits: await commitsBetween(mirror, first, second) };
  }
  if (head === null) return { kind: 'squash', base: first, head: merged, commits: [] };
  if (head === merged) {
    const own = (await ownHead(mirror, head, pull.base.sha)) ?? (await single(mirror, first, merged));
    return { ...own, kind: 'fast_forward' };
  }
  const fork = await mergeBase(mirror, first, head);
  const commits = fork === null ? [] : await commitsBetween(mirror, fork, head);
  const rebased = await rebasedBase(mirror, merged, commits);
  return { kind: rebased === null ? 'squash' : 'rebase', base: rebased ?? first, head: merged, commits };
}

async function single(mirror: SourceMirror, base: string, head: string): Promise<MergedChange> {
  return { kind: 'squash', base, head, commits: await commitsBetween(mirror, base, head) };
}

async function ownHead(mirror: SourceMirror, head: string, baseSha: string): Promise<MergedChange | null> {
  const tip = await mirror.resolve(baseSha);
  const base = tip === null ? null : await mergeBase(mirror, tip, head);
  if (base === null || base === head) return null;
  return { kind: 'head', base, head, commits: await commitsBetween(mirror, base, head) };
}

/** Parent of the first of two or more commits that were copied onto the base branch; null when they were not. */
async function rebasedBase(
  mirror: SourceMirror,
  merged: string,
  commits: readonly CommitFacts[],
): Promise<string | null> {
  if (commits.length < 2) return null;
  const landed = await readLog(mirror, ['--first-parent', `--max-count=${commits.length}`, merged]);
  const originals = commits.toReversed();
  const mismatch = landed.findIndex((commit, index) => !isCopy(commit, originals[index]));
  const copied = mismatch === -1 ? landed.length : mismatch;
  const oldest = landed[copied - 1];
  if (copied < 2 || oldest === undefined) return null;
  return (await parentsOf(mirror, oldest.sha))[0] ?? null;
}

const subject = (message: string): string => message.split('\n')[0] ?? '';

const isCopy = (landed: CommitFacts, original: CommitFacts | undefined): boolean =>
  original !== undefined &&
  landed.authoredAt === original.authoredAt &&
  subject(landed.message) === subject(original.message);

async function parentsOf(mirror: SourceMirror, commit: string): Promise<readonly string[]> {
  const line = await gitText(['rev-list', '--parents', '--max-count=1', commit], { gitDir: mirror.gitDir });
  return line.split(' ').slice(1);
}

async function mergeBase(mirror: SourceMirror, a: string, b: string): Promise<string | null> {
  const result = await git(['merge-base', a, b], { gitDir: mirror.gitDir });
  return result.exitCode === 0 ? (result.stdout.toString('latin1').trim().split('\n')[0] ?? null) : null;
}

/** Commits of `head` that are not in `base`, oldest first, merges left out. */
async function commitsBetween(
  mirror: SourceMirror,
  base: string,
  head: string,
): Promise<readonly CommitFacts[]> {
  const newestFirst = await readLog(mirror, [
    '--no-merges',
    '--topo-order',
    `--max-count=${MAX_COMMITS}`,
    head,
    `^${base}`,
  ]);
  return newestFirst.toReversed();
}

async function readLog(mirror: SourceMirror, args: readonly string[]): Promise<readonly CommitFacts[]> {
  const text = await gitText(['log', '-z', '--format=%H%n%aI%n%cI%n%B', ...args], { gitDir: mirror.gitDir });
  return text
    .split('\0')
    .filter((record) => record !== '')
    .map((record) => {
      const [sha = '', authoredAt = '', committedAt = '', ...message] = record.split('\n');
      return { sha, authoredAt, committedAt, message: message.join('\n').trim() };
    });
}

/** When a commit was made, as `2024-03-01T12:00:00Z`. */
export async function committedAt(mirror: SourceMirror, commit: string): Promise<string> {
  return isoSeconds(await gitText(['show', '-s', '--format=%cI', commit], { gitDir: mirror.gitDir }));
}

/** Any ISO 8601 time as UTC with whole seconds. */
export const isoSeconds = (time: string): string => new Date(time).toISOString().replace(/\.\d{3}Z$/, 'Z');

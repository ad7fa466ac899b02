import type { Logger } from 'pino';
import { z } from 'zod';
import {
  describedVersion,
  isPullRequestMerge,
  readCommitMessage,
  repositoryName,
} from '../domain/commitText.ts';
import type { CommitText } from '../domain/commitText.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { instanceIds } from '../domain/ids.ts';
import { splitChange, testModules } from '../domain/split.ts';
import type { ArtefactStore } from '../store/types.ts';
import { makeCandidate } from './candidate.ts';
import { git, gitText } from './gitRun.ts';
import { streamLog } from './gitLog.ts';
import type { LoggedCommit } from './gitLog.ts';
import type { RawChange } from './gitParse.ts';
import { licenseOfTree } from './license.ts';
import type { SourceMirror, SourceMirrorStore } from './mirror.ts';
import { isoTime } from './simpleIndex.ts';
import type { CandidateSource, MineContext, MineLimits, MinePage, MinedCandidate } from './types.ts';

export interface GitSourceOptions {
  /** Any address that git reads, or an absolute path. */
  readonly url: string;
  /** Overrides what the address says; a path is `local/<directory>`. */
  readonly owner?: string;
  readonly name?: string;
  readonly store: ArtefactStore;
  readonly mirrors: SourceMirrorStore;
  readonly limits: MineLimits;
  readonly log: Logger;
}

/**
 * `at`: commit of the first-parent chain to go on with; `inner`: commit inside the merge `at`, when the page ended
 * there; `found`: candidates so far. Commits never change, so a cursor gives the same page for ever.
 */
const CURSOR = z.object({ at: z.string(), inner: z.string().nullable(), found: z.number().int() });
type Cursor = z.infer<typeof CURSOR>;

const HEARTBEAT_EVERY_COMMITS = 200;
/** Commit clocks are not monotonic: mining ends only after so many commits in a row are older than `since`. */
const OLD_COMMITS_BEFORE_END = 300;

/**
 * The commits of a repository's default branch as a source of candidates, newest first. It walks the first-parent
 * chain. A plain commit, or the merge of a pull request, is one change against its first parent. Any other merge is
 * opened: the commits that it brought in are changes of their own. So no line is counted twice. Only changes that touch
 * source and test modules become entries.
 */
export function createGitSource(options: GitSourceOptions): CandidateSource {
  const named = repositoryName(options.url);
  const owner = options.owner ?? named.owner;
  const name = options.name ?? named.name;
  const mirrorId = `git__${instanceIds.commit(owner, name, '').replace(/-$/, '')}`;
  return {
    async minePage(cursorText, pageSize, context) {
      const cursor = cursorText === null ? null : parseCursor(cursorText);
      const { mirror, head } = await openHistory(options, mirrorId, cursor, context);
      if (head === null) return { entries: [], nextCursor: null };
      const mining: Mining = { options, owner, name, mirror, context };
      return minePage(mining, cursor ?? { at: head, inner: null, found: 0 }, pageSize);
    },
  };
}

interface Mining {
  readonly options: GitSourceOptions;
  readonly owner: string;
  readonly name: string;
  readonly mirror: SourceMirror;
  readonly context: MineContext;
}

/** A commit to look at, with the place on the first-parent chain from which it is found again. */
interface Change {
  readonly commit: LoggedCommit;
  readonly at: string;
  readonly inner: string | null;
}

function parseCursor(text: string): Cursor {
  try {
    return CURSOR.parse(JSON.parse(text));
  } catch (error) {
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `"${text.slice(0, 100)}" is not a cursor of a git history.`,
      error,
    );
  }
}

/** Fetches at the start of a run, and again only when the mirror has lost the cursor's commit. */
async function openHistory(
  options: GitSourceOptions,
  mirrorId: string,
  cursor: Cursor | null,
  context: MineContext,
): Promise<{ readonly mirror: SourceMirror; readonly head: string | null }> {
  if (cursor !== null) {
    const mirror = await options.mirrors.create(mirrorId);
    if ((await mirror.resolve(cursor.at)) !== null) return { mirror, head: cursor.at };
  }
  context.heartbeat({ fetching: mirrorId });
  const beat = setInterval(() => context.heartbeat({ fetching: mirrorId }), 5_000);
  try {
    return await options.mirrors.fetch(mirrorId, options.url, { signal: context.signal });
  } finally {
    clearInterval(beat);
  }
}

async function minePage(mining: Mining, cursor: Cursor, pageSize: number): Promise<MinePage> {
  const { limits } = mining.options;
  const entries: MinedCandidate[] = [];
  let found = cursor.found;
  let seen = 0;
  let older = 0;
  for await (const change of walk(mining, cursor)) {
    if (++seen % HEARTBEAT_EVERY_COMMITS === 0)
      mining.context.heartbeat({ commits: seen, at: change.commit.sha });
    if (limits.maxCandidates !== null && found >= limits.maxCandidates) break;
    const createdAt = isoTime(change.commit.committedAt * 1_000);
    if (limits.until !== null && createdAt >= limits.until) continue;
    if (limits.since !== null && createdAt < limits.since) {
      if (++older >= OLD_COMMITS_BEFORE_END) break;
      continue;
    }
    older = 0;
    if (!isPromising(change.commit.changes)) continue;
    if (entries.length >= pageSize)
      return { entries, nextCursor: JSON.stringify({ at: change.at, inner: change.inner, found }) };
    const mined = await mineCommit(mining, change.commit);
    mining.context.heartbeat({ mined: mined.instanceId });
    entries.push(mined);
    if (mined.ok) found++;
  }
  return { entries, nextCursor: null };
}

/** First-parent commits from the cursor on; a merge that is no pull request is replaced by the commits inside it. */
async function* walk(mining: Mining, cursor: Cursor): AsyncGenerator<Change> {
  const { mirror, context } = mining;
  const stream = (range: readonly string[], firstParent: boolean): AsyncGenerator<LoggedCommit> =>
    streamLog(mirror.gitDir, range, { firstParent, signal: context.signal });
  for await (const commit of stream([cursor.at], true)) {
    const first = commit.parents[0];
    if (first === undefined) continue; // a root adds everything at once: no change
    if (commit.parents.length === 1 || isPullRequestMerge(commit.message)) {
      yield { commit, at: commit.sha, inner: null };
      continue;
    }
    let skipping = commit.sha === cursor.at && cursor.inner !== null;
    for await (const inner of stream([commit.sha, `^${first}`], false)) {
      skipping &&= inner.sha !== cursor.inner;
      if (!skipping && inner.parents.length === 1) yield { commit: inner, at: commit.sha, inner: inner.sha };
    }
  }
}

/** By paths alone: touches a source file and adds or changes a test module. */
export function isPromising(changed: readonly Pick<RawChange, 'path' | 'status' | 'undecodable'>[]): boolean {
  const changes = changed.filter((change) => !change.undecodable);
  const present = changes.filter((change) => change.status !== 'D').map((change) => change.path);
  return (
    splitChange(changes.map((change) => change.path)).properSource.length > 0 &&
    testModules(present).length > 0
  );
}

async function mineCommit(mining: Mining, commit: LoggedCommit): Promise<MinedCandidate> {
  const { mirror, owner, name, options } = mining;
  const base = commit.parents[0] ?? '';
  const instanceId = instanceIds.commit(owner, name, commit.sha);
  const baseSeconds = Number(await gitText(['show', '-s', '--format=%ct', base], { gitDir: mirror.gitDir }));
  const version = await versionAt(mirror, base);
  const message = await readMessages(mirror, commit);
  const isMerge = commit.parents.length > 1;
  return makeCandidate({
    mirror,
    store: options.store,
    limits: options.limits,
    instanceId,
    source: 'git',
    repo: `${owner}/${name}`,
    base,
    head: commit.sha,
    version: version.tag,
    baseVersion: version.base,
    createdAt: isoTime(commit.committedAt * 1_000),
    baseCreatedAt: isoTime(Math.min(baseSeconds, commit.committedAt) * 1_000),
    problemStatement: `${message.text}\n`,
    hintsText: null,
    license: await licenseOfTree(mirror, base),
    provenance: {
      commit: commit.sha,
      kind: isMerge ? 'pull request merge' : 'commit',
      pull_requests: message.pullRequests,
      issues: message.issues,
      problem_statement_from: 'commit message',
    },
  });
}

const MAX_INNER_MESSAGES = 20;

/** The commit's own message; a pull request merge speaks with the messages of the commits that it brought in, too. */
async function readMessages(mirror: SourceMirror, commit: LoggedCommit): Promise<CommitText> {
  const own = readCommitMessage(commit.message);
  if (commit.parents.length < 2) return own;
  const inner: CommitText[] = [];
  const range = [commit.sha, `^${commit.parents[0] ?? ''}`];
  for await (const part of streamLog(mirror.gitDir, range, { firstParent: false })) {
    inner.unshift(readCommitMessage(part.message));
    if (inner.length >= MAX_INNER_MESSAGES) break;
  }
  const texts = [own, ...inner].map((said) => said.text).filter((text) => text !== '');
  return {
    // A title that an inner message begins with, and equal messages, are said once.
    text: texts
      .filter((text, at) => !texts.some((other, index) => index > at && other.startsWith(text)))
      .join('\n\n'),
    pullRequests: own.pullRequests,
    issues: [...new Set([own, ...inner].flatMap((said) => said.issues))].sort((a, b) => a - b),
  };
}

const SCM_VERSIONED =
  /setuptools[-_]scm|hatch-vcs|use_scm_version|vcs-versioning|poetry-dynamic-versioning|versioningit|setuptools-git-versioning|["'\s]pbr["'\s>=]/;

/** Last released version below a commit ('' if none), and what a scm-versioned build of the commit reports, else null. */
export async function versionAt(
  mirror: SourceMirror,
  commit: string,
): Promise<{ readonly tag: string; readonly base: string | null }> {
  const files = await mirror.readFiles(commit, ['pyproject.toml', 'setup.py', 'setup.cfg']);
  const scm = [...files.values()].some((content) => SCM_VERSIONED.test(content.toString('utf8')));
  const described = await git(['describe', '--tags', '--long', '--match', '*[0-9]*', commit], {
    gitDir: mirror.gitDir,
  });
  const version = described.exitCode === 0 ? describedVersion(described.stdout.toString('utf8')) : null;
  return { tag: version?.tag ?? '', base: scm ? (version?.version ?? null) : null };
}

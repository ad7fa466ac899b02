import { ApplicationFailure } from '@temporalio/common';
import type { Logger } from 'pino';
import { z } from 'zod';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { instanceIds } from '../domain/ids.ts';
import type { ArtefactStore } from '../store/types.ts';
import { makeCandidate, type ChangeFacts } from './candidate.ts';
import {
  createGithubClient,
  type GithubClient,
  type PullRequest,
  type RepositoryInfo,
} from './githubClient.ts';
import { committedAt, isoSeconds, mergedChange, pullHeadRef, type MergedChange } from './githubHistory.ts';
import { pullOwnText, pullText, type PullText } from './githubText.ts';
import { versionAt } from './git.ts';
import { licenseOfTree } from './license.ts';
import type { SourceMirror, SourceMirrorStore } from './mirror.ts';
import type { CandidateSource, MineContext, MinedCandidate, MineLimits, MinePage } from './types.ts';

export interface GithubSourceOptions {
  /** `owner/name`. */
  readonly repo: string;
  /** Empty for anonymous access (60 requests an hour). */
  readonly tokens: readonly string[];
  /** API address; GitHub's own by default, `https://<host>/api/v3` for GitHub Enterprise. */
  readonly baseUrl?: string;
  /** Where git fetches from; the repository's clone address by default. */
  readonly gitUrl?: string;
  readonly store: ArtefactStore;
  readonly mirrors: SourceMirrorStore;
  readonly limits: MineLimits;
  readonly fetch?: typeof globalThis.fetch;
  readonly log: Logger;
}

/**
 * Where a page ended. The list of pull requests is numbered from its newest entry, so page numbers shift while people
 * work; `last` (the lowest number handled) is what counts, `page` is only where to look for it first.
 */
const Cursor = z.strictObject({
  page: z.number().int().positive(),
  last: z.number().int().nullable(),
  /** GitHub's time when mining began: what was merged later is left for another campaign. */
  asOf: z.string(),
  made: z.number().int().nonnegative(),
});
type Cursor = z.infer<typeof Cursor>;

/**
 * Merged pull requests of a GitHub repository, highest number first. Git tells the change, GitHub the words: only pull
 * requests whose change is usable cost more requests than the list itself (one per linked issue, one per commented one).
 *
 * A page that meets trouble after its first entry ends there and returns what it has, so that a rate limit smaller
 * than a page never loses work; the next call meets the trouble again and throws it (RateLimited with the time of the
 * next try, Authentication, NotFound, Infra, BadAnswer).
 */
export function createGithubSource(options: GithubSourceOptions): CandidateSource {
  const [owner, name, ...rest] = options.repo.split('/');
  if (!owner || !name || rest.length > 0) {
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `"${options.repo}" is not a GitHub repository: write owner/name.`,
    );
  }
  const client = createGithubClient(options);
  let info: RepositoryInfo | null = null;
  return {
    async minePage(cursorText, pageSize, context) {
      info ??= await client.repository(context.signal);
      return minePage({ ...options, owner, name, client, info, context }, readCursor(cursorText), pageSize);
    },
  };
}

interface Mining extends GithubSourceOptions {
  readonly owner: string;
  readonly name: string;
  readonly client: GithubClient;
  readonly info: RepositoryInfo;
  readonly context: MineContext;
}

function readCursor(text: string | null): Cursor | null {
  if (text === null) return null;
  const parsed = z.string().transform((json, issue): unknown => {
    try {
      return JSON.parse(json);
    } catch {
      issue.addIssue('not JSON');
      return z.NEVER;
    }
  });
  const result = parsed.pipe(Cursor).safeParse(text);
  if (result.success) return result.data;
  throw permanentFailure(
    FAILURE_TYPES.badInput,
    `"${text.slice(0, 100)}" is no cursor of the github source.`,
  );
}

async function minePage(mining: Mining, start: Cursor | null, pageSize: number): Promise<MinePage> {
  const progress: Progress = { entries: [], at: start };
  try {
    const finished = await mineInto(progress, mining, start, pageSize);
    return { entries: progress.entries, nextCursor: finished ? null : JSON.stringify(progress.at) };
  } catch (error) {
    const { entries, at } = progress;
    const typed = error instanceof ApplicationFailure && !mining.context.signal.aborted;
    if (!typed || entries.length === 0) throw error;
    mining.log.warn(
      { repo: mining.repo, entries: entries.length, type: error.type },
      `page cut short: ${error.message}`,
    );
    return { entries, nextCursor: JSON.stringify(at) };
  }
}

/** What a page has so far, and the cursor that continues after it. */
interface Progress {
  readonly entries: MinedCandidate[];
  at: Cursor | null;
}

/** Fills the page; true when the source has no more. */
async function mineInto(
  progress: Progress,
  mining: Mining,
  start: Cursor | null,
  pageSize: number,
): Promise<boolean> {
  const { client, context, limits } = mining;
  let position = await locate(mining, start);
  for (;;) {
    let at = (progress.at = position.cursor);
    const wanted = position.pulls.filter((pull) => isWanted(limits, position.cursor, pull));
    const batch = isFull(limits, at) ? [] : wanted.slice(0, pageSize - progress.entries.length);
    const mirror = batch.length === 0 ? null : await fetchPulls(mining, batch);
    for (const pull of batch) {
      const entry = mirror === null ? null : await mineOne(mining, mirror, pull);
      at = progress.at = { ...at, last: pull.number, made: at.made + (entry?.ok === true ? 1 : 0) };
      if (entry !== null) progress.entries.push(entry);
      context.heartbeat({ pull: pull.number, entries: progress.entries.length });
      if (isFull(limits, at)) break;
    }
    if (isFull(limits, at)) return true;
    if (progress.entries.length >= pageSize || batch.length < wanted.length) return false;
    if (!position.hasNext) return true;
    at = progress.at = { ...at, page: at.page + 1, last: lowest(position.pulls, at.last) };
    context.heartbeat({ page: at.page, entries: progress.entries.length });
    position = { ...(await client.closedPulls(at.page, context.signal)), cursor: at };
  }
}

interface Position {
  readonly pulls: readonly PullRequest[];
  readonly hasNext: boolean;
  readonly cursor: Cursor;
}

/** Fetches the list's page that holds the cursor's place, going back where the list has become shorter. */
async function locate(mining: Mining, cursor: Cursor | null): Promise<Position> {
  for (let page = cursor?.page ?? 1; ; page -= 1) {
    const { pulls, hasNext, servedAt } = await mining.client.closedPulls(page, mining.context.signal);
    const found: Cursor = {
      page,
      last: cursor?.last ?? null,
      asOf: cursor?.asOf ?? servedAt,
      made: cursor?.made ?? 0,
    };
    const newest = pulls[0]?.number ?? 0;
    if (page === 1 || found.last === null || newest >= found.last) return { pulls, hasNext, cursor: found };
  }
}

const lowest = (pulls: readonly PullRequest[], last: number | null): number | null =>
  pulls.reduce((low, pull) => (low === null ? pull.number : Math.min(low, pull.number)), last);

const isFull = (limits: MineLimits, cursor: Cursor): boolean =>
  limits.maxCandidates !== null && cursor.made >= limits.maxCandidates;

function isWanted(limits: MineLimits, cursor: Cursor, pull: PullRequest): boolean {
  if (pull.merged_at === null || (cursor.last !== null && pull.number >= cursor.last)) return false;
  const mergedMs = Date.parse(pull.merged_at);
  return (
    mergedMs <= Date.parse(cursor.asOf) &&
    (limits.since === null || mergedMs >= Date.parse(limits.since)) &&
    (limits.until === null || mergedMs < Date.parse(limits.until))
  );
}

const mirrorId = ({ owner, name }: Mining): string => `github__${owner}__${name}`.toLowerCase();

/** Brings the branches and the heads of these pull requests into the mirror. */
async function fetchPulls(mining: Mining, pulls: readonly PullRequest[]): Promise<SourceMirror> {
  const authorization = mining.gitUrl === undefined ? mining.client.gitAuthorization() : null;
  // a first fetch of a large repository takes minutes
  const beat = setInterval(() => mining.context.heartbeat({ fetching: mining.repo }), 5_000);
  const { mirror, missingRefs } = await mining.mirrors
    .fetch(mirrorId(mining), mining.gitUrl ?? mining.info.cloneUrl, {
      refs: pulls.map((pull) => pullHeadRef(pull.number)),
      signal: mining.context.signal,
      ...(authorization === null ? {} : { authorization }),
    })
    .finally(() => clearInterval(beat));
  if (missingRefs.length > 0)
    mining.log.info({ repo: mining.repo, missingRefs }, 'heads that the remote no longer has');
  return mirror;
}

/** null when neither the merge commit nor the head of the pull request can be had: there is no change to look at. */
async function mineOne(
  mining: Mining,
  mirror: SourceMirror,
  pull: PullRequest,
): Promise<MinedCandidate | null> {
  const { client, info, context } = mining;
  const change = await mergedChange(mirror, pull);
  if (change === null) {
    mining.log.warn(
      { repo: mining.repo, pull: pull.number },
      'no commit of this pull request can be had; skipped',
    );
    return null;
  }
  const repos = [info.fullName, mining.repo]; // differ after a rename; old texts use the old name
  const place = { repos, webHost: info.webHost, signal: context.signal };
  const own: PullText = {
    problemStatement: pullOwnText(pull),
    hintsText: null,
    source: 'pull_request',
    issueNumbers: [],
  };
  const version = await versionAt(mirror, change.base);
  return makeCandidate({
    ...factsOf(mining, mirror, pull, change),
    version: version.tag,
    baseVersion: version.base,
    baseCreatedAt: await committedAt(mirror, change.base),
    license: info.license ?? (await licenseOfTree(mirror, change.base)),
    ...wordsOf(pull, change, own),
    // git decides first: most pull requests are rejected and need no words, and words cost requests
    findWords: async () => wordsOf(pull, change, await pullText(client, pull, change, place)),
  });
}

type Words = Pick<ChangeFacts, 'problemStatement' | 'hintsText' | 'provenance'>;

const wordsOf = (pull: PullRequest, change: MergedChange, text: PullText): Words => ({
  problemStatement: text.problemStatement,
  hintsText: text.hintsText,
  provenance: {
    pull_number: pull.number,
    pull_created_at: isoSeconds(pull.created_at),
    base_ref: pull.base.ref,
    merge_kind: change.kind,
    head_commit: change.head,
    issue_numbers: text.issueNumbers,
    problem_source: text.source,
  },
});

function factsOf(
  mining: Mining,
  mirror: SourceMirror,
  pull: PullRequest,
  change: MergedChange,
): Omit<ChangeFacts, keyof Words | 'version' | 'baseVersion' | 'baseCreatedAt' | 'license'> {
  return {
    mirror,
    store: mining.store,
    limits: mining.limits,
    instanceId: instanceIds.pullRequest(mining.owner, mining.name, pull.number),
    source: 'github',
    repo: mining.repo,
    base: change.base,
    head: change.head,
    createdAt: isoSeconds(pull.merged_at ?? pull.created_at),
  };
}

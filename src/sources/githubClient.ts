import { Octokit } from 'octokit';
import type { Logger } from 'pino';
import { z } from 'zod';
import { FAILURE_TYPES, cutText, infraFailure, permanentFailure } from '../domain/failures.ts';
import { createTokenPool, type Token } from './githubTokens.ts';
import { classifyGithubError, type HeaderBag } from './githubClassifier.ts';

const PER_PAGE = 100; // GitHub's maximum; fewer requests per budget
const REQUEST_TIMEOUT_MS = 30_000; // GitHub ends its own slow requests after 10 s
const MAX_FOLLOWED_PAGES = 100; // a Link header that never ends must not run for ever

const account = z.object({ login: z.string() }).nullish();

/** Only the fields that are used; a page that lacks them is a bad answer, not an empty one. */
const PullRequest = z.object({
  number: z.number().int(),
  title: z.string(),
  body: z.string().nullable(),
  merged_at: z.string().nullable(),
  created_at: z.string(),
  merge_commit_sha: z.string().nullable(),
  base: z.object({ sha: z.string(), ref: z.string() }),
  head: z.object({ sha: z.string() }),
  user: account,
});
export type PullRequest = z.infer<typeof PullRequest>;

const Issue = z.object({
  number: z.number().int(),
  title: z.string(),
  body: z.string().nullable(),
  created_at: z.string(),
  comments: z.number().int(),
  pull_request: z.unknown().optional(),
});
export type Issue = z.infer<typeof Issue>;

const IssueComment = z.object({ body: z.string().nullish(), created_at: z.string(), updated_at: z.string() });
export type IssueComment = z.infer<typeof IssueComment>;

const PullCommit = z.object({
  sha: z.string(),
  commit: z.object({ message: z.string(), author: z.object({ date: z.string() }).nullish() }),
});

const Repository = z.object({
  full_name: z.string(),
  clone_url: z.string(),
  html_url: z.string(),
  default_branch: z.string(),
  license: z.object({ spdx_id: z.string().nullable() }).nullish(),
});

export interface RepositoryInfo {
  /** Present spelling; differs from the asked one after a rename. */
  readonly fullName: string;
  readonly cloneUrl: string;
  readonly webHost: string;
  /** null when GitHub found none or could not name it (`NOASSERTION`). */
  readonly license: string | null;
}

export interface PullPage {
  readonly pulls: readonly PullRequest[];
  /** False on the last page. */
  readonly hasNext: boolean;
  /** GitHub's own clock when the page was made. */
  readonly servedAt: string;
}

export interface GithubClient {
  /** Throws a permanent NotFound failure with one sentence when there is no such repository. */
  repository(signal: AbortSignal): Promise<RepositoryInfo>;
  /** Closed pull requests, highest number first, 100 a page, pages counted from 1. */
  closedPulls(page: number, signal: AbortSignal): Promise<PullPage>;
  /** null when the issue does not exist, was deleted or moved away, or is a pull request. */
  issue(number: number, signal: AbortSignal): Promise<Issue | null>;
  /** All comments, oldest first. */
  comments(issue: number, signal: AbortSignal): Promise<readonly IssueComment[]>;
  /** Commits of a pull request, oldest first; GitHub shows at most 250. */
  pullCommits(
    pull: number,
    signal: AbortSignal,
  ): Promise<
    readonly { readonly sha: string; readonly message: string; readonly authoredAt: string | null }[]
  >;
  /** Authorization header for git over HTTPS with a token that still works; null for anonymous access. */
  gitAuthorization(): string | null;
  /** Requests sent so far, refused ones included. */
  requestCount(): number;
}

interface Answer {
  readonly data: unknown;
  readonly headers: HeaderBag;
}

/**
 * GitHub's REST API for one repository, through octokit with its retry and throttle plugins off: Temporal retries.
 * Nothing sleeps here. Failures: RateLimited (with the time of the next try) when every token is exhausted,
 * Authentication when no token is left, NotFound, Infra (5xx, no answer), BadAnswer (cut or malformed body).
 */
export function createGithubClient(options: {
  readonly repo: string;
  readonly tokens: readonly string[];
  readonly baseUrl?: string;
  readonly fetch?: typeof globalThis.fetch;
  readonly log: Logger;
  readonly now?: () => number;
}): GithubClient {
  const { repo, log } = options;
  const baseUrl = (options.baseUrl ?? 'https://api.github.com').replace(/\/+$/, '');
  const now = options.now ?? Date.now;
  const pool = createTokenPool(options.tokens, { log, now });
  const octokit = new Octokit({
    baseUrl,
    userAgent: 'repoforge',
    retry: { enabled: false },
    throttle: { enabled: false },
    log: quietLog(log),
    ...(options.fetch === undefined ? {} : { request: { fetch: options.fetch } }),
  });
  let requests = 0;

  async function send(url: string, token: Token, signal: AbortSignal): Promise<Answer> {
    requests += 1;
    const response: Answer = await octokit.request(`GET ${url}`, {
      headers: {
        accept: 'application/vnd.github+json',
        'x-github-api-version': '2022-11-28',
        ...(token.secret === null ? {} : { authorization: `token ${token.secret}` }),
      },
      request: { signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]) },
    });
    return response;
  }

  /** One GET with whatever token has most budget left; null when the thing is missing. */
  async function get(url: string, signal: AbortSignal): Promise<Answer | null> {
    const path = new URL(url, `${baseUrl}/`).pathname;
    for (;;) {
      signal.throwIfAborted();
      const token = pool.take(repo); // throws when none can be used now
      let answer: Answer;
      try {
        answer = await send(url, token, signal);
      } catch (error) {
        signal.throwIfAborted();
        const trouble = classifyGithubError(error, path, now());
        if (trouble.kind === 'limited') pool.rest(token, trouble.waitMs, trouble.secondary);
        else if (trouble.kind === 'badToken') pool.drop(token, trouble.status);
        else if (trouble.kind === 'missing') return null;
        else throw trouble.failure;
        continue;
      }
      signal.throwIfAborted(); // octokit turns an abort during the body into an empty body
      pool.account(token, answer.headers);
      return answer;
    }
  }

  async function getAll<T>(url: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<readonly T[]> {
    const items: T[] = [];
    let next: string | null = url;
    for (let pages = 0; next !== null; pages += 1) {
      if (pages === MAX_FOLLOWED_PAGES) throw badAnswer(url, `more than ${MAX_FOLLOWED_PAGES} pages`);
      const answer = await get(next, signal);
      if (answer === null) break;
      items.push(...checked(answer, z.array(schema), url));
      next = nextLink(answer.headers, baseUrl);
    }
    return items;
  }

  const at = (path: string): string => `${baseUrl}/repos/${repo}${path}`;
  return {
    requestCount: () => requests,
    gitAuthorization() {
      const secret = pool.anyLiving()?.secret ?? null;
      return secret === null ? null : `Basic ${Buffer.from(`x-access-token:${secret}`).toString('base64')}`;
    },
    async repository(signal) {
      const answer = await get(at(''), signal);
      if (answer === null) throw repositoryMissing(repo, options.tokens.length > 0);
      const info = checked(answer, Repository, at(''));
      const spdx = info.license?.spdx_id ?? null;
      return {
        fullName: info.full_name,
        cloneUrl: info.clone_url,
        webHost: new URL(info.html_url).host,
        license: spdx === 'NOASSERTION' ? null : spdx,
      };
    },
    async closedPulls(page, signal) {
      const url = at(`/pulls?state=closed&sort=created&direction=desc&per_page=${PER_PAGE}&page=${page}`);
      const answer = await get(url, signal);
      if (answer === null) throw repositoryMissing(repo, options.tokens.length > 0);
      const pulls = checked(answer, z.array(PullRequest), url);
      const date = Date.parse(String(answer.headers['date'] ?? ''));
      return {
        pulls,
        hasNext: nextLink(answer.headers, baseUrl) !== null,
        servedAt: new Date(Number.isNaN(date) ? now() : date).toISOString(),
      };
    },
    async issue(number, signal) {
      const answer = await get(at(`/issues/${number}`), signal);
      if (answer === null) return null;
      const issue = checked(answer, Issue, at(`/issues/${number}`));
      // a moved issue is answered by a redirect to its new repository: not a problem statement of this one
      return issue.pull_request === undefined && issue.number === number ? issue : null;
    },
    comments: (issue, signal) =>
      getAll(at(`/issues/${issue}/comments?per_page=${PER_PAGE}`), IssueComment, signal),
    async pullCommits(pull, signal) {
      const commits = await getAll(at(`/pulls/${pull}/commits?per_page=${PER_PAGE}`), PullCommit, signal);
      return commits.map(({ sha, commit }) => ({
        sha,
        message: commit.message,
        authoredAt: commit.author?.date ?? null,
      }));
    },
  };
}

function checked<T>(answer: Answer, schema: z.ZodType<T>, url: string): T {
  const result = schema.safeParse(answer.data);
  if (result.success) return result.data;
  // octokit hands on a cut body as '' and broken JSON or HTML as a string, with status 200
  const seen =
    typeof answer.data === 'string'
      ? answer.data === ''
        ? 'an empty or cut-off body'
        : `text that is not JSON ("${cutText(answer.data.replace(/\s+/g, ' ').trim(), 60)}")`
      : `unexpected JSON (${cutText(z.prettifyError(result.error).replace(/\s+/g, ' '), 200)})`;
  throw badAnswer(url, seen);
}

const badAnswer = (url: string, seen: string): Error =>
  infraFailure(`GitHub answered ${new URL(url).pathname} with ${seen}.`, { type: FAILURE_TYPES.badAnswer });

const repositoryMissing = (repo: string, withToken: boolean): Error =>
  permanentFailure(
    FAILURE_TYPES.notFound,
    `GitHub has no repository "${repo}"${withToken ? ' that these tokens may read' : ', or it is private and needs a token'}; check the spelling (owner/name).`,
  );

/** Address of the next page; only on the server that was asked, so that a token never leaves it. */
function nextLink(headers: HeaderBag, baseUrl: string): string | null {
  const match = /<([^<>]+)>\s*;[^,]*\brel="?next"?/.exec(String(headers['link'] ?? ''));
  if (match?.[1] === undefined) return null;
  const url = new URL(match[1], `${baseUrl}/`);
  if (url.origin !== new URL(baseUrl).origin) {
    throw badAnswer(url.href, `a next page on another server (${url.origin}), which gets no token of ours`);
  }
  return url.href;
}

/** octokit would write deprecations and failed requests to the console. */
function quietLog(log: Logger): Record<'debug' | 'info' | 'warn' | 'error', (message: string) => void> {
  const write = (message: string): void => log.debug({ component: 'octokit' }, message);
  return { debug: write, info: write, warn: write, error: write };
}

import fixtures from '@octokit/fixtures';
import type { ServerResponse } from 'node:http';
import { sendJson, startHttpServer, type SeenRequest, type TestHttpServer } from '../support/http.ts';

/** Answers one request instead of the world. */
export type Fault = (response: ServerResponse, request: SeenRequest) => void;

export interface WorldPull {
  readonly number: number;
  readonly title: string;
  readonly body?: string | null;
  readonly mergedAt?: string | null;
  readonly mergeCommit?: string | null;
  readonly headSha?: string;
  readonly baseSha?: string;
}

export interface WorldIssue {
  readonly title: string;
  readonly body?: string | null;
  readonly createdAt?: string;
  readonly isPull?: boolean;
  readonly comments?: readonly { readonly body: string; readonly at: string; readonly editedAt?: string }[];
}

/** A repository as GitHub's REST API shows it. Everything may be changed between two requests. */
export interface World {
  readonly repo: string;
  pulls: WorldPull[];
  readonly issues: Map<number, WorldIssue>;
  readonly pullCommits: Map<number, readonly { readonly message: string; readonly authoredAt: string }[]>;
  license: string | null;
  /** The server's own limit of a page, below what the client asks for. */
  maxPerPage: number;
  /** GitHub's clock. */
  now: string;
  readonly headers: Record<string, string>;
  /** The first fault whose path fits is used once. */
  readonly faults: { readonly path: RegExp; readonly fault: Fault }[];
}

const recorded = (name: string): readonly { readonly path: string; readonly response: unknown }[] =>
  fixtures.get(`api.github.com/${name}`);
const fields = (value: unknown): object => (typeof value === 'object' && value !== null ? value : {});
/** Real answers as moulds, so that the client meets all the fields that GitHub sends. */
const REPOSITORY = fields(recorded('get-repository')[0]?.response);
const ISSUE = fields((recorded('paginate-issues')[0]?.response as readonly unknown[] | undefined)?.[0]);
const ZERO = '0'.repeat(40);

export const newWorld = (repo: string): World => ({
  repo,
  pulls: [],
  issues: new Map(),
  pullCommits: new Map(),
  license: 'MIT',
  maxPerPage: 100,
  now: '2024-06-01T00:00:00Z',
  headers: {},
  faults: [],
});

/** A local server that answers for the world in GitHub's shapes; Link headers point to itself. */
export async function serveWorld(world: World): Promise<TestHttpServer> {
  const server = await startHttpServer((request, response) => {
    const at = world.faults.findIndex(({ path }) => path.test(request.url));
    const [fault] = at === -1 ? [] : world.faults.splice(at, 1);
    if (fault !== undefined) return fault.fault(response, request);
    return answer(world, new URL(request.url, server.url), response);
  });
  return server;
}

function answer(world: World, url: URL, response: ServerResponse): void {
  const prefix = `/repos/${world.repo}`;
  const headers = { date: new Date(world.now).toUTCString(), ...world.headers };
  const path = url.pathname.startsWith(prefix) ? url.pathname.slice(prefix.length) : null;
  const send = (value: unknown): void => {
    if (value === undefined)
      return sendJson(response, { message: 'Not Found', status: '404' }, { status: 404, headers });
    if (!Array.isArray(value)) return sendJson(response, value, { headers });
    const { items, link } = page(value, url, world.maxPerPage);
    sendJson(response, items, { headers: link === null ? headers : { ...headers, link } });
  };
  if (path === '')
    return send({
      ...REPOSITORY,
      full_name: world.repo,
      license: world.license && { spdx_id: world.license },
    });
  if (path === '/pulls') return send(world.pulls.toSorted((a, b) => b.number - a.number).map(pullJson));
  const [, kind, number, part] = /^\/(issues|pulls)\/(\d+)(?:\/(comments|commits))?$/.exec(path ?? '') ?? [];
  if (kind === 'pulls' && part === 'commits') return send(commitsJson(world, Number(number)));
  const issue = kind === 'issues' ? world.issues.get(Number(number)) : undefined;
  if (issue === undefined) return send(undefined);
  if (part === 'comments') return send((issue.comments ?? []).map(commentJson));
  return send(issueJson(Number(number), issue));
}

function page(
  all: readonly unknown[],
  url: URL,
  max: number,
): { readonly items: readonly unknown[]; readonly link: string | null } {
  const size = Math.min(max, Number(url.searchParams.get('per_page') ?? 30));
  const number = Number(url.searchParams.get('page') ?? 1);
  const last = Math.max(1, Math.ceil(all.length / size));
  const to = (target: number, rel: string): string => {
    const next = new URL(url);
    next.searchParams.set('page', String(target));
    return `<${next.href}>; rel="${rel}"`;
  };
  const links = [
    ...(number > 1 ? [to(number - 1, 'prev')] : []),
    ...(number < last ? [to(number + 1, 'next'), to(last, 'last')] : []),
  ];
  return {
    items: all.slice((number - 1) * size, number * size),
    link: links.length === 0 ? null : links.join(', '),
  };
}

const pullJson = (pull: WorldPull): object => ({
  ...ISSUE,
  number: pull.number,
  title: pull.title,
  body: pull.body ?? null,
  state: 'closed',
  created_at: '2024-01-01T00:00:00Z',
  merged_at: pull.mergedAt === undefined ? '2024-03-01T00:00:00Z' : pull.mergedAt,
  merge_commit_sha: pull.mergeCommit ?? null,
  head: { ref: 'topic', sha: pull.headSha ?? ZERO },
  base: { ref: 'main', sha: pull.baseSha ?? ZERO },
});

const issueJson = (number: number, issue: WorldIssue): object => ({
  ...ISSUE,
  number,
  title: issue.title,
  body: issue.body ?? null,
  created_at: issue.createdAt ?? '2023-12-01T00:00:00Z',
  comments: issue.comments?.length ?? 0,
  ...(issue.isPull === true ? { pull_request: { url: 'https://api.github.com/x' } } : {}),
});

const commentJson = (comment: {
  readonly body: string;
  readonly at: string;
  readonly editedAt?: string;
}): object => ({
  body: comment.body,
  created_at: comment.at,
  updated_at: comment.editedAt ?? comment.at,
});

const commitsJson = (world: World, pull: number): readonly object[] | undefined =>
  world.pullCommits.get(pull)?.map(({ message, authoredAt }, index) => ({
    sha: String(index).padStart(40, '0'),
    commit: { message, author: { name: 'A', email: 'a@example.org', date: authoredAt } },
  }));

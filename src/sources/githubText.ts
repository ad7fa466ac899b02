import type { GithubClient, Issue, PullRequest } from './githubClient.ts';
import { linkedIssues } from './githubLinks.ts';
import type { MergedChange } from './githubHistory.ts';

export interface PullText {
  readonly problemStatement: string;
  readonly hintsText: string | null;
  readonly source: 'issue' | 'pull_request';
  readonly issueNumbers: readonly number[];
}

/** More linked issues than this are a release's list, not one task; GitHub is asked for the first ones. */
const MAX_ISSUES = 10;

const titled = (title: string, body: string | null): string =>
  `${title.trim()}\n${(body ?? '').replaceAll('\r\n', '\n').trim()}`.trim();

/** Title and body of the pull request itself, without the template's hidden hints. */
export const pullOwnText = (pull: PullRequest): string =>
  titled(pull.title, (pull.body ?? '').replace(/<!--[\s\S]*?(?:-->|$)/g, ''));

/**
 * Problem statement and hints of a pull request (SWE-bench's rules): title, newline and body of every issue that it
 * closes; hints are the issues' comments that nobody touched since the pull request's first commit. A pull request
 * that closes no issue speaks for itself, without hints.
 */
export async function pullText(
  client: GithubClient,
  pull: PullRequest,
  change: MergedChange,
  place: { readonly repos: readonly string[]; readonly webHost: string; readonly signal: AbortSignal },
): Promise<PullText> {
  const commits = await commitsOf(client, pull, change, place.signal);
  const texts = [pull.title, pull.body ?? '', ...commits.map((commit) => commit.message)];
  const linked = place.repos.flatMap((repo) => linkedIssues(texts, repo, place.webHost));
  const numbers = [...new Set(linked)].filter((number) => number !== pull.number);
  const issues: Issue[] = [];
  for (const number of numbers.slice(0, MAX_ISSUES)) {
    const issue = await client.issue(number, place.signal);
    if (issue !== null) issues.push(issue);
  }
  if (issues.length === 0) {
    return { problemStatement: pullOwnText(pull), hintsText: null, source: 'pull_request', issueNumbers: [] };
  }
  const firstCommitMs = Math.min(
    ...commits.map((commit) => Date.parse(commit.authoredAt ?? '')).filter(Number.isFinite),
  );
  return {
    problemStatement: issues.map((issue) => titled(issue.title, issue.body)).join('\n\n'),
    hintsText: await hintsOf(client, issues, firstCommitMs, place.signal),
    source: 'issue',
    issueNumbers: issues.map((issue) => issue.number),
  };
}

/** From the mirror, which costs no request; from the API when the mirror has not got the pull request's head. */
async function commitsOf(
  client: GithubClient,
  pull: PullRequest,
  change: MergedChange,
  signal: AbortSignal,
): Promise<readonly { readonly message: string; readonly authoredAt: string | null }[]> {
  return change.commits.length > 0 ? change.commits : client.pullCommits(pull.number, signal);
}

/** Without a known first commit (infinite minimum of nothing) there is no safe hint. */
async function hintsOf(
  client: GithubClient,
  issues: readonly Issue[],
  firstCommitMs: number,
  signal: AbortSignal,
): Promise<string | null> {
  if (!Number.isFinite(firstCommitMs)) return null;
  const hints: string[] = [];
  for (const issue of issues) {
    if (issue.comments === 0 || Date.parse(issue.created_at) >= firstCommitMs) continue;
    const comments = await client.comments(issue.number, signal);
    // an old comment that was edited later may tell the solution
    const early = comments.filter((comment) => Date.parse(comment.updated_at) < firstCommitMs);
    hints.push(...early.map((comment) => (comment.body ?? '').replaceAll('\r\n', '\n').trim()));
  }
  const text = hints.filter((hint) => hint !== '').join('\n');
  return text === '' ? null : text;
}

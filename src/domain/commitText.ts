import { clean, explain, valid } from '@renovatebot/pep440';

/** What a commit message tells, apart from its trailers. */
export interface CommitText {
  /** Subject and body for a person; '' when the message says nothing of its own. */
  readonly text: string;
  /** Numbers of pull or merge requests that the message names as its own. */
  readonly pullRequests: readonly number[];
  /** Numbers behind closing keywords. */
  readonly issues: readonly number[];
}

const TRAILER =
  /^(signed-off-by|co-authored-by|co-developed-by|reviewed-by|acked-by|tested-by|reported-by|suggested-by|approved-by|helped-by|cc|change-id|reviewed-on|pull-request|differential revision|git-svn-id|bug|see merge request|assisted-by|generated-by|claude-session|backport-of|pr-url|refs|link)\b\s*[:!]?\s*\S/i;
const PULL_MERGE =
  /^(merge(d)? (pull request|pr) #?(\d+)|merged in .*\(pull request #(\d+)\)|merge #(\d+)|auto merge of #(\d+))/i;
const GITLAB_MERGE = /see merge request \S*!(\d+)/i;

/** True for a merge commit that brings in one pull or merge request as a whole. */
export function isPullRequestMerge(message: string): boolean {
  return PULL_MERGE.test(message) || GITLAB_MERGE.test(message);
}

/** Takes trailers and merge boilerplate out of a message and notes the numbers that it names. */
export function readCommitMessage(message: string): CommitText {
  const lines = message.replace(/\r\n?/g, '\n').trim().split('\n');
  const subject = lines[0] ?? '';
  const merge = PULL_MERGE.exec(subject);
  const mergeNumber = merge?.[4] ?? merge?.[5] ?? merge?.[6] ?? merge?.[7] ?? GITLAB_MERGE.exec(message)?.[1];
  const inSubject = [...subject.matchAll(/\((?:#|GH-|!)(\d+)\)/g)].map((match) => match[1]);
  const issues = [
    ...message.matchAll(
      /\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?)\b:?\s+(?:issue\s+)?(?:[\w.-]+\/[\w.-]+)?(?:#|GH-)(\d+)/gi,
    ),
  ].map((match) => match[1]);
  const isMerge =
    mergeNumber !== undefined || /^merge (branch|remote-tracking branch|tag|commit)\b/i.test(subject);
  return {
    text: withoutTrailers(isMerge ? lines.slice(1) : lines),
    pullRequests: numbers([mergeNumber, ...inSubject]),
    issues: numbers(issues),
  };
}

function withoutTrailers(lines: readonly string[]): string {
  const kept = lines.filter((line) => !/^\(cherry picked from commit [0-9a-f]+\)$/.test(line.trim()));
  while (kept.length > 0 && (kept.at(-1)?.trim() === '' || TRAILER.test(kept.at(-1) ?? ''))) kept.pop();
  return kept.join('\n').trim();
}

const numbers = (found: readonly (string | undefined)[]): readonly number[] =>
  [...new Set(found.flatMap((text) => (text === undefined ? [] : [Number(text)])))].sort((a, b) => a - b);

/**
 * Version that scm-driven build tools report for `git describe --tags --long` output: the tag itself at distance 0,
 * else the next patch version's `.devN` (setuptools-scm's guess-next-dev), without the local part. null if the tag
 * holds no version.
 */
export function describedVersion(
  description: string,
): { readonly tag: string; readonly version: string } | null {
  const match = /^(.+)-(\d+)-g[0-9a-f]+$/.exec(description.trim());
  if (!match) return null;
  const found = /(?:^|[^0-9a-z])v?(\d+(?:\.\d+)*(?:[-._]?(?:a|b|rc|alpha|beta|post|dev)[-._]?\d*)*)$/i.exec(
    match[1] ?? '',
  )?.[1];
  const tag = found !== undefined && valid(found) !== null ? clean(found) : null;
  if (tag === null) return null;
  const distance = Number(match[2]);
  if (distance === 0) return { tag, version: tag };
  const parts = explain(tag);
  const release = parts?.release ?? [];
  if (parts?.is_prerelease)
    return { tag, version: `${tag.replace(/\d+$/, (digits) => String(Number(digits) + 1))}.dev${distance}` };
  const next = [...release.slice(0, -1), (release.at(-1) ?? 0) + 1].join('.');
  return { tag, version: `${next}.dev${distance}` };
}

/** Owner and name of a git URL; `local` and the directory's name for a path. */
export function repositoryName(urlOrPath: string): { readonly owner: string; readonly name: string } {
  const trimmed = urlOrPath
    .replace(/[?#].*$/, '')
    .replace(/\/+$/, '')
    .replace(/(\/\.git|\.git)$/, '')
    .replace(/\/+$/, '');
  const remote = /^(?:[a-z+]+:\/\/(?:[^/@]+@)?[^/]+\/|[^/@\s]+@[^:/\s]+:)(.+)$/i.exec(trimmed);
  const isFile = /^file:/i.test(trimmed);
  const segments = (remote && !isFile ? (remote[1] ?? '') : trimmed)
    .split('/')
    .filter((segment) => segment !== '' && segment !== '.');
  const name = segments.at(-1) ?? 'repository';
  const owner = remote && !isFile && segments.length > 1 ? segments.slice(0, -1).join('/') : 'local';
  return { owner, name };
}

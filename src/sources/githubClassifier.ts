import { RequestError } from 'octokit';
import type { ApplicationFailure } from '@temporalio/common';
import { FAILURE_TYPES, cutText, infraFailure, permanentFailure } from '../domain/failures.ts';
import { retryAfterMs } from '../domain/retryAfter.ts';

/** What an answer of GitHub means for the request, the token that made it, and the activity. */
export type GithubTrouble =
  /** This token must rest; another one may go on. */
  | { readonly kind: 'limited'; readonly waitMs: number; readonly secondary: boolean }
  /** This token is dead or may not read here; another one may go on. */
  | { readonly kind: 'badToken'; readonly status: 401 | 403 }
  /** The thing does not exist, is gone, or is hidden from the token. */
  | { readonly kind: 'missing'; readonly status: 404 | 410 | 451 }
  /** Nothing that another token would mend. */
  | { readonly kind: 'failure'; readonly failure: ApplicationFailure };

/** GitHub asks for "at least one minute" when a secondary limit names no time. */
const SECONDARY_LIMIT_WAIT_MS = 60_000;
/** Budgets are per hour: a reset further away is a wrong clock or a wrong unit. */
const LONGEST_RESET_MS = 3_660_000;
/** The reset is in whole seconds and clocks differ a little. */
const RESET_SLACK_MS = 1_000;
const SECONDARY_LIMIT = /secondary rate limit|abuse detection|abuse-rate-limit/i;

export type HeaderBag = Readonly<Record<string, string | number | undefined>>;

/** Milliseconds until the token's primary budget is full again; null when the headers do not say. */
export function resetWaitMs(headers: HeaderBag, nowMs: number): number | null {
  const reset = Number(headers['x-ratelimit-reset']);
  if (!Number.isFinite(reset) || reset <= 0) return null;
  return Math.min(LONGEST_RESET_MS, Math.max(RESET_SLACK_MS, reset * 1_000 - nowMs + RESET_SLACK_MS));
}

/**
 * Maps what octokit throws to what it means. `path` names the request in messages (never with query or token).
 * Rules: docs.github.com, "Rate limits for the REST API": primary = 403 or 429 with `x-ratelimit-remaining: 0`;
 * secondary = 403 or 429 with `retry-after` or a message that says so.
 */
export function classifyGithubError(error: unknown, path: string, nowMs: number): GithubTrouble {
  if (!(error instanceof RequestError)) {
    return {
      kind: 'failure',
      failure: infraFailure(`GitHub request ${path} failed: ${messageOf(error)}`, { cause: error }),
    };
  }
  const headers: HeaderBag = error.response?.headers ?? {};
  const status = error.status;
  if (status === 429 || (status === 403 && isLimit(error, headers))) return limited(error, headers, nowMs);
  if (status === 401 || status === 403) return { kind: 'badToken', status };
  if (status === 404 || status === 410 || status === 451) return { kind: 'missing', status };
  return { kind: 'failure', failure: otherFailure(error, headers, path, nowMs) };
}

function isLimit(error: RequestError, headers: HeaderBag): boolean {
  return (
    String(headers['x-ratelimit-remaining'] ?? '') === '0' ||
    headers['retry-after'] !== undefined ||
    SECONDARY_LIMIT.test(error.message) ||
    /API rate limit exceeded/i.test(error.message)
  );
}

function limited(error: RequestError, headers: HeaderBag, nowMs: number): GithubTrouble {
  const primary =
    String(headers['x-ratelimit-remaining'] ?? '') === '0' && !SECONDARY_LIMIT.test(error.message);
  const named = retryAfterMs(headers['retry-after'], nowMs);
  const waitMs = named ?? (primary ? resetWaitMs(headers, nowMs) : null) ?? SECONDARY_LIMIT_WAIT_MS;
  return { kind: 'limited', waitMs, secondary: !primary };
}

function otherFailure(
  error: RequestError,
  headers: HeaderBag,
  path: string,
  nowMs: number,
): ApplicationFailure {
  const { status } = error;
  if (error.response === undefined) {
    // octokit reports refused connections, resets and timeouts as status 500 without a response
    return infraFailure(`GitHub did not answer ${path}: ${messageOf(error)}`, { cause: error });
  }
  if (status >= 500 || status === 408) {
    const nextRetryMs = retryAfterMs(headers['retry-after'], nowMs);
    return infraFailure(
      `GitHub answered ${status} to ${path}: ${messageOf(error)}`,
      nextRetryMs === null ? {} : { nextRetryMs },
    );
  }
  return permanentFailure(
    FAILURE_TYPES.badInput,
    `GitHub refused ${path} with ${status}: ${messageOf(error)}. This is a fault of the request; check the repository name and the base URL.`,
  );
}

/** First line of an error's message: GitHub's 5xx pages are whole HTML documents. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return cutText(text.replace(/\s+/g, ' ').trim(), 200);
}

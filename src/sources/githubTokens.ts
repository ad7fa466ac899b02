import type { Logger } from 'pino';
import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import { resetWaitMs, type HeaderBag } from './githubClassifier.ts';

/** One credential and what is known of its budget. `secret` is null for anonymous requests. */
export interface Token {
  readonly secret: string | null;
  /** 1-based place in the configuration: how messages name it, since the secret is never printed. */
  readonly place: number;
}

interface TokenState extends Token {
  remaining: number;
  restingUntilMs: number;
  dropped: boolean;
}

export interface TokenPool {
  /** The usable token with most budget left. Throws RateLimited with the time of the next try, or Authentication. */
  take(repo: string): Token;
  /** A token that was not dropped, resting or not: git has no share in the API's budget. */
  anyLiving(): Token | null;
  rest(token: Token, waitMs: number, secondary: boolean): void;
  drop(token: Token, status: number): void;
  /** Notes what an answer's headers say of the budget. */
  account(token: Token, headers: HeaderBag): void;
}

const MIN_WAIT_MS = 1_000;

/** Rotates tokens by remaining budget. Never sleeps: when all rest, the caller is told when to come back. */
export function createTokenPool(
  secrets: readonly string[],
  deps: { readonly log: Logger; readonly now: () => number },
): TokenPool {
  const { log, now } = deps;
  const usable = [...new Set(secrets.map((secret) => secret.trim()).filter((secret) => secret !== ''))];
  const states: TokenState[] = (usable.length === 0 ? [null] : usable).map((secret, index) => ({
    secret,
    place: index + 1,
    remaining: Number.POSITIVE_INFINITY, // unknown: try each token once before preferring one
    restingUntilMs: 0,
    dropped: false,
  }));
  const stateOf = (token: Token): TokenState | undefined =>
    states.find((state) => state.place === token.place);
  const name = (token: Token): string =>
    token.secret === null ? 'anonymous access' : `token ${token.place} of ${states.length}`;

  return {
    take(repo) {
      const living = states.filter((state) => !state.dropped);
      if (living.length === 0) throw noTokenLeft(repo, usable.length);
      const atMs = now();
      const [best] = living
        .filter((state) => state.restingUntilMs <= atMs)
        .sort((a, b) =>
          a.remaining === b.remaining ? a.place - b.place : a.remaining < b.remaining ? 1 : -1,
        );
      if (best !== undefined) return best;
      const waitMs = Math.max(MIN_WAIT_MS, Math.min(...living.map((state) => state.restingUntilMs)) - atMs);
      throw infraFailure(
        `GitHub's rate limit is used up for ${usable.length === 0 ? 'anonymous requests (60 an hour; set a token)' : `all ${living.length} token(s)`}; next try in ${Math.ceil(waitMs / 1_000)} s.`,
        { type: FAILURE_TYPES.rateLimited, nextRetryMs: waitMs },
      );
    },
    anyLiving: () => states.find((state) => !state.dropped) ?? null,
    rest(token, waitMs, secondary) {
      const state = stateOf(token);
      if (state === undefined) return;
      state.restingUntilMs = Math.max(state.restingUntilMs, now() + waitMs);
      state.remaining = Number.POSITIVE_INFINITY; // unknown again once it has rested
      log.info({ waitMs, secondary }, `GitHub: ${name(token)} must rest`);
    },
    drop(token, status) {
      const state = stateOf(token);
      if (state === undefined) return;
      state.dropped = true;
      const why = status === 401 ? 'is not accepted (expired or revoked?)' : 'may not read this repository';
      log.warn({ status }, `GitHub: ${name(token)} ${why}; it is not used any more`);
    },
    account(token, headers) {
      const state = stateOf(token);
      const remaining = Number(headers['x-ratelimit-remaining'] ?? Number.NaN);
      if (state === undefined || !Number.isFinite(remaining)) return;
      state.remaining = remaining;
      if (remaining > 0) return;
      state.restingUntilMs = now() + (resetWaitMs(headers, now()) ?? MIN_WAIT_MS);
      state.remaining = Number.POSITIVE_INFINITY;
    },
  };
}

function noTokenLeft(repo: string, configured: number): Error {
  return permanentFailure(
    FAILURE_TYPES.authentication,
    configured === 0
      ? `GitHub refuses anonymous requests for "${repo}"; set a token with read access.`
      : `None of the ${configured} GitHub token(s) is accepted for "${repo}"; make a new one with read access to contents, issues and pull requests.`,
  );
}

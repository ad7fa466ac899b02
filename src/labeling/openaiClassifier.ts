import {
  APIConnectionError,
  APIConnectionTimeoutError,
  APIError,
  APIUserAbortError,
  AuthenticationError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
} from 'openai';
import type { ApplicationFailure } from '@temporalio/common';
import { FAILURE_TYPES, cutText, infraFailure, permanentFailure } from '../domain/failures.ts';
import { retryAfterMs } from '../domain/retryAfter.ts';

/** Quota and billing codes of the servers in use: waiting does not help. */
const NO_QUOTA =
  /insufficient_quota|billing_hard_limit|exceeded your current quota|insufficient balance|credit balance/i;

/**
 * Maps what the `openai` client throws to a typed failure. `server` names model and host in messages; keys never
 * reach them. `advice` is for a request that is refused. The client throws a plain SyntaxError for a body that is not
 * JSON and a plain TypeError `terminated` for one that is cut off; its own errors are told apart by instanceof (their
 * `name` is "Error").
 */
export function classifyOpenaiError(
  error: unknown,
  server: string,
  nowMs: number,
  advice = 'If the prompt is too long, lower promptTokenBudget.',
): ApplicationFailure {
  if (error instanceof RateLimitError) return rateLimited(error, server, nowMs);
  if (error instanceof AuthenticationError || error instanceof PermissionDeniedError) {
    return permanentFailure(
      FAILURE_TYPES.authentication,
      `${server} refuses the API key (${error.status}); check the key and its rights.`,
    );
  }
  if (error instanceof NotFoundError) {
    return permanentFailure(
      FAILURE_TYPES.notFound,
      `${server} answered 404: check the model's name and the base URL (it ends in /v1 with most servers). ${says(error)}`,
    );
  }
  if (error instanceof APIUserAbortError || error instanceof APIConnectionTimeoutError || isTimeout(error)) {
    return infraFailure(`${server} did not answer in time.`, { cause: error });
  }
  if (error instanceof APIConnectionError) {
    return infraFailure(`${server} cannot be reached: ${says(error)}`, { cause: error });
  }
  if (error instanceof InternalServerError || (error instanceof APIError && isPassing(error.status))) {
    const nextRetryMs = waitOf(error, nowMs);
    return infraFailure(
      `${server} failed with ${String(error.status)}: ${says(error)}`,
      nextRetryMs === null ? {} : { nextRetryMs },
    );
  }
  if (error instanceof APIError) {
    return permanentFailure(
      FAILURE_TYPES.badInput,
      `${server} refuses the request (${String(error.status)}): ${says(error)} ${advice}`.trim(),
    );
  }
  if (error instanceof SyntaxError) {
    return infraFailure(`${server} answered something that is not JSON: ${says(error)}`, {
      type: FAILURE_TYPES.badAnswer,
    });
  }
  if (error instanceof TypeError && error.message === 'terminated') {
    return infraFailure(`${server} cut its answer off.`, { type: FAILURE_TYPES.badAnswer, cause: error });
  }
  return infraFailure(`The request to ${server} failed: ${says(error)}`, { cause: error });
}

function rateLimited(error: RateLimitError, server: string, nowMs: number): ApplicationFailure {
  if (NO_QUOTA.test(`${error.code ?? ''} ${error.type ?? ''} ${error.message}`)) {
    return permanentFailure(
      FAILURE_TYPES.authentication,
      `${server}: the account has no quota left; waiting does not help. Add credit or use another key.`,
    );
  }
  const nextRetryMs = waitOf(error, nowMs);
  return infraFailure(`${server} limits the rate of requests: ${says(error)}`, {
    type: FAILURE_TYPES.rateLimited,
    ...(nextRetryMs === null ? {} : { nextRetryMs }),
  });
}

/** OpenAI sends `retry-after-ms` beside the standard header. */
function waitOf(error: APIError, nowMs: number): number | null {
  const header = error.headers?.get('retry-after-ms') ?? null;
  const milliseconds = header === null ? Number.NaN : Number(header);
  if (Number.isFinite(milliseconds) && milliseconds >= 0) return Math.max(1_000, Math.ceil(milliseconds));
  return retryAfterMs(error.headers?.get('retry-after') ?? null, nowMs);
}

const isPassing = (status: number | undefined): boolean =>
  status === undefined || status >= 500 || status === 408 || status === 409 || status === 425;

const isTimeout = (error: unknown): boolean =>
  error instanceof Error && (error.name === 'TimeoutError' || error.name === 'AbortError');

const says = (error: unknown): string =>
  cutText((error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').trim(), 300);

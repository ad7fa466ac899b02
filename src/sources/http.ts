import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';

export type Fetch = typeof globalThis.fetch;

export interface HttpRequest {
  readonly fetch: Fetch;
  readonly url: string;
  readonly accept?: string;
  readonly signal: AbortSignal;
  /** What is asked for, in words, for messages: `the index page of cachetools`. */
  readonly what: string;
  /** Time until the answer's headers; the body is bounded by the caller's signal. */
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const MAX_RETRY_AFTER_MS = 3_600_000;

/**
 * One GET, without retries of its own. Credentials in the URL become a Basic header and never appear in messages.
 * 200 → the response; 404 and 410 → null; 401 and 403 → permanent Authentication; 429, and 503 with Retry-After →
 * RateLimited with the time named; other statuses and network trouble → Infra.
 */
export async function httpGet(request: HttpRequest): Promise<Response | null> {
  const { url, authorization } = splitCredentials(request.url);
  const timeout = AbortSignal.timeout(request.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  let response: Response;
  try {
    response = await request.fetch(url, {
      redirect: 'follow',
      signal: AbortSignal.any([request.signal, timeout]),
      headers: {
        'user-agent': 'repoforge',
        ...(request.accept === undefined ? {} : { accept: request.accept }),
        ...(authorization === null ? {} : { authorization }),
      },
    });
  } catch (error) {
    throw networkFailure(request, error);
  }
  if (response.ok) return response;
  await response.body?.cancel().catch(() => undefined);
  if (response.status === 404 || response.status === 410) return null;
  throw statusFailure(request.what, response);
}

/** What went wrong while asking or while reading the body. */
export function networkFailure(request: Pick<HttpRequest, 'what' | 'signal'>, error: unknown): Error {
  if (request.signal.aborted)
    return permanentFailure(FAILURE_TYPES.cancelled, `Fetching ${request.what} was cancelled.`, error);
  const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : '';
  const message = error instanceof Error ? error.message : String(error);
  return infraFailure(`${request.what} could not be fetched (${message}${cause}).`, { cause: error });
}

function statusFailure(what: string, response: Response): Error {
  const { status } = response;
  const nextRetryMs = retryAfterMs(response.headers.get('retry-after'), Date.now());
  if (status === 401 || status === 403)
    return permanentFailure(
      FAILURE_TYPES.authentication,
      `The server refused ${what} (HTTP ${status}): check the credentials in the installer's index configuration.`,
    );
  if (status === 429 || (status === 503 && nextRetryMs !== null))
    return infraFailure(`The server asked to slow down (HTTP ${status}) at ${what}.`, {
      type: FAILURE_TYPES.rateLimited,
      ...(nextRetryMs === null ? {} : { nextRetryMs }),
    });
  return infraFailure(`The server answered HTTP ${status} to ${what}.`);
}

/** Retry-After in milliseconds from now: seconds or an HTTP date; null when absent or unreadable. At most an hour. */
export function retryAfterMs(header: string | null, nowMs: number): number | null {
  if (header === null) return null;
  const ms = /^\s*\d+\s*$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - nowMs;
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS) : null;
}

/** Takes user and password out of a URL: fetch refuses them there. */
export function splitCredentials(url: string): {
  readonly url: string;
  readonly authorization: string | null;
} {
  const parsed = new URL(url);
  if (parsed.username === '' && parsed.password === '') return { url, authorization: null };
  const pair = `${decodeURIComponent(parsed.username)}:${decodeURIComponent(parsed.password)}`;
  parsed.username = '';
  parsed.password = '';
  return { url: parsed.href, authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

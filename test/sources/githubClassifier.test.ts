import { RequestError } from 'octokit';
import { expect, test } from 'vitest';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import { classifyGithubError } from '../../src/sources/githubClassifier.ts';

const NOW_MS = Date.parse('2024-06-01T12:00:00Z');
const inSeconds = (seconds: number): string => String(NOW_MS / 1_000 + seconds);

const error = (status: number, message: string, headers: Record<string, string> = {}): RequestError =>
  new RequestError(message, status, {
    request: { method: 'GET', url: 'https://api.github.com/x', headers: {} },
    response: { status, url: 'https://api.github.com/x', headers, data: {} },
  });
const unanswered = new RequestError('connect ECONNREFUSED 127.0.0.1:1', 500, {
  request: { method: 'GET', url: 'https://api.github.com/x', headers: {} },
});

const limits: readonly (readonly [title: string, error: RequestError, waitMs: number, secondary: boolean])[] =
  [
    [
      'a primary limit (403) waits for the reset',
      error(403, 'API rate limit exceeded for user ID 1.', {
        'x-ratelimit-remaining': '0',
        'x-ratelimit-reset': inSeconds(600),
      }),
      601_000,
      false,
    ],
    [
      'a primary limit (429) waits for the reset',
      error(429, 'API rate limit exceeded', {
        'x-ratelimit-remaining': '0',
        'x-ratelimit-reset': inSeconds(60),
      }),
      61_000,
      false,
    ],
    [
      'a reset in the past waits a moment, not for ever',
      error(403, 'API rate limit exceeded', {
        'x-ratelimit-remaining': '0',
        'x-ratelimit-reset': inSeconds(-60),
      }),
      1_000,
      false,
    ],
    [
      'a reset in milliseconds by mistake waits an hour at most',
      error(403, 'API rate limit exceeded', {
        'x-ratelimit-remaining': '0',
        'x-ratelimit-reset': String(NOW_MS),
      }),
      3_660_000,
      false,
    ],
    [
      'Retry-After in seconds is honoured',
      error(429, 'Too many requests', { 'retry-after': '30' }),
      30_000,
      true,
    ],
    [
      'Retry-After as a date is honoured',
      error(429, 'Too many requests', { 'retry-after': 'Sat, 01 Jun 2024 12:02:00 GMT' }),
      120_000,
      true,
    ],
    [
      'a secondary limit (403) without a time waits a minute, whatever the primary reset says',
      error(
        403,
        'You have exceeded a secondary rate limit. Please wait a few minutes before you try again.',
        {
          'x-ratelimit-remaining': '4000',
          'x-ratelimit-reset': inSeconds(3_000),
        },
      ),
      60_000,
      true,
    ],
    ['a 429 without any header waits a minute', error(429, 'slow down'), 60_000, true],
  ];
test.each(limits)('%s', (_title, thrown, waitMs, secondary) => {
  expect(classifyGithubError(thrown, '/x', NOW_MS)).toEqual({ kind: 'limited', waitMs, secondary });
});

test.each([
  [401, 'Bad credentials', { kind: 'badToken', status: 401 }],
  [403, 'Resource not accessible by personal access token', { kind: 'badToken', status: 403 }],
  [404, 'Not Found', { kind: 'missing', status: 404 }],
  [410, 'This issue was deleted', { kind: 'missing', status: 410 }],
] as const)('%i "%s" is %j', (status, message, trouble) => {
  expect(classifyGithubError(error(status, message), '/x', NOW_MS)).toEqual(trouble);
});

test.each([
  ['502', error(502, '<html>\n<h1>Bad gateway</h1></html>'), FAILURE_TYPES.infra, false, undefined],
  [
    '503 with Retry-After',
    error(503, 'unavailable', { 'retry-after': '5' }),
    FAILURE_TYPES.infra,
    false,
    5_000,
  ],
  ['a refused connection', unanswered, FAILURE_TYPES.infra, false, undefined],
  ['422', error(422, 'Validation Failed'), FAILURE_TYPES.badInput, true, undefined],
  ['something that is no HTTP error', new Error('boom'), FAILURE_TYPES.infra, false, undefined],
] as const)('%s is a typed failure', (_title, thrown, type, nonRetryable, nextRetryDelay) => {
  const trouble = classifyGithubError(thrown, '/repos/a/b', NOW_MS);
  expect(trouble).toMatchObject({ kind: 'failure', failure: { type, nonRetryable } });
  if (trouble.kind === 'failure') {
    expect(trouble.failure.nextRetryDelay).toBe(nextRetryDelay);
    expect(trouble.failure.message).toContain('/repos/a/b');
    expect(trouble.failure.message).not.toContain('\n');
  }
});

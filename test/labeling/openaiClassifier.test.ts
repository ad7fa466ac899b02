import { APIConnectionError, APIConnectionTimeoutError, APIError, APIUserAbortError } from 'openai';
import { expect, test } from 'vitest';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import { classifyOpenaiError } from '../../src/labeling/openaiClassifier.ts';

const NOW_MS = Date.parse('2024-06-01T12:00:00Z');
const status = (
  code: number,
  error: Record<string, string> = {},
  headers: Record<string, string> = {},
): APIError =>
  APIError.generate(code, { error: { message: 'said so', ...error } }, undefined, new Headers(headers));

type Row = readonly [
  title: string,
  error: unknown,
  type: string,
  nonRetryable: boolean,
  nextRetryMs?: number,
];
const rows: readonly Row[] = [
  ['429', status(429), FAILURE_TYPES.rateLimited, false],
  ['429 with Retry-After', status(429, {}, { 'retry-after': '7' }), FAILURE_TYPES.rateLimited, false, 7_000],
  [
    '429 with Retry-After as a date',
    status(429, {}, { 'retry-after': 'Sat, 01 Jun 2024 12:01:00 GMT' }),
    FAILURE_TYPES.rateLimited,
    false,
    60_000,
  ],
  [
    '429 with retry-after-ms',
    status(429, {}, { 'retry-after-ms': '2500', 'retry-after': '9' }),
    FAILURE_TYPES.rateLimited,
    false,
    2_500,
  ],
  [
    '429 without quota, by code',
    status(429, { code: 'insufficient_quota' }),
    FAILURE_TYPES.authentication,
    true,
  ],
  [
    '429 without quota, by text',
    status(429, { message: 'You exceeded your current quota, please check your plan' }),
    FAILURE_TYPES.authentication,
    true,
  ],
  ['401', status(401), FAILURE_TYPES.authentication, true],
  ['403', status(403), FAILURE_TYPES.authentication, true],
  ['404 (model)', status(404), FAILURE_TYPES.notFound, true],
  ['400', status(400), FAILURE_TYPES.badInput, true],
  ['413', status(413), FAILURE_TYPES.badInput, true],
  ['422', status(422), FAILURE_TYPES.badInput, true],
  ['408', status(408), FAILURE_TYPES.infra, false],
  ['409', status(409), FAILURE_TYPES.infra, false],
  ['500', status(500), FAILURE_TYPES.infra, false],
  ['503 with Retry-After', status(503, {}, { 'retry-after': '3' }), FAILURE_TYPES.infra, false, 3_000],
  ['529', status(529), FAILURE_TYPES.infra, false],
  ['a timeout of the client', new APIConnectionTimeoutError({}), FAILURE_TYPES.infra, false],
  ['a timeout of our own', new APIUserAbortError({}), FAILURE_TYPES.infra, false],
  [
    'a timeout while the body comes',
    new DOMException('timed out', 'TimeoutError'),
    FAILURE_TYPES.infra,
    false,
  ],
  [
    'a refused connection',
    new APIConnectionError({ message: 'Connection error.' }),
    FAILURE_TYPES.infra,
    false,
  ],
  ['a body that is not JSON', new SyntaxError('Unexpected token <'), FAILURE_TYPES.badAnswer, false],
  ['a body that is cut off', new TypeError('terminated'), FAILURE_TYPES.badAnswer, false],
  ['anything else', new Error('boom'), FAILURE_TYPES.infra, false],
  ['something thrown that is no error', 'boom', FAILURE_TYPES.infra, false],
];

test.each(rows)('%s is a typed failure', (_title, error, type, nonRetryable, nextRetryMs) => {
  const failure = classifyOpenaiError(error, 'tiny at localhost:1', NOW_MS);
  expect(failure).toMatchObject({ type, nonRetryable });
  expect(failure.nextRetryDelay).toBe(nextRetryMs);
  expect(failure.message).toContain('tiny at localhost:1');
});

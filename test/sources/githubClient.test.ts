import fixtures from '@octokit/fixtures';
import pino from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import { createGithubClient, type GithubClient } from '../../src/sources/githubClient.ts';
import { createTokenPool } from '../../src/sources/githubTokens.ts';
import { cutBody, sendJson, startHttpServer, type TestHttpServer } from '../support/http.ts';
import { newWorld, serveWorld, type Fault, type World } from './githubWorld.ts';

const SECRETS = ['ghp_firstSecret', 'ghp_secondSecret'] as const;
let world: World;
let server: TestHttpServer;
let logged: string[];
let clockMs: number;

beforeEach(async () => {
  world = newWorld('octo/widget');
  server = await serveWorld(world);
  logged = [];
  clockMs = Date.parse('2024-06-01T12:00:00Z');
});
afterEach(() => server.close());

const log = pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) });
const signal = new AbortController().signal;
const client = (tokens: readonly string[] = [SECRETS[0]]): GithubClient =>
  createGithubClient({ repo: 'octo/widget', tokens, baseUrl: server.url, log, now: () => clockMs });
const usedTokens = (): (string | undefined)[] =>
  server.requests.map((request) => request.headers.authorization);
const fail = (path: RegExp, fault: Fault): void => void world.faults.push({ path, fault });
const resetIn = (seconds: number): string => String(Math.floor(clockMs / 1_000) + seconds);
const exhausted =
  (seconds: number): Fault =>
  (response) =>
    sendJson(
      response,
      { message: 'API rate limit exceeded for user ID 1.' },
      { status: 403, headers: { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': resetIn(seconds) } },
    );

test('the licence is the SPDX id, and NOASSERTION is no licence', async () => {
  expect(await client().repository(signal)).toMatchObject({
    fullName: 'octo/widget',
    license: 'MIT',
    webHost: 'github.com',
  });
  world.license = 'NOASSERTION';
  expect((await client().repository(signal)).license).toBeNull();
  world.license = null;
  expect((await client().repository(signal)).license).toBeNull();
});

test("GitHub's recorded pages are followed to the last one, on the server that was asked", async () => {
  await server.close();
  const recorded = fixtures.get('api.github.com/paginate-issues');
  server = await startHttpServer((request, response) => {
    const path = request.url.includes('/comments') ? recorded[0]?.path : request.url;
    const page = recorded.find((candidate) => candidate.path === path);
    const link = String(page?.headers['link'] ?? '').replaceAll('https://api.github.com', server.url);
    sendJson(response, page?.response, { status: page?.status ?? 404, headers: { link } });
  });
  expect(await client().comments(1, signal)).toHaveLength(13);
  expect(server.requests).toHaveLength(5);
});

test('a next page on another server is refused, so that no token leaves', async () => {
  fail(/comments/, (response) =>
    sendJson(response, [], { headers: { link: '<https://evil.example/x?page=2>; rel="next"' } }),
  );
  await expect(client().comments(1, signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.badAnswer,
    message: expect.stringContaining('evil.example'),
  });
});

test('an issue that is gone, deleted, moved or a pull request is null', async () => {
  world.issues.set(1, { title: 'A pull request', isPull: true });
  world.issues.set(2, { title: 'An issue', body: 'text' });
  fail(/issues\/4$/, (response) =>
    sendJson(response, { message: 'This issue was deleted' }, { status: 410 }),
  );
  fail(/issues\/5$/, (response) => {
    response.writeHead(301, { location: `${server.url}/repos/octo/widget/issues/2` });
    response.end();
  });
  const github = client();
  expect(await github.issue(1, signal)).toBeNull();
  expect(await github.issue(2, signal)).toMatchObject({ title: 'An issue' });
  expect(await github.issue(3, signal)).toBeNull();
  expect(await github.issue(4, signal)).toBeNull();
  expect(await github.issue(5, signal)).toBeNull();
});

test('an unknown repository is NotFound in one sentence and not retried', async () => {
  const github = createGithubClient({ repo: 'octo/nowhere', tokens: [], baseUrl: server.url, log });
  await expect(github.repository(signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.notFound,
    nonRetryable: true,
    message:
      'GitHub has no repository "octo/nowhere", or it is private and needs a token; check the spelling (owner/name).',
  });
});

test('when one token is exhausted the other one goes on, at once', async () => {
  fail(/./, exhausted(600));
  await client(SECRETS).repository(signal);
  expect(usedTokens()).toEqual([`token ${SECRETS[0]}`, `token ${SECRETS[1]}`]);
});

test('when all tokens are exhausted the failure names the earliest reset, and nothing is asked before it', async () => {
  fail(/./, exhausted(900));
  fail(/./, exhausted(600));
  const github = client(SECRETS);
  await expect(github.repository(signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.rateLimited,
    nonRetryable: false,
    nextRetryDelay: 601_000,
  });
  await expect(github.repository(signal)).rejects.toMatchObject({ type: FAILURE_TYPES.rateLimited });
  expect(server.requests).toHaveLength(2);
  clockMs += 602_000;
  await github.repository(signal);
  expect(usedTokens().at(-1)).toBe(`token ${SECRETS[1]}`);
});

test('a budget that an answer calls empty is not asked again', async () => {
  world.headers['x-ratelimit-remaining'] = '0';
  world.headers['x-ratelimit-reset'] = resetIn(30);
  const github = client();
  await github.repository(signal);
  await expect(github.repository(signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.rateLimited,
    nextRetryDelay: 31_000,
  });
  expect(server.requests).toHaveLength(1);
});

test('every token is tried once, then the one with most budget left is used', () => {
  const pool = createTokenPool(SECRETS, { log, now: () => clockMs });
  const takeWith = (remaining: number): number => {
    const token = pool.take('octo/widget');
    pool.account(token, { 'x-ratelimit-remaining': String(remaining) });
    return token.place;
  };
  expect([takeWith(10), takeWith(500), takeWith(400), takeWith(5), takeWith(9)]).toEqual([1, 2, 2, 2, 1]);
});

test.each([
  ['429 with Retry-After', { status: 429, headers: { 'retry-after': '17' } }, 17_000],
  ['a secondary limit with Retry-After', { status: 403, headers: { 'retry-after': '90' } }, 90_000],
  ['a secondary limit without a time', { status: 403, headers: {} }, 60_000],
] as const)('%s is RateLimited with its time', async (_title, answer, nextRetryDelay) => {
  fail(/./, (response) =>
    sendJson(response, { message: 'You have exceeded a secondary rate limit.' }, answer),
  );
  await expect(client().repository(signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.rateLimited,
    nextRetryDelay,
  });
});

const unauthorised: Fault = (response) => sendJson(response, { message: 'Bad credentials' }, { status: 401 });

test('a token that GitHub refuses is dropped with a warning that does not show it', async () => {
  fail(/./, unauthorised);
  const github = client(SECRETS);
  await github.repository(signal);
  await github.repository(signal);
  expect(usedTokens()).toEqual([`token ${SECRETS[0]}`, `token ${SECRETS[1]}`, `token ${SECRETS[1]}`]);
  expect(logged.join('')).toContain('token 1 of 2 is not accepted');
  for (const secret of SECRETS) expect(logged.join('')).not.toContain(secret);
});

test('without any token left the failure is Authentication and not retried', async () => {
  fail(/./, unauthorised);
  fail(/./, unauthorised);
  const failure: Error = await client(SECRETS)
    .repository(signal)
    .then(
      () => new Error('no failure'),
      (error: Error) => error,
    );
  expect(failure).toMatchObject({ type: FAILURE_TYPES.authentication, nonRetryable: true });
  for (const secret of SECRETS) expect(JSON.stringify(failure) + failure.message).not.toContain(secret);
});

test.each<readonly [string, Fault, string, RegExp]>([
  [
    '502',
    (response) => void response.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Unicorn!</h1>'),
    FAILURE_TYPES.infra,
    /502/,
  ],
  [
    'a body that is cut off',
    (response) => cutBody(response, '[{"number": 1', { 'content-type': 'application/json' }),
    FAILURE_TYPES.badAnswer,
    /cut-off/,
  ],
  [
    'broken JSON',
    (response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('[{"number": 1,'),
    FAILURE_TYPES.badAnswer,
    /not JSON/,
  ],
  [
    'HTML',
    (response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<p>maintenance</p>'),
    FAILURE_TYPES.badAnswer,
    /not JSON/,
  ],
  [
    'an empty body',
    (response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(''),
    FAILURE_TYPES.badAnswer,
    /empty/,
  ],
  [
    'an object where a list belongs',
    (response) => sendJson(response, { message: 'hello' }),
    FAILURE_TYPES.badAnswer,
    /unexpected JSON/,
  ],
  [
    'a list of something else',
    (response) => sendJson(response, [{ id: 1 }]),
    FAILURE_TYPES.badAnswer,
    /number/,
  ],
  ['a closed connection', (response) => void response.destroy(), FAILURE_TYPES.infra, /did not answer/],
])('%s on a page is a retryable failure, never an empty page', async (_title, fault, type, message) => {
  fail(/pulls/, fault);
  await expect(client().closedPulls(1, signal)).rejects.toMatchObject({
    type,
    nonRetryable: false,
    message: expect.stringMatching(message),
  });
  expect((await client().closedPulls(1, signal)).pulls).toEqual([]);
});

test('a cancelled request ends at once and is not called a failure of GitHub', async () => {
  const controller = new AbortController();
  fail(/./, () => controller.abort(new Error('cancelled by the user')));
  await expect(client().repository(controller.signal)).rejects.toThrow('cancelled by the user');
});

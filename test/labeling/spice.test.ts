import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import pino from 'pino';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import type { Labels } from '../../src/domain/types.ts';
import { createLabeler } from '../../src/labeling/spice.ts';
import type { Labeler, LabelerSettings } from '../../src/labeling/types.ts';
import { cutBody, sendJson, startHttpServer, type Handler, type TestHttpServer } from '../support/http.ts';
import { INSTANCE } from './instances.ts';

const KEY = 'sk-very-secret';
let server: TestHttpServer;
let logged: string[];

beforeEach(async () => {
  logged = [];
  server = await startHttpServer(() => undefined);
});
afterEach(() => server.close());

const vote = (clarity: unknown, fairness: unknown, effort: unknown): string =>
  JSON.stringify({
    issue_clarity: { reason: `clarity ${String(clarity)}`, score: clarity },
    test_fairness: { rejected_solution: 'none', reason: `fairness ${String(fairness)}`, score: fairness },
    effort: { reason: `effort ${String(effort)}`, score: effort },
  });
const USAGE = {
  prompt_tokens: 2_000,
  completion_tokens: 300,
  total_tokens: 2_300,
  prompt_tokens_details: { cached_tokens: 1_500 },
};

/** A chat completion in OpenAI's shape. */
const completion = (texts: readonly (string | null)[], usage: unknown = USAGE): object => ({
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1_700_000_000,
  model: 'tiny',
  choices: texts.map((content, index) => ({
    index,
    finish_reason: 'stop',
    message: { role: 'assistant', content, refusal: null },
  })),
  usage,
});
interface Body {
  readonly n?: number;
  readonly max_tokens?: number;
  readonly max_completion_tokens?: number;
  readonly temperature?: number;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
}
const bodies = (): readonly Body[] => server.requests.map((request): Body => JSON.parse(request.body));
/** Answers the requests one after the other; a request more is a fault of the labeller. */
function serve(...handlers: readonly (Handler | object)[]): void {
  const left = [...handlers];
  server.use((request, response) => {
    const next = left.shift();
    if (next === undefined) throw new Error('one request too many');
    return typeof next === 'function' ? (next as Handler)(request, response) : sendJson(response, next);
  });
}
const refuse =
  (status: number, error: object, headers: Record<string, string> = {}): Handler =>
  (_request, response) =>
    sendJson(response, { error }, { status, headers });

const labeler = (settings: Partial<LabelerSettings> = {}): Labeler =>
  createLabeler({
    settings: {
      baseUrl: `${server.url}/v1`,
      apiKey: KEY,
      model: 'tiny',
      prices: { input: 1, cachedInput: 0.5, output: 2 },
      ...settings,
    },
    log: pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) }),
  });
const label = (settings: Partial<LabelerSettings> = {}): Promise<Labels> => labeler(settings).label(INSTANCE);

test('three votes come in one request, and tokens and money are counted', async () => {
  serve(completion([vote(0, 1, 2), vote(0, 2, 2), vote(1, 3, 2)]));
  const labels = await label();
  expect(labels).toMatchObject({
    labeler: 'spice-v1:tiny',
    issue_clarity: {
      score: 0,
      votes: [0, 0, 1],
      method: 'majority',
      controversial: false,
      rationale: 'clarity 0',
    },
    test_fairness: {
      score: 2,
      votes: [1, 2, 3],
      method: 'median',
      controversial: true,
      rationale: 'fairness 2',
    },
    effort: { score: 2, votes: [2, 2, 2], method: 'majority', controversial: false },
    usage: { requests: 1, promptTokens: 2_000, cachedPromptTokens: 1_500, completionTokens: 300 },
  });
  expect(labels.usage.usd).toBeCloseTo((500 * 1 + 1_500 * 0.5 + 300 * 2) / 1_000_000, 12);
  const [body] = bodies();
  expect(body).toMatchObject({ model: 'tiny', n: 3, max_completion_tokens: 4_000 });
  expect(body?.temperature).toBeUndefined();
  expect(server.requests[0]).toMatchObject({
    method: 'POST',
    url: '/v1/chat/completions',
    headers: { authorization: `Bearer ${KEY}` },
  });
});

test('the prompts of all instances begin alike, hold the instance, and leave out hints', async () => {
  serve(
    completion([vote(0, 0, 0), vote(0, 0, 0), vote(0, 0, 0)]),
    completion([vote(0, 0, 0), vote(0, 0, 0), vote(0, 0, 0)]),
  );
  const spice = labeler();
  await spice.label(INSTANCE);
  await spice.label({ ...INSTANCE, problemStatement: 'Another one' });
  const [first, second] = bodies().map((body) => body.messages);
  expect(first?.[0]).toEqual(second?.[0]);
  expect(first?.[0]?.role).toBe('system');
  expect(first?.[1]?.content).toContain('Cache grows beyond maxsize');
  expect(second?.[1]?.content).toContain('Another one');
});

test('a server that ignores n is asked again for the missing votes, and then one by one from the start', async () => {
  const one = completion([vote(1, 1, 1)]);
  serve(one, one, one, one, one, one);
  const spice = labeler();
  const labels = await spice.label(INSTANCE);
  expect(labels.effort.votes).toEqual([1, 1, 1]);
  expect(labels.usage).toMatchObject({ requests: 3, promptTokens: 6_000, completionTokens: 900 });
  await spice.label(INSTANCE);
  expect(bodies().map((body) => body.n)).toEqual([3, undefined, undefined, undefined, undefined, undefined]);
});

test.each([
  ["'n' must be 1", 400],
  ['Only one completion choice is allowed', 400],
  ['n is not implemented', 501],
])('a server that refuses n ("%s") is asked one by one', async (message, status) => {
  const one = completion([vote(2, 2, 2)]);
  serve(refuse(status, { message }), one, one, one);
  expect((await label()).issue_clarity.votes).toEqual([2, 2, 2]);
});

test('parameters that a server does not know are left out, once for all', async () => {
  const votes = completion([vote(0, 0, 0), vote(0, 0, 0), vote(0, 0, 0)]);
  serve(
    refuse(400, { message: 'Unrecognized request argument supplied: max_completion_tokens' }),
    refuse(400, { message: "Unsupported value: 'temperature' does not support 0.3 with this model." }),
    votes,
    votes,
  );
  const spice = labeler({ temperature: 0.3 });
  await spice.label(INSTANCE);
  await spice.label(INSTANCE);
  expect(
    bodies().map((body) => [body.n, body.max_completion_tokens, body.max_tokens, body.temperature]),
  ).toEqual([
    [3, 4_000, undefined, 0.3],
    [3, undefined, 4_000, 0.3],
    [3, undefined, 4_000, undefined],
    [3, undefined, 4_000, undefined],
  ]);
});

test('a prompt that is too long is the fault of the request, and is not asked again in other shapes', async () => {
  serve(refuse(400, { message: "This model's maximum context length is 4096 tokens." }));
  await expect(label()).rejects.toMatchObject({
    type: FAILURE_TYPES.badInput,
    nonRetryable: true,
    message: expect.stringContaining('promptTokenBudget'),
  });
  expect(server.requests).toHaveLength(1);
});

test('a vote that is nonsense is asked for once more and stays one vote', async () => {
  serve(
    completion([vote(0, 0, 0), 'As an AI I would rather not.', vote(1, 1, 1)]),
    completion([vote(1, 1, 1)]),
  );
  const labels = await label();
  expect(labels.effort).toMatchObject({ score: 1, votes: [0, 1, 1], method: 'majority' });
  expect(bodies().map((body) => body.n)).toEqual([3, undefined]);
  expect(labels.usage.requests).toBe(2);
});

test('a vote that misses one dimension keeps the others from its first answer', async () => {
  serve(completion([vote(0, 0, 0), vote(0, 'x', 0), vote(0, 0, 0)]), completion([vote(3, 2, 3)]));
  const labels = await label();
  expect(labels.issue_clarity.votes).toEqual([0, 0, 0]);
  expect(labels.test_fairness.votes).toEqual([0, 2, 0]);
});

test('a vote that is nonsense twice is missing: the label has fewer votes', async () => {
  serve(completion([vote(2, 2, 2), null, 'no']), completion(['no', vote(3, 3, 'unsure')]));
  const labels = await label();
  expect(labels.issue_clarity).toMatchObject({ votes: [2, 3], score: 3, method: 'median' });
  expect(labels.effort).toMatchObject({ votes: [2], score: 2, method: 'median' });
});

test('without any readable vote in a dimension there is no label but a retryable failure', async () => {
  const nonsense = completion([vote(0, 'x', 0), vote(0, 'x', 0), vote(0, 'x', 0)]);
  serve(nonsense, nonsense);
  await expect(label()).rejects.toMatchObject({
    type: FAILURE_TYPES.badAnswer,
    nonRetryable: false,
    message: expect.stringContaining('test_fairness'),
  });
});

test('without prices or without a usage count the money is unknown', async () => {
  const votes = [vote(0, 0, 0), vote(0, 0, 0), vote(0, 0, 0)];
  serve(completion(votes), completion(votes, null));
  expect((await label({ prices: null })).usage).toMatchObject({ promptTokens: 2_000, usd: null });
  expect((await label()).usage).toMatchObject({ promptTokens: 0, usd: null });
});

test('a server without authentication is sent no secret', async () => {
  vi.stubEnv('OPENAI_API_KEY', 'sk-from-the-environment');
  vi.stubEnv('OPENAI_ORG_ID', 'org-from-the-environment');
  serve(completion([vote(0, 0, 0), vote(0, 0, 0), vote(0, 0, 0)]));
  await label({ apiKey: '' });
  expect(JSON.stringify(server.requests[0]?.headers)).not.toContain('from-the-environment');
});

test.each<readonly [string, Handler, object]>([
  [
    '429',
    refuse(429, { message: 'slow down' }, { 'retry-after': '12' }),
    { type: FAILURE_TYPES.rateLimited, nextRetryDelay: 12_000, nonRetryable: false },
  ],
  [
    'an exhausted quota',
    refuse(429, { message: 'quota', code: 'insufficient_quota' }),
    { type: FAILURE_TYPES.authentication, nonRetryable: true },
  ],
  ['500', refuse(500, { message: 'oops' }), { type: FAILURE_TYPES.infra, nonRetryable: false }],
  [
    'a wrong key',
    refuse(401, { message: `Incorrect API key provided: ${KEY}` }),
    { type: FAILURE_TYPES.authentication, nonRetryable: true },
  ],
  [
    'an unknown model',
    refuse(404, { message: 'The model `tiny` does not exist' }),
    { type: FAILURE_TYPES.notFound, nonRetryable: true },
  ],
  [
    'a body that is cut off',
    (_request, response) =>
      cutBody(response, '{"id": "chatcmpl-1", "choices": [', { 'content-type': 'application/json' }),
    { type: FAILURE_TYPES.badAnswer, nonRetryable: false },
  ],
  [
    'broken JSON',
    (_request, response) =>
      void response.writeHead(200, { 'content-type': 'application/json' }).end('{"choices": ['),
    { type: FAILURE_TYPES.badAnswer, nonRetryable: false },
  ],
  [
    'HTML',
    (_request, response) =>
      void response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Login</h1>'),
    { type: FAILURE_TYPES.badAnswer, nonRetryable: false },
  ],
  [
    'an empty body',
    (_request, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(),
    { type: FAILURE_TYPES.badAnswer, nonRetryable: false },
  ],
  [
    'no choices',
    (_request, response) => sendJson(response, completion([])),
    { type: FAILURE_TYPES.badAnswer, nonRetryable: false },
  ],
  [
    'a closed connection',
    (_request, response) => void response.destroy(),
    { type: FAILURE_TYPES.infra, nonRetryable: false },
  ],
])('%s is one request and a typed failure that shows no key', async (_title, handler, expected) => {
  serve(handler);
  const failure = await label().then(
    () => new Error('no failure'),
    (error: Error) => error,
  );
  expect(failure).toMatchObject(expected);
  expect(server.requests).toHaveLength(1);
  expect(failure.message + logged.join('')).not.toContain(KEY);
});

test('an answer that never comes, or stops half-way, ends at the time limit', async () => {
  serve(
    () => undefined,
    (_request, response) =>
      void response.writeHead(200, { 'content-type': 'application/json' }).write('{"id":'),
  );
  await expect(label({ timeoutMs: 150 })).rejects.toMatchObject({
    type: FAILURE_TYPES.infra,
    nonRetryable: false,
  });
  await expect(label({ timeoutMs: 150 })).rejects.toMatchObject({
    type: FAILURE_TYPES.infra,
    nonRetryable: false,
  });
});

test('a cancelled labelling ends with the reason of its cancellation', async () => {
  const controller = new AbortController();
  serve(() => controller.abort(new Error('cancelled by the user')));
  await expect(labeler().label(INSTANCE, { signal: controller.signal })).rejects.toThrow(
    'cancelled by the user',
  );
});

const BUG = {
  instanceId: 'mutate__demo-1.0-0a1b2c3d',
  failures: '- `tests/test_a.py::test_x`',
  testPatch: '+def test_x():\n+    assert f(1) == 2\n',
  failToPass: ['tests/test_a.py::test_x'],
};
test('a bug is reported in one request that holds the failing tests, and its tokens are counted', async () => {
  serve(completion(['# f is off by one\n\n`f(1)` gives 3.\n\n']));
  const report = await labeler().reportBug?.(BUG);
  expect(report).toMatchObject({
    text: '# f is off by one\n\n`f(1)` gives 3.\n',
    usage: { requests: 1, promptTokens: 2_000, completionTokens: 300 },
  });
  expect(bodies()[0]?.n).toBeUndefined();
  expect(bodies()[0]?.messages[1]?.content).toContain('assert f(1) == 2');
});

test('a report without text is a retryable bad answer, not an empty problem statement', async () => {
  serve(completion([null]));
  await expect(labeler().reportBug?.(BUG)).rejects.toMatchObject({
    type: FAILURE_TYPES.badAnswer,
    nonRetryable: false,
  });
});

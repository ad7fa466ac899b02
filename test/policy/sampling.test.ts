import { afterEach, beforeEach, expect, test } from 'vitest';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import { samplePlain } from '../../src/policy/plainSampling.ts';
import { sampleTokens, type TokenRequest } from '../../src/policy/sampling.ts';
import { createVllmServer, type VllmServer } from '../../src/policy/vllm.ts';
import { sendJson } from '../support/http.ts';
import { choice, startFakeVllm, type FakeVllm } from './fakeVllm.ts';

let fake: FakeVllm;
let server: VllmServer;
const { signal } = new AbortController();

beforeEach(async () => {
  fake = await startFakeVllm();
  server = createVllmServer(fake.address);
});
afterEach(() => fake[Symbol.asyncDispose]());

const request = (more: Partial<TokenRequest> = {}): TokenRequest => ({
  model: 'base',
  messages: [{ role: 'user', content: 'hello' }],
  n: 2,
  temperature: 0.7,
  maxTokens: 6,
  seed: 9,
  choices: null,
  ...more,
});
const resumable = (): Promise<void> => Promise.resolve();
const bodies = (path: string): readonly Record<string, unknown>[] =>
  fake.http.requests
    .filter(({ url }) => url === path)
    .map(({ body }) => JSON.parse(body) as Record<string, unknown>);
/** The first answers of the chat route; after them it answers by itself. */
const chatAnswers = (...answers: readonly unknown[]): void => {
  const left = [...answers];
  fake.state.intercept = ({ url }, response) => {
    if (url !== '/v1/chat/completions' || left.length === 0) return false;
    sendJson(response, left.shift());
    return true;
  };
};
const answerOf = (...choices: readonly object[]) => ({ model: 'base', prompt_token_ids: [1, 2, 3], choices });

test('only the temperature bends what is sampled, whatever the model brings as its own settings', async () => {
  await sampleTokens(server, request(), resumable, signal);
  expect(bodies('/v1/chat/completions')[0]).toMatchObject({
    n: 2,
    temperature: 0.7,
    top_p: 1,
    top_k: -1,
    min_p: 0,
    repetition_penalty: 1,
    seed: 9,
    logprobs: true,
    return_token_ids: true,
  });
});

test('an aborted answer goes on from its own tokens, with what is left of its budget; the other stays as it is', async () => {
  chatAnswers(answerOf(choice(1, [97, 98], -3, 'abort'), choice(0, [99, 2], -2, 'stop')));
  let waits = 0;
  const answer = await sampleTokens(server, request(), async () => void (waits += 1), signal);
  expect(answer.choices).toEqual([
    { tokenIds: [99, 2], logprobs: [-2, -2], text: 'c\u0002', finishReason: 'stop' },
    {
      tokenIds: [97, 98, 121, 121, 121, 121],
      logprobs: [-3, -3, -1, -1, -1, -1],
      text: 'abyyyy',
      finishReason: 'length',
    },
  ]);
  expect(waits).toBe(1);
  const [rest] = bodies('/v1/completions');
  expect(rest).toMatchObject({ prompt: [1, 2, 3, 97, 98], max_tokens: 4, temperature: 0.7, top_k: -1 });
  expect(rest?.['seed']).not.toBe(9); // else the rest would repeat the draws of the beginning
});

test('an answer that was aborted at its last token has come to its length', async () => {
  chatAnswers(answerOf(choice(0, [97, 97, 97, 97, 97, 97], -1, 'abort')));
  const answer = await sampleTokens(server, request({ n: 1 }), resumable, signal);
  expect(answer.choices[0]).toMatchObject({ finishReason: 'length', text: 'aaaaaa' });
  expect(bodies('/v1/completions')).toEqual([]);
});

test('one that was aborted before its first token, or among choices or tools, is asked for again, alone', async () => {
  const rows = [
    [request({ n: 2 }), choice(0, [], 0, 'abort')],
    [request({ n: 2, choices: ['A', 'B'] }), choice(0, [], 0, 'abort')],
    [request({ n: 2, tools: [{}] }), choice(0, [97], -1, 'abort')],
  ] as const;
  for (const [asked, aborted] of rows) {
    const before = bodies('/v1/chat/completions').length;
    chatAnswers(answerOf(aborted, choice(1, [65], -1, 'stop')));
    const answer = await sampleTokens(server, asked, resumable, signal);
    expect(answer.choices).toHaveLength(2);
    expect(bodies('/v1/chat/completions').slice(before)).toMatchObject([
      { n: 2 },
      { n: 1, messages: asked.messages },
    ]);
  }
  expect(bodies('/v1/completions')).toEqual([]);
});

test('a choice that was aborted after its one token is whole', async () => {
  chatAnswers(answerOf(choice(0, [66], -0.5, 'abort')));
  const answer = await sampleTokens(server, request({ n: 1, choices: ['A', 'B'] }), resumable, signal);
  expect(answer.choices).toEqual([
    { tokenIds: [66], logprobs: [-0.5], allowed: [[65, 66]], text: 'B', finishReason: 'stop' },
  ]);
});

test('a server that aborts for ever is given up', async () => {
  fake.state.intercept = ({ url }, response) => {
    if (url !== '/v1/chat/completions') return false;
    sendJson(response, answerOf(choice(0, [], 0, 'abort')));
    return true;
  };
  await expect(sampleTokens(server, request({ n: 1 }), resumable, signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.badAnswer,
  });
});

const odd = choice(0, [97, 98], -1, 'stop');
const rows: readonly (readonly [title: string, answer: unknown, type: string])[] = [
  [
    'fewer log-probabilities than tokens',
    answerOf({ ...odd, logprobs: { content: [{ logprob: -1 }] } }),
    FAILURE_TYPES.badAnswer,
  ],
  ['no log-probabilities', answerOf({ ...odd, logprobs: null }), FAILURE_TYPES.badAnswer],
  ['no token ids (another server)', answerOf({ ...odd, token_ids: undefined }), FAILURE_TYPES.badAnswer],
  ['no ids of the prompt', { model: 'base', choices: [odd] }, FAILURE_TYPES.badAnswer],
  ['too many choices', answerOf(odd, { ...odd, index: 1 }), FAILURE_TYPES.badAnswer],
  ['an empty choice', answerOf(choice(0, [], 0, 'stop')), FAILURE_TYPES.badAnswer],
  ['another model', { ...answerOf(odd), model: 'other' }, FAILURE_TYPES.wrongPolicy],
  ['HTML', '<html>busy</html>', FAILURE_TYPES.badAnswer],
];
test.each(rows)('an answer with %s is no sample', async (_title, answer, type) => {
  chatAnswers(answer);
  await expect(sampleTokens(server, request({ n: 1 }), resumable, signal)).rejects.toMatchObject({ type });
});

test('a token outside the choices is no answer', async () => {
  chatAnswers(answerOf(choice(0, [67], -1, 'length')));
  await expect(
    sampleTokens(server, request({ n: 1, choices: ['A', 'B'] }), resumable, signal),
  ).rejects.toMatchObject({
    type: FAILURE_TYPES.badAnswer,
  });
  const asked = (): number => bodies('/tokenize').length;
  expect(asked()).toBe(2);
  await sampleTokens(server, request({ choices: ['A', 'B'] }), resumable, signal); // the server may have another model now
  await sampleTokens(server, request({ choices: ['A', 'B'] }), resumable, signal);
  expect(asked()).toBe(4);
});

test('outside training any server will do: what it refuses or ignores is left out', async () => {
  fake.state.intercept = ({ url, body }, response) => {
    if (url !== '/v1/chat/completions') return false;
    const sent = JSON.parse(body) as Record<string, unknown>;
    const refused = ['max_tokens', 'seed', 'temperature', 'structured_outputs', 'return_token_ids'].find(
      (name) => name in sent,
    );
    if (refused !== undefined) {
      const hint = refused === 'max_tokens' ? ' Use max_completion_tokens instead.' : '';
      sendJson(
        response,
        { error: { message: `Unsupported parameter: ${refused}.${hint}` } },
        { status: 400 },
      );
    } else {
      sendJson(response, { choices: [{ finish_reason: 'stop', message: { content: 'A' } }] });
    }
    return true;
  };
  const answer = await samplePlain(server.client, request({ n: 3, choices: ['A'] }), signal);
  expect(answer.choices).toEqual(
    Array.from({ length: 3 }, () => ({ tokenIds: [], logprobs: [], text: 'A', finishReason: 'stop' })),
  );
  expect(answer.promptTokenIds).toEqual([]);
  expect(bodies('/v1/chat/completions').at(-1)).toEqual({
    model: 'base',
    messages: request().messages,
    max_completion_tokens: 6,
  });
});

test('outside training a server that tells tokens is heard: accepted answers can be trained on', async () => {
  const choices = [
    { finish_reason: 'stop', message: { content: 'B' }, token_ids: [98, 2] },
    { finish_reason: 'stop', message: { content: 'A' }, token_ids: [97, 2] },
  ];
  chatAnswers({ prompt_token_ids: [5, 6, 7], choices });
  const answer = await samplePlain(createVllmServer(fake.address).client, request(), signal);
  expect(bodies('/v1/chat/completions').at(-1)).toMatchObject({ return_token_ids: true });
  expect(answer.promptTokenIds).toEqual([5, 6, 7]);
  expect(answer.choices.map(({ tokenIds }) => tokenIds)).toEqual([
    [98, 2],
    [97, 2],
  ]);
});

test('outside training a server that can is told the choices, and what it counts is kept', async () => {
  const one = {
    choices: [{ finish_reason: 'stop', message: { content: 'B' } }],
    usage: { prompt_tokens: 40, completion_tokens: 2 },
  };
  chatAnswers(one, one);
  const answer = await samplePlain(server.client, request({ n: 2, choices: ['A', 'B'] }), signal);
  expect(answer.usage).toEqual({ promptTokens: 40, sampledTokens: 4 });
  expect(bodies('/v1/chat/completions').at(-1)).toMatchObject({ structured_outputs: { choice: ['A', 'B'] } });
});

test('tool calls of any server are handed on', async () => {
  const call = { id: 'c1', type: 'function', function: { name: 'bash', arguments: '{"command":"ls"}' } };
  chatAnswers({ choices: [{ finish_reason: 'tool_calls', message: { content: null, tool_calls: [call] } }] });
  const answer = await samplePlain(server.client, request({ n: 1, tools: [{ type: 'function' }] }), signal);
  expect(answer.toolCalls).toEqual([[call]]);
  expect(answer.choices[0]).toMatchObject({ text: '', finishReason: 'tool_calls' });
});

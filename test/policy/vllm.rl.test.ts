import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { beforeAll, expect, test } from 'vitest';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import { sampleTokens, type TokenRequest } from '../../src/policy/sampling.ts';
import { createVllmServer, type VllmServer } from '../../src/policy/vllm.ts';
import { eventually } from '../support/eventually.ts';
import { sharedVllm, type SharedVllm } from '../support/vllm.ts';
import { LETTERS, QUESTION, largestDifference, tinyProbe } from './tiny.ts';

let shared: SharedVllm;
let server: VllmServer;
const { signal } = new AbortController();
const PARITY = 1e-3;

beforeAll(async () => {
  shared = await sharedVllm();
  server = createVllmServer(shared.address);
});

const request = (more: Partial<TokenRequest> = {}): TokenRequest => ({
  model: shared.servedModel,
  messages: QUESTION,
  n: 1,
  temperature: 1,
  maxTokens: 12,
  seed: 7,
  choices: null,
  ...more,
});
const never = (): Promise<void> => Promise.reject(new Error('nothing was aborted'));
/** Log-probabilities of the answer's tokens when the server reads them as a prompt. */
const readAgain = async (model: string, prompt: readonly number[], answer: readonly number[]) =>
  (await server.scoreTokens(model, [...prompt, ...answer])).slice(-answer.length);

test('the server says of a sequence what transformers says', async () => {
  const { tokenIds, expected } = tinyProbe(shared, 'base');
  const served = await server.scoreTokens(shared.servedModel, tokenIds);
  expect(largestDifference(served, expected)).toBeLessThan(PARITY);
});

test('each of n answers has ids and log-probabilities that reading them again confirms', async () => {
  const answer = await sampleTokens(server, request({ n: 3 }), never, signal);
  expect(answer.model).toBe(shared.servedModel);
  expect(answer.choices).toHaveLength(3);
  expect(new Set(answer.choices.map(({ tokenIds }) => tokenIds.join())).size).toBe(3);
  for (const { tokenIds, logprobs, text, allowed } of answer.choices) {
    expect(tokenIds).toHaveLength(12);
    expect(text).not.toBe('');
    expect(allowed).toBeUndefined();
    const again = await readAgain(shared.servedModel, answer.promptTokenIds, tokenIds);
    expect(largestDifference(logprobs, again)).toBeLessThan(PARITY);
  }
});

test('tokens are scored while others generate, and the engine lives', async () => {
  const { tokenIds, expected } = tinyProbe(shared, 'base');
  const [answer, ...scored] = await Promise.all([
    sampleTokens(server, request({ n: 4, maxTokens: 32 }), never, signal),
    server.scoreTokens(shared.servedModel, tokenIds),
    server.scoreTokens(shared.servedModel, tokenIds),
  ]);
  expect(answer.choices).toHaveLength(4);
  for (const served of scored) expect(largestDifference(served, expected)).toBeLessThan(PARITY);
});

test('the same seed gives the same answers, another one others', async () => {
  const [first, same, other] = await Promise.all(
    [7, 7, 8].map((seed) => sampleTokens(server, request({ n: 2, seed }), never, signal)),
  );
  expect(same?.choices).toEqual(first?.choices);
  expect(other?.choices[0]?.tokenIds).not.toEqual(first?.choices[0]?.tokenIds);
});

test('seeded prompts that do not fit into one pass together are answered, and the engine lives', async () => {
  const words = 'read these words '.repeat(90);
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_none, at) =>
      sampleTokens(
        server,
        request({ n: 16, maxTokens: 2, seed: at, messages: [{ role: 'user', content: `${at} ${words}` }] }),
        never,
        signal,
      ),
    ),
  );
  const tokens = answers.reduce((sum, { promptTokenIds }) => sum + promptTokenIds.length, 0);
  expect(16 * tokens).toBeGreaterThan(10 * 4_096);
  expect(answers.every(({ choices }) => choices.length === 16)).toBe(true);
  expect(await server.healthy()).toBe(true);
});

test('at another temperature the log-probabilities are those of the tempered distribution', async () => {
  const hot = await sampleTokens(server, request({ temperature: 2, choices: LETTERS, n: 64 }), never, signal);
  const cold = await sampleTokens(server, request({ choices: LETTERS, n: 64 }), never, signal);
  const table = new Map(cold.choices.map(({ text, logprobs }) => [text, logprobs[0] as number]));
  const common = hot.choices.filter(({ text }) => table.has(text));
  const [a, b] = [...new Map(common.map((choice) => [choice.text, choice])).values()];
  if (a === undefined || b === undefined) throw new Error('both drew one letter only; another seed');
  const gap = (table.get(a.text) as number) - (table.get(b.text) as number);
  expect((a.logprobs[0] as number) - (b.logprobs[0] as number)).toBeCloseTo(gap / 2, 3);
});

test('a constrained answer is one token, with its log-probability over the allowed ones', async () => {
  const answer = await sampleTokens(
    server,
    request({ n: 24, choices: LETTERS, maxTokens: 5 }),
    never,
    signal,
  );
  const ids = answer.choices[0]?.allowed?.[0] ?? [];
  expect(new Set(ids).size).toBe(4);
  const whole = await Promise.all(
    ids.map(async (id) => (await readAgain(shared.servedModel, answer.promptTokenIds, [id]))[0] as number),
  );
  const mass = Math.log(whole.reduce((sum, logprob) => sum + Math.exp(logprob), 0));
  for (const choice of answer.choices) {
    expect(choice.finishReason).toBe('stop');
    expect(choice.tokenIds).toHaveLength(1);
    expect(choice.allowed).toEqual([ids]);
    const at = ids.indexOf(choice.tokenIds[0] as number);
    expect(choice.text).toBe(LETTERS[at]);
    expect(choice.logprobs[0]).toBeCloseTo((whole[at] as number) - mass, 3);
  }
});

test('a choice of several tokens is refused: what could be chosen at each place would not be known', async () => {
  const choices = ['A', 'the first of them'];
  await expect(sampleTokens(server, request({ choices }), never, signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.badInput,
  });
});

test('a prompt that leaves no room is ContextLength, an unknown model passes by as missing', async () => {
  const long = [{ role: 'user', content: 'word '.repeat(4_000) }] as const;
  await expect(sampleTokens(server, request({ messages: long }), never, signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.contextLength,
    nonRetryable: true,
  });
  await expect(sampleTokens(server, request({ maxTokens: 100_000 }), never, signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.contextLength,
  });
  await expect(sampleTokens(server, request({ model: 'nobody' }), never, signal)).rejects.toMatchObject({
    type: FAILURE_TYPES.missingPolicy,
    nonRetryable: false,
  });
});

test('answers that the server aborts are continued to their whole length, with the probabilities of one piece', async () => {
  const maxTokens = 96;
  let paused = 0;
  const resumable = async (): Promise<void> => {
    paused += 1;
    await eventually('the server is resumed', async () => !(await server.isPaused()));
  };
  const asked = sampleTokens(server, request({ n: 2, maxTokens, seed: 11 }), resumable, signal);
  await eventually('it generates', async () => (await server.load()).running > 0, {
    timeoutMs: 60_000,
    intervalMs: 5,
  });
  await delay(150);
  await server.client.post('/pause?mode=abort', undefined);
  await server.resume();
  const answer = await asked;
  expect(paused).toBe(2); // both of them
  for (const { tokenIds, logprobs, finishReason } of answer.choices) {
    if (finishReason === 'length') expect(tokenIds).toHaveLength(maxTokens);
    else expect(tokenIds.at(-1)).toBe(2); // its own end token
    const again = await readAgain(shared.servedModel, answer.promptTokenIds, tokenIds);
    expect(largestDifference(logprobs, again)).toBeLessThan(PARITY);
  }
});

test('a request to a paused server waits, and is answered when it is resumed', async () => {
  await server.pause('keep');
  try {
    expect(await server.isPaused()).toBe(true);
    expect(await server.healthy()).toBe(true); // which is why health alone tells nothing
    const asked = sampleTokens(server, request(), never, signal);
    expect(await Promise.race([asked, delay(500, 'waits')])).toBe('waits');
    await server.resume();
    expect((await asked).choices).toHaveLength(1);
  } finally {
    await server.resume();
  }
});

test('an adapter is served under its own name until it is unloaded', async () => {
  const adapter = { name: 'vllm-test-v1', path: join(shared.models, 'adapter-1') };
  await server.loadAdapter(adapter);
  await server.loadAdapter(adapter); // a repeated attempt
  const { tokenIds, expected } = tinyProbe(shared, 'adapter-1');
  expect(largestDifference(await server.scoreTokens(adapter.name, tokenIds), expected)).toBeLessThan(PARITY);
  const other = { name: adapter.name, path: join(shared.models, 'adapter-2') };
  await expect(server.loadAdapter(other)).rejects.toMatchObject({ type: FAILURE_TYPES.wrongPolicy });
  const answer = sampleTokens(server, request({ model: adapter.name, maxTokens: 96 }), never, signal);
  await eventually('it is busy', async () => (await server.load()).busyAdapters.includes(adapter.name), {
    intervalMs: 5,
  });
  expect(await server.drained(adapter.name, 0)).toBe(false);
  await answer;
  expect(await server.drained(adapter.name, 5_000)).toBe(true);
  expect(await server.unloadAdapter(adapter.name)).toBe(true);
  expect(await server.unloadAdapter(adapter.name)).toBe(false);
  const missing = { name: 'vllm-test-v2', path: join(shared.models, 'nowhere') };
  await expect(server.loadAdapter(missing)).rejects.toMatchObject({
    type: FAILURE_TYPES.notFound,
    message: expect.stringContaining(missing.path),
  });
});

test('weights with an explicit output head are taken over whole; without one the old head stays', async () => {
  const { tokenIds, expected } = tinyProbe(shared, 'full-1');
  const reload = async (directory: string): Promise<number> => {
    await server.pause('wait');
    try {
      await server.reloadWeights(join(shared.models, directory));
    } finally {
      await server.resume();
    }
    await server.resetPrefixCache();
    return largestDifference(await server.scoreTokens(shared.servedModel, tokenIds), expected);
  };
  try {
    expect(await reload('full-1')).toBeLessThan(PARITY);
    await reload('full-0');
    expect(await reload('tied-1')).toBeGreaterThan(0.1); // the trap that `proveDirectory` keeps out
  } finally {
    await reload('full-0');
  }
  const base = tinyProbe(shared, 'base');
  const served = await server.scoreTokens(shared.servedModel, base.tokenIds);
  expect(largestDifference(served, base.expected)).toBeLessThan(PARITY);
});

test('the server gives processed log-probabilities, and is told from one that does not', async () => {
  expect(await server.processesLogprobs(shared.servedModel, 35)).toBe(true);
});

import { APIConnectionError, APIError } from 'openai';
import { expect, test } from 'vitest';
import { FAILURE_TYPES, permanentFailure } from '../../src/domain/failures.ts';
import { ownServer } from '../../src/policy/choice.ts';
import { classifyPolicyError, isRefused } from '../../src/policy/failures.ts';
import { readLoad } from '../../src/policy/metrics.ts';
import { judgeProbe } from '../../src/policy/probe.ts';

const probeOf = (expected: readonly number[], previous: readonly number[] | null) => ({
  tokenIds: [1, 2, 3, 4],
  expected,
  previous,
});
const NEW = [-1, -2, -3];
const OLD = [-1.5, -2, -3.5];
const NEAR = [-1, -2.0005, -3];

test('a server that says what the new version says is distinct, first, or indistinguishable', () => {
  expect(judgeProbe('it', NEAR, probeOf(NEW, OLD), 1e-3)).toMatchObject({ probe: 'distinct' });
  expect(judgeProbe('it', NEAR, probeOf(NEW, null), 1e-3)).toMatchObject({ probe: 'first' });
  const { probe, parityMax } = judgeProbe('it', NEAR, probeOf(NEW, [-1, -2, -3.0009]), 1e-3);
  expect(probe).toBe('indistinguishable');
  expect(parityMax).toBeCloseTo(5e-4, 9);
});

const wrong: readonly (readonly [
  title: string,
  served: readonly number[],
  previous: readonly number[] | null,
  why: RegExp,
])[] = [
  ['the version before', OLD, OLD, /nearer to the version before/],
  [
    'something between that is nearer to the one before',
    [-1.4, -2, -3.4],
    OLD,
    /nearer to the version before/,
  ],
  ['a third version', [-9, -9, -9], [-20, -20, -20], /not what the trainer's version says/],
  [
    'another model at the first version',
    [-1, -2, -3.1],
    null,
    /largest difference of a log-probability 0\.100/,
  ],
  ['another model where two versions are alike', [-1, -2, -3.1], NEW, /not what the trainer's version says/],
  ['no numbers', [Number.NaN, -2, -3], null, /not what the trainer's version says/],
];
test.each(wrong)('a server that serves %s has the wrong policy', (_title, served, previous, why) => {
  const judge = (): unknown => judgeProbe('Server s, version 7,', served, probeOf(NEW, previous), 1e-3);
  expect(judge).toThrow(expect.objectContaining({ type: FAILURE_TYPES.wrongPolicy, nonRetryable: true }));
  expect(judge).toThrow(why);
  expect(judge).toThrow(/^Server s, version 7,/);
});

test('a probe whose numbers do not fit its tokens is refused', () => {
  for (const probe of [
    probeOf([-1], null),
    probeOf(NEW, [-1]),
    { tokenIds: [1], expected: [], previous: null },
  ])
    expect(() => judgeProbe('it', NEW, probe, 1e-3)).toThrow(
      expect.objectContaining({ type: FAILURE_TYPES.badInput }),
    );
});

const error = (status: number, message: string): APIError =>
  APIError.generate(status, { error: { message } }, undefined, new Headers());
const long = "This model's maximum context length is 2048 tokens. However, you requested 4000 output tokens";
const rows: readonly (readonly [title: string, error: unknown, type: string, nonRetryable: boolean])[] = [
  ['a prompt that is too long', error(400, long), FAILURE_TYPES.contextLength, true],
  [
    'an answer that cannot fit',
    error(400, 'max_tokens=3000 cannot be greater than max_model_len=2048.'),
    FAILURE_TYPES.contextLength,
    true,
  ],
  ['another bad request', error(400, 'temperature must be non-negative'), FAILURE_TYPES.badInput, true],
  [
    'an unknown model',
    error(404, 'The model `policy-v7` does not exist.'),
    FAILURE_TYPES.missingPolicy,
    false,
  ],
  ['an unknown route', error(404, 'Not Found'), FAILURE_TYPES.notFound, true],
  ['a dead engine', error(500, 'EngineCore encountered an issue.'), FAILURE_TYPES.infra, false],
  ['an overloaded server', error(503, 'busy'), FAILURE_TYPES.infra, false],
  ['no connection', new APIConnectionError({ message: 'Connection error.' }), FAILURE_TYPES.infra, false],
  ['a failure of ours', permanentFailure(FAILURE_TYPES.wrongPolicy, 'x'), FAILURE_TYPES.wrongPolicy, true],
];
test.each(rows)('%s becomes a typed failure', (_title, thrown, type, nonRetryable) => {
  expect(classifyPolicyError(thrown, 'The policy server s', 0)).toMatchObject({ type, nonRetryable });
});

test('only a refused connection says that the process has ended', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  const wrapped = (cause: Error) =>
    classifyPolicyError(
      new APIConnectionError({
        message: 'Connection error.',
        cause: new TypeError('fetch failed', { cause }),
      }),
      's',
      0,
    );
  expect(isRefused(wrapped(refused))).toBe(true);
  expect(isRefused(wrapped(Object.assign(new Error('timeout'), { code: 'UND_ERR_HEADERS_TIMEOUT' })))).toBe(
    false,
  );
});

test("a vLLM server's load is read from its metrics; the adapters busy now are those of the newest series", () => {
  const text = `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="base"} 3.0
vllm:num_requests_waiting{engine="0",model_name="base"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="base",reason="capacity"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="base"} 0.25
vllm:num_preemptions_total{engine="0",model_name="base"} 4.0
vllm:prompt_tokens_total{engine="0",model_name="base"} 1.030e+02
vllm:generation_tokens_total{engine="0",model_name="base"} 11.0
vllm:lora_requests_info{max_lora="4",running_lora_adapters="v1",waiting_lora_adapters=""} 1.795430958153998e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="v2,v3",waiting_lora_adapters="v3,v4"} 1.7954309582206256e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="",waiting_lora_adapters=""} 1.795430905745301e+09`;
  expect(readLoad(text)).toEqual({
    running: 3,
    waiting: 2,
    cacheUse: 0.25,
    preemptions: 4,
    promptTokens: 103,
    generatedTokens: 11,
    busyAdapters: ['v2', 'v3', 'v4'],
  });
  expect(readLoad('process_cpu_seconds_total 1.0\n')).toBeNull();
});

test('keys are spread over servers, and only those of a server that goes move', () => {
  const servers = ['http://a', 'http://b', 'http://c'];
  const keys = Array.from({ length: 300 }, (_none, at) => `g${at}`);
  const before = keys.map((key) => ownServer(servers, key));
  for (const server of servers) expect(before.filter((one) => one === server).length).toBeGreaterThan(60);
  const after = keys.map((key) => ownServer(servers.slice(0, 2), key));
  keys.forEach((_key, at) => {
    if (before[at] !== 'http://c') expect(after[at]).toBe(before[at]);
  });
  expect(ownServer(servers.toReversed(), 'g7')).toBe(ownServer(servers, 'g7'));
});

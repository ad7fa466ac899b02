import { z } from 'zod';
import type { ToolCall } from '../agents/types.ts';
import { FAILURE_TYPES, cutText, infraFailure, permanentFailure } from '../domain/failures.ts';
import type { PolicyCall, SampledChoice } from '../domain/rl/trajectory.ts';
import { badAnswer } from './failures.ts';
import type { SampleRequest } from './types.ts';
import type { VllmServer } from './vllm.ts';

/** Longest time of one request, waiting in the server's queue included. */
const SAMPLE_MS = 60 * 60_000;
const MAX_ABORTS = 50; // of one answer; a server that does nothing but abort is broken

/** What one server is asked under a name that it serves. */
export type TokenRequest = Omit<SampleRequest, 'run' | 'address' | 'key'> & { readonly model: string };

export interface TokenAnswer {
  readonly model: string;
  readonly promptTokenIds: readonly number[];
  readonly choices: readonly SampledChoice[];
  readonly toolCalls: readonly (readonly ToolCall[])[];
  /** As the server counts, where it does not tell the ids. */
  readonly usage?: PolicyCall['usage'];
}

const finishReason = z.enum(['stop', 'length', 'tool_calls', 'abort']);
const toolCall = z.object({
  id: z.string(),
  type: z.literal('function'),
  function: z.object({ name: z.string(), arguments: z.string() }),
});
const ChatAnswer = z.object({
  model: z.string(),
  prompt_token_ids: z.array(z.number()).min(1),
  choices: z.array(
    z.object({
      index: z.number(),
      finish_reason: finishReason,
      message: z.object({ content: z.string().nullish(), tool_calls: z.array(toolCall).nullish() }),
      token_ids: z.array(z.number()),
      logprobs: z.object({ content: z.array(z.object({ logprob: z.number() })).nullish() }).nullish(),
    }),
  ),
});
const TextAnswer = z.object({
  choices: z
    .array(
      z.object({
        finish_reason: finishReason,
        text: z.string(),
        token_ids: z.array(z.number()),
        logprobs: z.object({ token_logprobs: z.array(z.number()) }).nullish(),
      }),
    )
    .length(1),
});

/** What came so far of one choice. */
interface Part {
  readonly tokenIds: readonly number[];
  readonly logprobs: readonly number[];
  readonly text: string;
  readonly toolCalls: readonly ToolCall[];
  readonly end: z.infer<typeof finishReason>;
}

/** Nothing but the temperature may bend what is sampled: a model's own generation settings would make ratios wrong. */
const sampler = (request: TokenRequest, seed: number) => ({
  temperature: request.temperature,
  top_p: 1,
  top_k: -1,
  min_p: 0,
  presence_penalty: 0,
  frequency_penalty: 0,
  repetition_penalty: 1,
  seed,
  return_token_ids: true,
});

/**
 * One request to a vLLM server, with every sampled token's id and log-probability (at the temperature, over what was
 * allowed). An answer that the server aborted is continued from its tokens, or asked for again where it had none.
 * `resumable` is awaited before each continuation: the server may still be paused.
 */
export async function sampleTokens(
  server: VllmServer,
  request: TokenRequest,
  resumable: () => Promise<void>,
  signal: AbortSignal,
): Promise<TokenAnswer> {
  const allowed =
    request.choices === null ? null : await choiceIds(server, request.model, request.choices, signal);
  const first = await ask(server, request, request.n, request.seed, allowed, signal);
  const parts: Part[] = [];
  for (const [index, begun] of first.parts.entries()) {
    let part = begun;
    for (let aborts = 1; part.end === 'abort'; aborts += 1) {
      if (aborts > MAX_ABORTS)
        throw badAnswer(`The policy server ${server.client.name}`, `${aborts} aborts of one answer`);
      await resumable();
      // another seed, or the continuation would repeat the draws of the beginning
      const seed = nextSeed(request.seed, index, aborts);
      part = await goOn(server, request, first.promptTokenIds, part, allowed, seed, signal);
    }
    parts.push(part);
  }
  const choices = parts.map((part) => checkedChoice(server, request, part, allowed));
  return {
    model: first.model,
    promptTokenIds: first.promptTokenIds,
    choices,
    toolCalls: parts.map(({ toolCalls }) => toolCalls),
  };
}

async function ask(
  server: VllmServer,
  request: TokenRequest,
  n: number,
  seed: number,
  allowed: readonly number[] | null,
  signal: AbortSignal,
): Promise<{
  readonly model: string;
  readonly promptTokenIds: readonly number[];
  readonly parts: readonly Part[];
}> {
  const body = {
    ...sampler(request, seed),
    model: request.model,
    messages: request.messages,
    n,
    max_tokens: allowed === null ? request.maxTokens : 1,
    logprobs: true,
    top_logprobs: 0,
    ...(allowed === null ? {} : { allowed_token_ids: allowed }),
    ...(request.tools === undefined ? {} : { tools: request.tools }),
  };
  const answer = await server.client.post('/v1/chat/completions', body, { signal, timeoutMs: SAMPLE_MS });
  const checked = ChatAnswer.safeParse(answer);
  if (!checked.success) throw noTokens(server, answer);
  const { model, prompt_token_ids: promptTokenIds, choices } = checked.data;
  if (model !== request.model)
    throw permanentFailure(
      FAILURE_TYPES.wrongPolicy,
      `The policy server ${server.client.name} answered as ${model}, not as ${request.model}.`,
    );
  if (choices.length !== n)
    throw badAnswer(`The policy server ${server.client.name}`, `${choices.length} choices instead of ${n}`);
  const parts = choices
    .toSorted((a, b) => a.index - b.index)
    .map((choice) => ({
      tokenIds: choice.token_ids,
      logprobs: (choice.logprobs?.content ?? []).map(({ logprob }) => logprob),
      text: choice.message.content ?? '',
      toolCalls: choice.message.tool_calls ?? [],
      end: choice.finish_reason,
    }));
  return { model, promptTokenIds, parts };
}

/**
 * After an abort. A free text goes on after its own tokens, so that long answers, which are aborted more often, are not
 * drawn anew and made rarer. Tool calls are read by the server from a whole answer: those are asked for again.
 */
async function goOn(
  server: VllmServer,
  request: TokenRequest,
  promptTokenIds: readonly number[],
  part: Part,
  allowed: readonly number[] | null,
  seed: number,
  signal: AbortSignal,
): Promise<Part> {
  if (allowed !== null && part.tokenIds.length === 1) return { ...part, end: 'stop' }; // nothing was left to sample
  if (part.tokenIds.length === 0 || allowed !== null || (request.tools?.length ?? 0) > 0) {
    const { parts } = await ask(server, request, 1, seed, allowed, signal);
    return parts[0] as Part;
  }
  const left = request.maxTokens - part.tokenIds.length;
  if (left <= 0) return { ...part, end: 'length' };
  const body = {
    ...sampler(request, seed),
    model: request.model,
    prompt: [...promptTokenIds, ...part.tokenIds],
    max_tokens: left,
    logprobs: 0,
  };
  const answer = await server.client.post('/v1/completions', body, { signal, timeoutMs: SAMPLE_MS });
  const checked = TextAnswer.safeParse(answer);
  const rest = checked.success ? checked.data.choices[0] : undefined;
  if (rest === undefined) throw noTokens(server, answer);
  return {
    tokenIds: [...part.tokenIds, ...rest.token_ids],
    logprobs: [...part.logprobs, ...(rest.logprobs?.token_logprobs ?? [])],
    text: part.text + rest.text,
    toolCalls: [],
    end: rest.finish_reason,
  };
}

/** Token ids without log-probabilities, or as many of the one as of the other: training on anything else is silent nonsense. */
function checkedChoice(
  server: VllmServer,
  request: TokenRequest,
  part: Part,
  allowed: readonly number[] | null,
): SampledChoice {
  const { tokenIds, logprobs, text, end } = part;
  const who = `The policy server ${server.client.name}`;
  if (logprobs.length !== tokenIds.length)
    throw badAnswer(who, `${logprobs.length} log-probabilities for ${tokenIds.length} tokens`);
  if (tokenIds.length === 0) throw badAnswer(who, 'a choice without a token');
  if (allowed === null) return { tokenIds, logprobs, text, finishReason: end === 'abort' ? 'length' : end };
  if (tokenIds.length !== 1 || !allowed.includes(tokenIds[0] as number) || !request.choices?.includes(text)) {
    knownIds.delete(server);
    throw badAnswer(
      who,
      `${JSON.stringify(cutText(text, 40))}, which is none of the ${allowed.length} choices`,
    );
  }
  return { tokenIds, logprobs, text, allowed: [allowed], finishReason: 'stop' };
}

/** By server and choices; forgotten where an answer tells that the server has another tokeniser now. */
const knownIds = new WeakMap<VllmServer, Map<string, readonly number[]>>();

/** The one token of each choice. Throws BadInput for a choice that this model writes with several, or that shares its token. */
async function choiceIds(
  server: VllmServer,
  model: string,
  choices: readonly string[],
  signal: AbortSignal,
): Promise<readonly number[]> {
  const known = knownIds.get(server) ?? new Map<string, readonly number[]>();
  knownIds.set(server, known);
  const found = known.get(choices.join('\0'));
  if (found !== undefined) return found;
  const tokens = await Promise.all(choices.map((choice) => server.tokenize(model, choice, { signal })));
  const ids = tokens.flat();
  if (
    ids.length !== choices.length ||
    tokens.some(({ length }) => length !== 1) ||
    new Set(ids).size !== ids.length
  )
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `Of the choices ${choices.join(', ')} not each is one token of ${model}.`,
    );
  known.set(choices.join('\0'), ids);
  return ids;
}

/** Spread over 31 bits, so that seeds of neighbouring requests do not meet. */
const nextSeed = (seed: number, index: number, aborts: number): number =>
  ((seed ^ Math.imul(index + 1, 0x9e3779b1) ^ Math.imul(aborts, 0x85ebca6b)) >>> 1) % 2 ** 31;

const noTokens = (server: VllmServer, answer: unknown) =>
  infraFailure(
    `The policy server ${server.client.name} answered without token ids and log-probabilities: training needs vLLM. It said: ${cutText(JSON.stringify(answer) ?? 'nothing', 120)}`,
    { type: FAILURE_TYPES.badAnswer },
  );

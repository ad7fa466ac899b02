import { ApplicationFailure } from '@temporalio/common';
import { z } from 'zod';
import { FAILURE_TYPES } from '../domain/failures.ts';
import type { SampledChoice } from '../domain/rl/trajectory.ts';
import type { PolicyClient } from './client.ts';
import { badAnswer } from './failures.ts';
import type { TokenAnswer, TokenRequest } from './sampling.ts';

const PLAIN_MS = 10 * 60_000;

const tokens = z.array(z.number()).nullish();
const PlainAnswer = z.object({
  model: z.string().nullish(),
  prompt_token_ids: tokens,
  choices: z
    .array(
      z.object({
        finish_reason: z.string().nullish(),
        token_ids: tokens,
        message: z.object({
          content: z.string().nullish(),
          tool_calls: z
            .array(
              z.object({
                id: z.string(),
                function: z.object({ name: z.string(), arguments: z.string() }),
              }),
            )
            .nullish(),
        }),
      }),
    )
    .min(1),
  usage: z.object({ prompt_tokens: z.number(), completion_tokens: z.number() }).nullish(),
});
type PlainAnswer = z.infer<typeof PlainAnswer>;
type Plain = z.infer<typeof PlainAnswer>['choices'][number];

/** What a server was found to take: lowered by what it refuses. */
interface Shape {
  limit: 'max_tokens' | 'max_completion_tokens';
  temperature: boolean;
  seed: boolean;
  many: boolean;
  /** vLLM's way to limit an answer to some texts; others ignore or refuse it. */
  limited: boolean;
  /** vLLM's way to ask for token ids, which supervised training on accepted answers needs. */
  tokens: boolean;
}
const shapes = new WeakMap<PolicyClient, Shape>();

/**
 * Answers of any OpenAI-compatible server, outside training: texts and tool calls, with token ids where the server tells
 * them (vLLM), without log-probabilities. `choices` are asked for in vLLM's way, and left to whoever reads the text. What the
 * server refuses is left out from then on.
 */
export async function samplePlain(
  client: PolicyClient,
  request: TokenRequest,
  signal: AbortSignal,
): Promise<TokenAnswer> {
  const shape = shapes.get(client) ?? {
    limit: 'max_tokens',
    temperature: true,
    seed: true,
    many: true,
    limited: true,
    tokens: true,
  };
  shapes.set(client, shape);
  const answers: Plain[] = [];
  let promptTokenIds: readonly number[] = [];
  const usages: PlainAnswer['usage'][] = [];
  for (let asked = 0; answers.length < request.n; asked += 1) {
    const missing = request.n - answers.length;
    const answer = await sendAdapting(client, shape, request, missing, asked, signal);
    const { choices, usage } = answer;
    promptTokenIds = answer.prompt_token_ids ?? [];
    usages.push(usage);
    if (choices.length < missing) shape.many = false;
    answers.push(...choices.slice(0, missing));
  }
  return {
    model: request.model,
    promptTokenIds,
    choices: answers.map(choiceOf),
    toolCalls: answers.map(({ message }) =>
      (message.tool_calls ?? []).map((call) => ({ ...call, type: 'function' as const })),
    ),
    ...usageOf(usages),
  };
}

/** Of one prompt, and of all its answers; nothing where one request came without. */
function usageOf(usages: readonly PlainAnswer['usage'][]): Pick<TokenAnswer, 'usage'> {
  const [first] = usages;
  if (!first || usages.some((usage) => !usage)) return {};
  const sampledTokens = usages.reduce((sum, usage) => sum + (usage?.completion_tokens ?? 0), 0);
  return { usage: { promptTokens: first.prompt_tokens, sampledTokens } };
}

async function sendAdapting(
  client: PolicyClient,
  shape: Shape,
  request: TokenRequest,
  missing: number,
  asked: number,
  signal: AbortSignal,
): Promise<PlainAnswer> {
  for (;;) {
    const n = shape.many ? missing : 1;
    const body = {
      model: request.model,
      messages: request.messages,
      [shape.limit]: request.maxTokens,
      ...(n > 1 ? { n } : {}),
      ...(shape.temperature ? { temperature: request.temperature } : {}),
      ...(shape.seed ? { seed: request.seed + asked } : {}),
      ...(request.tools === undefined ? {} : { tools: request.tools }),
      ...(shape.limited && request.choices !== null
        ? { structured_outputs: { choice: request.choices } }
        : {}),
      ...(shape.tokens ? { return_token_ids: true } : {}),
    };
    try {
      const answer = await client.post('/v1/chat/completions', body, { signal, timeoutMs: PLAIN_MS });
      const checked = PlainAnswer.safeParse(answer);
      if (!checked.success) throw badAnswer(client.name, 'something that is no chat completion');
      return checked.data;
    } catch (error) {
      if (!lowered(shape, error, { many: n > 1, limited: request.choices !== null })) throw error;
    }
  }
}

/** Leaves out what a refusal names; false where there is nothing left to leave out. */
function lowered(
  shape: Shape,
  error: unknown,
  asked: { readonly many: boolean; readonly limited: boolean },
): boolean {
  if (!(error instanceof ApplicationFailure) || error.type !== FAILURE_TYPES.badInput) return false;
  const says = error.message;
  if (shape.tokens && /return_token_ids|unrecognized|unknown|extra|not permitted/i.test(says)) {
    shape.tokens = false;
  } else if (shape.limited && asked.limited && /structured_outputs|unrecognized|unknown|extra/i.test(says)) {
    shape.limited = false;
  } else if (shape.limit === 'max_tokens' && /max_completion_tokens/.test(says)) {
    shape.limit = 'max_completion_tokens';
  } else if (shape.temperature && /temperature/i.test(says)) {
    shape.temperature = false;
  } else if (shape.seed && /\bseed\b/i.test(says)) {
    shape.seed = false;
  } else if (shape.many && asked.many) {
    shape.many = false; // said in too many ways to look for words
  } else {
    return false;
  }
  return true;
}

const choiceOf = ({ message, finish_reason: end, token_ids: tokenIds }: Plain): SampledChoice => ({
  tokenIds: tokenIds ?? [],
  logprobs: [],
  text: message.content ?? '',
  finishReason: (message.tool_calls?.length ?? 0) > 0 ? 'tool_calls' : end === 'length' ? 'length' : 'stop',
});

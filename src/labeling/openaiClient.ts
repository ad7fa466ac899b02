import { ApplicationFailure } from '@temporalio/common';
import OpenAI, { APIError } from 'openai';
import type { Logger } from 'pino';
import { z } from 'zod';
import { FAILURE_TYPES, cutText, infraFailure } from '../domain/failures.ts';
import { classifyOpenaiError } from './openaiClassifier.ts';
import type { LabelerSettings } from './types.ts';
import type { TokenCount } from './pricing.ts';

const DEFAULT_TIMEOUT_MS = 180_000; // thinking models take minutes
const DEFAULT_MAX_COMPLETION_TOKENS = 4_000;

export interface ChatMessage {
  readonly role: 'system' | 'user';
  readonly content: string;
}

export interface ChatAnswers {
  /** One text per answer asked for; null for an answer without text (refusal, length). */
  readonly texts: readonly (string | null)[];
  readonly requests: number;
  readonly tokens: TokenCount;
  /** False when an answer came without a usage count. */
  readonly tokensKnown: boolean;
}

export interface ChatClient {
  /** Host and model, for messages. */
  readonly server: string;
  /** `count` independent answers to one prompt: in one request where the server can, else one after the other. */
  ask(messages: readonly ChatMessage[], count: number, signal?: AbortSignal): Promise<ChatAnswers>;
}

/** What the server was found to take. Starts with the best and is lowered by what it refuses or ignores. */
interface Shape {
  many: boolean;
  limit: 'max_completion_tokens' | 'max_tokens';
  temperature: boolean;
}

const Completion = z.object({
  choices: z.array(z.object({ message: z.object({ content: z.string().nullish() }) })).min(1),
  usage: z
    .object({
      prompt_tokens: z.number(),
      completion_tokens: z.number(),
      prompt_tokens_details: z.object({ cached_tokens: z.number().nullish() }).nullish(),
    })
    .nullish(),
});
type Completion = z.infer<typeof Completion>;

/** Chat completions of any OpenAI-compatible server, without the client's own retries: Temporal retries. */
export function createChatClient(options: {
  readonly settings: LabelerSettings;
  readonly fetch?: typeof globalThis.fetch;
  readonly log: Logger;
}): ChatClient {
  const { settings, log } = options;
  const server = `${settings.model} at ${new URL(settings.baseUrl).host}`;
  const client = new OpenAI({
    baseURL: settings.baseUrl,
    apiKey: settings.apiKey === undefined || settings.apiKey === '' ? 'none' : settings.apiKey,
    organization: null, // else taken from this machine's environment
    project: null,
    maxRetries: 0,
    timeout: settings.timeoutMs ?? DEFAULT_TIMEOUT_MS, // holds for the body too
    logLevel: 'off', // it would write to the console
    ...(options.fetch === undefined ? {} : { fetch: options.fetch }),
  });
  const shape: Shape = { many: true, limit: 'max_completion_tokens', temperature: true };

  const body = (messages: readonly ChatMessage[], count: number) => ({
    model: settings.model,
    messages: [...messages],
    [shape.limit]: settings.maxCompletionTokens ?? DEFAULT_MAX_COMPLETION_TOKENS,
    ...(shape.many && count > 1 ? { n: count } : {}),
    ...(shape.temperature && settings.temperature !== undefined ? { temperature: settings.temperature } : {}),
  });

  async function send(
    messages: readonly ChatMessage[],
    count: number,
    signal: AbortSignal,
  ): Promise<Completion> {
    const answer: unknown = await client.chat.completions.create(body(messages, count), { signal });
    const checked = Completion.safeParse(answer);
    if (checked.success) return checked.data;
    const seen = cutText((typeof answer === 'string' ? answer : JSON.stringify(answer)) ?? 'nothing', 120);
    throw infraFailure(
      `${server} answered with something that is no chat completion: ${seen.replace(/\s+/g, ' ')}`,
      {
        type: FAILURE_TYPES.badAnswer,
      },
    );
  }

  /** Sends; where the server refuses a parameter, leaves it out from now on and sends again. */
  async function sendAdapting(messages: readonly ChatMessage[], count: number, signal: AbortSignal) {
    for (let requests = 1; ; requests += 1) {
      try {
        return { completion: await send(messages, count, signal), requests };
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof ApplicationFailure) throw error; // typed already
        if (!lowerShape(shape, error, count > 1)) throw classifyOpenaiError(error, server, Date.now());
        log.info({ server, shape: { ...shape } }, 'LLM server refuses a parameter; going on without it');
      }
    }
  }

  return {
    server,
    async ask(messages, count, signal = new AbortController().signal) {
      const texts: (string | null)[] = [];
      let requests = 0;
      let tokensKnown = true;
      const tokens = { promptTokens: 0, cachedPromptTokens: 0, completionTokens: 0 };
      while (texts.length < count) {
        const missing = count - texts.length;
        const sent = await sendAdapting(messages, missing, signal);
        const { choices, usage } = sent.completion;
        requests += sent.requests;
        texts.push(...choices.slice(0, missing).map((choice) => choice.message.content ?? null));
        if (shape.many && missing > 1 && choices.length < missing) {
          shape.many = false;
          log.info({ server }, 'LLM server ignores n; votes are asked for one by one');
        }
        tokensKnown &&= usage !== null && usage !== undefined;
        tokens.promptTokens += usage?.prompt_tokens ?? 0;
        tokens.completionTokens += usage?.completion_tokens ?? 0;
        tokens.cachedPromptTokens += Math.min(
          usage?.prompt_tokens_details?.cached_tokens ?? 0,
          usage?.prompt_tokens ?? 0,
        );
      }
      return { texts, requests, tokens, tokensKnown };
    },
  };
}

/** Lowers the shape by what a 400, 422 or 501 complains about; false when there is nothing left to leave out. */
function lowerShape(shape: Shape, error: unknown, askedMany: boolean): boolean {
  if (!(error instanceof APIError) || ![400, 422, 501].includes(error.status ?? 0)) return false;
  const complaint = `${error.message} ${String(error.param ?? '')}`;
  if (shape.limit === 'max_completion_tokens' && /max_completion_tokens/.test(complaint)) {
    shape.limit = 'max_tokens';
    return true;
  }
  if (shape.temperature && /temperature/i.test(complaint)) {
    shape.temperature = false;
    return true;
  }
  if (shape.many && askedMany && !/context|too long|too large|maximum.*tokens/i.test(complaint)) {
    shape.many = false; // said in too many ways to look for words
    return true;
  }
  return false;
}

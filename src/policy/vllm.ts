import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import { createPolicyClient, type PolicyClient, type RequestOptions } from './client.ts';
import { badAnswer, isPassing, isType } from './failures.ts';
import { readLoad } from './metrics.ts';
import type { ServerLoad } from './types.ts';

const RELOAD_MS = 15 * 60_000; // a large model from a network disk
const DRAIN_MS = 15 * 60_000; // the longest answers under way
const FIRST_MS = 5 * 60_000; // a server's first requests compile what later ones use
const SCORED_AT_ONCE = 64; // vLLM refuses more than 128 ids
const CACHE_TRIES = 20;

/** A model as `/v1/models` lists it: the base, or an adapter. */
export interface ServedModel {
  readonly id: string;
  /** Directory it was loaded from. */
  readonly path: string | null;
  /** Of an adapter: its base model. */
  readonly parent: string | null;
}

/** One vLLM server (0.32) with the routes of VLLM_SERVER_DEV_MODE and VLLM_ALLOW_RUNTIME_LORA_UPDATING, without retries. */
export interface VllmServer {
  readonly client: PolicyClient;
  /** False when its engine is dead or nothing answers. */
  healthy(options?: RequestOptions): Promise<boolean>;
  models(options?: RequestOptions): Promise<readonly ServedModel[]>;
  load(options?: RequestOptions): Promise<ServerLoad>;
  /** False also for a server that cannot be paused. */
  isPaused(options?: RequestOptions): Promise<boolean>;
  /** What `setWeightVersion` said last; `default` since the server's start. */
  weightVersion(options?: RequestOptions): Promise<string>;
  setWeightVersion(label: string, options?: RequestOptions): Promise<void>;
  /** Loads an adapter under a name of its own. One of that name and path that is loaded already is success. */
  loadAdapter(
    adapter: { readonly name: string; readonly path: string },
    options?: RequestOptions,
  ): Promise<void>;
  /** False when there was none of that name. */
  unloadAdapter(name: string, options?: RequestOptions): Promise<boolean>;
  /** `wait` ends when all requests under way have; `keep` freezes them. New ones queue until `resume`. */
  pause(mode: 'wait' | 'keep', options?: RequestOptions): Promise<void>;
  resume(options?: RequestOptions): Promise<void>;
  /** All parameters from a directory. With tied embeddings only an output head that is written out is taken over. */
  reloadWeights(path: string, options?: RequestOptions): Promise<void>;
  resetPrefixCache(options?: RequestOptions): Promise<void>;
  /** Ends when no request of the adapter runs or waits; false when some still did after the time. */
  drained(adapter: string, withinMs: number, options?: RequestOptions): Promise<boolean>;
  /**
   * Log-probability of each token after the first, over the whole vocabulary at temperature 1: as sampling sees it, each
   * place asked for as the next token. vLLM's own `prompt_logprobs` are not used: on a CPU with LoRA they kill the engine
   * (0.32) when any other request is in the batch. Made for probes of up to some hundred tokens.
   */
  scoreTokens(
    model: string,
    tokenIds: readonly number[],
    options?: RequestOptions,
  ): Promise<readonly number[]>;
  /** True when sampled log-probabilities are after temperature and masks (`--logprobs-mode processed_logprobs`). */
  processesLogprobs(model: string, tokenId: number, options?: RequestOptions): Promise<boolean>;
  tokenize(model: string, text: string, options?: RequestOptions): Promise<readonly number[]>;
}

const Models = z.object({
  data: z.array(z.object({ id: z.string(), root: z.string().nullish(), parent: z.string().nullish() })),
});
const FirstLogprob = z.object({
  choices: z.array(z.object({ logprobs: z.object({ token_logprobs: z.array(z.number()).min(1) }) })).min(1),
});
const Scores = z.object({
  choices: z.array(
    z.object({
      index: z.number(),
      logprobs: z.object({ top_logprobs: z.array(z.record(z.string(), z.number())).length(1) }),
    }),
  ),
});

export function createVllmServer(address: string, apiKey?: string): VllmServer {
  const client = createPolicyClient(address, apiKey);
  const { name, get, post } = client;
  const who = `The policy server ${name}`;
  const read = <T>(schema: z.ZodType<T>, answer: unknown, what: string): T => {
    const checked = schema.safeParse(answer);
    if (checked.success) return checked.data;
    throw badAnswer(who, `something else than ${what}`);
  };
  const server: VllmServer = {
    client,
    async healthy(options) {
      try {
        await get('/health', options);
        return true;
      } catch (error) {
        if (isPassing(error)) return false; // 503: the engine has died
        throw error;
      }
    },
    async models(options) {
      const { data } = read(Models, await get('/v1/models', options), 'a list of models');
      return data.map(({ id, root, parent }) => ({ id, path: root ?? null, parent: parent ?? null }));
    },
    async load(options) {
      const load = readLoad(String(await get('/metrics', options)));
      if (load === null) throw badAnswer(who, 'metrics that are not of vLLM');
      return load;
    },
    async isPaused(options) {
      try {
        const answer = await get('/is_paused', options);
        return read(z.object({ is_paused: z.boolean() }), answer, 'whether it is paused').is_paused;
      } catch (error) {
        if (isType(error, FAILURE_TYPES.notFound)) return false;
        throw error;
      }
    },
    async weightVersion(options) {
      const answer = await get('/weight_info', options).catch((error: unknown) => {
        throw isType(error, FAILURE_TYPES.notFound)
          ? withoutRoutes(who, 'VLLM_SERVER_DEV_MODE=1', error)
          : error;
      });
      return read(z.object({ weight_version: z.string() }), answer, 'the version of its weights')
        .weight_version;
    },
    async setWeightVersion(label, options) {
      await post('/update_weight_version', { new_version: label }, options);
    },
    async loadAdapter(adapter, options) {
      try {
        await post(
          '/v1/load_lora_adapter',
          { lora_name: adapter.name, lora_path: adapter.path },
          { timeoutMs: RELOAD_MS, ...options },
        );
      } catch (error) {
        if (await isLoadedAlready(server, adapter, error, options)) return;
        if (isType(error, FAILURE_TYPES.notFound))
          throw withoutRoutes(who, 'VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 and --enable-lora', error);
        throw isType(error, FAILURE_TYPES.missingPolicy) ? missingFiles(name, adapter, error) : error;
      }
    },
    async unloadAdapter(adapter, options) {
      try {
        await post('/v1/unload_lora_adapter', { lora_name: adapter }, options);
        return true;
      } catch (error) {
        if (isType(error, FAILURE_TYPES.missingPolicy)) return false;
        throw error;
      }
    },
    async pause(mode, options) {
      await post(`/pause?mode=${mode}`, undefined, { timeoutMs: DRAIN_MS, ...options });
    },
    async resume(options) {
      await post('/resume', undefined, options);
    },
    async reloadWeights(path, options) {
      const body = { method: 'reload_weights', kwargs: { weights_path: path } };
      await post('/collective_rpc', body, { timeoutMs: RELOAD_MS, ...options });
    },
    async resetPrefixCache(options) {
      for (let attempt = 1; ; attempt += 1) {
        const answer = await post('/reset_prefix_cache', undefined, options);
        if (read(z.object({ success: z.boolean() }), answer, 'whether its cache is empty').success) return;
        // false while blocks are held: those of the last requests are let go a moment after their answers
        if (attempt === CACHE_TRIES)
          throw infraFailure(`The policy server ${name} does not let go of its prefix cache.`);
        await delay(50);
      }
    },
    async drained(adapter, withinMs, options) {
      const deadline = Date.now() + withinMs;
      for (;;) {
        const { busyAdapters } = await server.load(options);
        if (!busyAdapters.includes(adapter)) return true;
        if (Date.now() >= deadline) return false;
        await delay(100, undefined, options?.signal ? { signal: options.signal } : {});
      }
    },
    async scoreTokens(model, tokenIds, options) {
      const scores: number[] = [];
      for (let from = 1; from < tokenIds.length; from += SCORED_AT_ONCE) {
        const targets = tokenIds.slice(from, from + SCORED_AT_ONCE);
        const body = {
          model,
          prompt: targets.map((_target, at) => tokenIds.slice(0, from + at)),
          max_tokens: 1,
          temperature: 1,
          logprobs: 0,
          logprob_token_ids: [...new Set(targets)],
          return_tokens_as_token_ids: true,
        };
        const answer = await post('/v1/completions', body, { timeoutMs: FIRST_MS, ...options });
        const { choices } = read(Scores, answer, 'log-probabilities of the tokens asked for');
        const places = new Map(choices.map(({ index, logprobs }) => [index, logprobs.top_logprobs[0]]));
        for (const [at, tokenId] of targets.entries()) {
          const logprob = places.get(at)?.[`token_id:${tokenId}`];
          if (logprob === undefined) throw badAnswer(who, `no log-probability for place ${from + at}`);
          scores.push(logprob);
        }
      }
      return scores;
    },
    async processesLogprobs(model, tokenId, options) {
      // of one token that is allowed the probability is 1; without processing it is that of the whole vocabulary
      const body = { model, prompt: [tokenId], max_tokens: 1, logprobs: 0, allowed_token_ids: [tokenId] };
      const { choices } = read(
        FirstLogprob,
        await post('/v1/completions', body, { timeoutMs: FIRST_MS, ...options }),
        'a log-probability',
      );
      return Math.abs(choices[0]?.logprobs.token_logprobs[0] ?? Number.NaN) < 1e-6;
    },
    async tokenize(model, text, options) {
      const body = { model, prompt: text, add_special_tokens: false };
      return [
        ...read(
          z.object({ tokens: z.array(z.number()) }),
          await post('/tokenize', body, options),
          'token ids',
        ).tokens,
      ];
    },
  };
  return server;
}

/** A repeated load is refused by name; only the same path makes it the same adapter. */
async function isLoadedAlready(
  server: VllmServer,
  adapter: { readonly name: string; readonly path: string },
  error: unknown,
  options: RequestOptions | undefined,
): Promise<boolean> {
  if (!isType(error, FAILURE_TYPES.badInput)) return false;
  const present = (await server.models(options)).find(({ id }) => id === adapter.name);
  if (present === undefined) return false;
  if (present.path === adapter.path) return true;
  throw permanentFailure(
    FAILURE_TYPES.wrongPolicy,
    `The policy server ${server.client.name} serves ${present.path ?? 'something else'} as ${adapter.name}, not ${adapter.path}.`,
  );
}

const withoutRoutes = (who: string, option: string, cause: unknown) =>
  permanentFailure(
    FAILURE_TYPES.badInput,
    `${who} cannot be given versions: start vLLM with ${option}.`,
    cause,
  );

const missingFiles = (
  name: string,
  adapter: { readonly name: string; readonly path: string },
  cause: unknown,
) =>
  permanentFailure(
    FAILURE_TYPES.notFound,
    `The policy server ${name} finds no adapter at ${adapter.path} for ${adapter.name}: the trainer's directory must be there at the server, under the same path.`,
    cause,
  );

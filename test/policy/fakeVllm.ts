import type { ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { sendJson, startHttpServer, type SeenRequest, type TestHttpServer } from '../support/http.ts';

/** Log-probability that a fake server gives every token after the first, by what is loaded. */
export type Weights = number;

/** What a fake server holds; tests read and change it. */
export interface FakeState {
  paused: boolean;
  label: string;
  /** Its own weights. */
  weights: Weights;
  /** Name → path and weights. */
  readonly adapters: Map<string, { path: string; weights: Weights }>;
  /** Path → weights that lie there. */
  readonly disk: Map<string, Weights>;
  busyAdapters: readonly string[];
  running: number;
  processed: boolean;
  /** Answers instead of the server, where it returns true. */
  intercept: ((request: SeenRequest, response: ServerResponse) => boolean | Promise<boolean>) | null;
}

export interface FakeVllm extends AsyncDisposable {
  readonly address: string;
  readonly state: FakeState;
  readonly http: TestHttpServer;
  /** Paths of the requests that change something, in order. */
  changes(): readonly string[];
}

const BASE = 'base';
const CHANGES =
  /^\/(pause|resume|collective_rpc|reset_prefix_cache|update_weight_version|v1\/(un)?load_lora_adapter)/;

/** A server that follows vLLM 0.32's answers (recorded from the real one) without a model. */
export async function startFakeVllm(): Promise<FakeVllm> {
  const state: FakeState = {
    paused: false,
    label: 'default',
    weights: -1,
    adapters: new Map(),
    disk: new Map(),
    busyAdapters: [],
    running: 0,
    processed: true,
    intercept: null,
  };
  const http = await startHttpServer(async (request, response) => {
    if (await state.intercept?.(request, response)) return;
    while (state.paused && /completions/.test(request.url)) await delay(20); // requests queue
    answer(state, request, response);
  });
  return {
    address: http.url,
    state,
    http,
    changes: () => http.requests.map(({ url }) => url).filter((url) => CHANGES.test(url)),
    [Symbol.asyncDispose]: () => ((state.paused = false), http.close()),
  };
}

const refuse = (response: ServerResponse, status: number, message: string, type: string): void =>
  sendJson(response, { error: { message, type, param: null, code: status } }, { status });

function answer(state: FakeState, request: SeenRequest, response: ServerResponse): void {
  const body = (request.body === '' ? {} : JSON.parse(request.body)) as Record<string, unknown>;
  const route = request.url.split('?')[0];
  if (route === '/health') return void response.end();
  if (route === '/is_paused') return sendJson(response, { is_paused: state.paused });
  if (route === '/weight_info') return sendJson(response, { weight_version: state.label });
  if (route === '/metrics') return void response.end(metrics(state));
  if (route === '/v1/models') return sendJson(response, models(state));
  if (route === '/tokenize')
    return sendJson(response, { tokens: Array.from(String(body['prompt']), (sign) => sign.codePointAt(0)) });
  if (route === '/v1/completions') return completion(state, body, response);
  if (route === '/v1/chat/completions') return chat(state, body, response);
  return change(state, route ?? '', body, response);
}

function change(
  state: FakeState,
  route: string,
  body: Record<string, unknown>,
  response: ServerResponse,
): void {
  const name = String(body['lora_name']);
  switch (route) {
    case '/pause':
    case '/resume':
      state.paused = route === '/pause';
      return sendJson(response, { status: `${route.slice(1)}d` });
    case '/reset_prefix_cache':
      return sendJson(response, { success: true });
    case '/update_weight_version':
      state.label = String(body['new_version']);
      return sendJson(response, { success: true, new_version: state.label });
    case '/collective_rpc': {
      const { weights_path: path } = body['kwargs'] as { readonly weights_path: string };
      const weights = state.disk.get(path);
      if (weights === undefined)
        return refuse(response, 500, 'Call to collective_rpc method failed', 'InternalServerError');
      state.weights = weights;
      return sendJson(response, { results: [null] });
    }
    case '/v1/load_lora_adapter': {
      const path = String(body['lora_path']);
      const weights = state.disk.get(path);
      if (state.adapters.has(name))
        return refuse(
          response,
          400,
          `The lora adapter '${name}' has already been loaded.`,
          'InvalidUserInput',
        );
      if (weights === undefined)
        return refuse(
          response,
          404,
          `Loading lora ${name} failed: No adapter found for <path>`,
          'NotFoundError',
        );
      state.adapters.set(name, { path, weights });
      return void response.end(`Success: LoRA adapter '${name}' added successfully.`);
    }
    case '/v1/unload_lora_adapter':
      if (!state.adapters.delete(name))
        return refuse(response, 404, `The lora adapter '${name}' cannot be found.`, 'NotFoundError');
      return void response.end(`Success: LoRA adapter '${name}' removed successfully.`);
    default:
      return sendJson(response, { detail: 'Not Found' }, { status: 404 });
  }
}

const weightsOf = (state: FakeState, model: unknown): Weights | undefined =>
  model === BASE ? state.weights : state.adapters.get(String(model))?.weights;

const unknownModel = (response: ServerResponse, model: unknown): void =>
  refuse(response, 404, `The model \`${String(model)}\` does not exist.`, 'NotFoundError');

function completion(state: FakeState, body: Record<string, unknown>, response: ServerResponse): void {
  const weights = weightsOf(state, body['model']);
  if (weights === undefined) return unknownModel(response, body['model']);
  const count = Number(body['max_tokens']);
  const scored = body['logprob_token_ids'] as readonly number[] | undefined;
  const prompts = scored ? (body['prompt'] as readonly unknown[]) : [body['prompt']];
  const logprob = body['allowed_token_ids'] && state.processed ? 0 : weights;
  sendJson(response, {
    choices: prompts.map((_prompt, index) => ({
      index,
      finish_reason: 'length',
      text: 'y'.repeat(count),
      token_ids: Array.from({ length: count }, () => 121),
      logprobs: {
        token_logprobs: Array.from({ length: count }, () => logprob),
        top_logprobs: [Object.fromEntries((scored ?? []).map((tokenId) => [`token_id:${tokenId}`, weights]))],
      },
    })),
  });
}

function chat(state: FakeState, body: Record<string, unknown>, response: ServerResponse): void {
  const weights = weightsOf(state, body['model']);
  if (weights === undefined) return unknownModel(response, body['model']);
  const allowed = body['allowed_token_ids'] as readonly number[] | undefined;
  const count = Number(body['max_tokens']);
  const tokenIds = allowed ? allowed.slice(0, 1) : Array.from({ length: count }, () => 120);
  sendJson(response, {
    model: body['model'],
    prompt_token_ids: [1, 2, 3],
    choices: Array.from({ length: Number(body['n'] ?? 1) }, (_none, index) =>
      choice(index, tokenIds, weights, 'length'),
    ),
  });
}

/** A choice as the chat route tells it; token ids are code points here. */
export const choice = (
  index: number,
  tokenIds: readonly number[],
  logprob: number,
  finishReason: string,
) => ({
  index,
  finish_reason: finishReason,
  message: { role: 'assistant', content: String.fromCodePoint(...tokenIds) },
  token_ids: tokenIds,
  logprobs: { content: tokenIds.map(() => ({ logprob })) },
});

const models = (state: FakeState) => ({
  data: [
    { id: BASE, root: '/models/base', parent: null },
    ...[...state.adapters].map(([id, { path }]) => ({ id, root: path, parent: BASE })),
  ],
});

const metrics = ({ busyAdapters, running }: FakeState): string =>
  [
    '# HELP vllm:num_requests_running Number of requests',
    `vllm:num_requests_running{engine="0",model_name="base"} ${running}.0`,
    'vllm:num_requests_waiting{engine="0",model_name="base"} 0.0',
    'vllm:lora_requests_info{max_lora="4",running_lora_adapters="old",waiting_lora_adapters=""} 1.7e+09',
    `vllm:lora_requests_info{max_lora="4",running_lora_adapters="${busyAdapters.join(',')}",waiting_lora_adapters=""} 1.8e+09`,
  ].join('\n');

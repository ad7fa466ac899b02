import OpenAI from 'openai';
import { Agent, fetch as undiciFetch } from 'undici';
import { cancelled, classifyPolicyError } from './failures.ts';

/** Time for what a server answers at once. */
const QUICK_MS = 15_000;

export interface RequestOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

/** The `openai` client of one server, without its own retries, and the one way in which its errors become failures. */
export interface PolicyClient {
  /** Root of the server, without `/v1` and without a slash at the end. */
  readonly root: string;
  /** The server in messages. */
  readonly name: string;
  readonly get: (path: string, options?: RequestOptions) => Promise<unknown>;
  readonly post: (path: string, body: unknown, options?: RequestOptions) => Promise<unknown>;
}

/** Node's own fetch gives up after five minutes without an answer; a long generation takes longer. */
const patient = new Agent({ headersTimeout: 0, bodyTimeout: 0, connectTimeout: 10_000 });
const patientFetch = ((input: string | URL, init: object) =>
  undiciFetch(input, { ...init, dispatcher: patient })) as unknown as typeof fetch;

/** `http://host:8000/v1/` and `http://host:8000` name the same server. */
export const rootOf = (server: string): string => server.replace(/\/+$/, '').replace(/\/v1$/, '');

export function createPolicyClient(server: string, apiKey?: string): PolicyClient {
  const root = rootOf(server);
  const name = new URL(root).host;
  const client = new OpenAI({
    baseURL: `${root}/v1`,
    apiKey: apiKey === undefined || apiKey === '' ? 'none' : apiKey,
    organization: null, // else taken from this machine's environment
    project: null,
    maxRetries: 0,
    logLevel: 'off', // it would write to the console
    fetch: patientFetch,
  });
  const ask = async (
    method: 'get' | 'post',
    path: string,
    body: unknown,
    { signal, timeoutMs = QUICK_MS }: RequestOptions,
  ): Promise<unknown> => {
    try {
      return await client[method](`${root}${path}`, {
        timeout: timeoutMs,
        ...(signal === undefined ? {} : { signal }),
        ...(body === undefined ? {} : { body }),
      });
    } catch (error) {
      if (signal?.aborted === true) throw cancelled(name);
      throw classifyPolicyError(error, `The policy server ${name}`, Date.now());
    }
  };
  return {
    root,
    name,
    get: (path, options = {}) => ask('get', path, undefined, options),
    post: (path, body, options = {}) => ask('post', path, body, options),
  };
}

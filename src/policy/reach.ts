import { FAILURE_TYPES } from '../domain/failures.ts';
import { createPolicyClient } from './client.ts';
import { isType } from './failures.ts';

export interface Reached {
  /** Why nothing can be asked of the server; null when it answers. */
  readonly problem: string | null;
  /** Models that it says it has; null when it does not say. */
  readonly models: readonly string[] | null;
}

/** Asks an OpenAI-compatible server once, before work begins, whether it answers, takes the key, and what it serves. */
export async function reach(server: string, apiKey?: string): Promise<Reached> {
  if (!/^https?:\/\//.test(server) || !URL.canParse(server))
    return {
      problem: `"${server}" is no address of a server; one looks like http://127.0.0.1:8000/v1.`,
      models: null,
    };
  try {
    return { problem: null, models: idsOf(await createPolicyClient(server, apiKey).get('/v1/models')) };
  } catch (error) {
    if (isType(error, FAILURE_TYPES.notFound)) return { problem: null, models: null }; // some list nothing
    return { problem: error instanceof Error ? error.message : String(error), models: null };
  }
}

function idsOf(answer: unknown): readonly string[] | null {
  const { data } = (answer ?? {}) as { readonly data?: unknown };
  if (!Array.isArray(data)) return null;
  return data.flatMap((one: { readonly id?: unknown } | null) =>
    typeof one?.id === 'string' ? [one.id] : [],
  );
}

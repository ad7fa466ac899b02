import { FAILURE_TYPES } from '../domain/failures.ts';
import { isType } from './failures.ts';
import { createVllmServer } from './vllm.ts';

/**
 * Names of the models that an OpenAI-compatible server lists, asked once before work begins; null where it lists none.
 * Throws the typed failure of a server that does not answer, or refuses the key.
 */
export async function listedModels(server: string, apiKey?: string): Promise<readonly string[] | null> {
  try {
    return (await createVllmServer(server, apiKey).models()).map(({ id }) => id);
  } catch (error) {
    if (isType(error, FAILURE_TYPES.notFound) || isType(error, FAILURE_TYPES.badAnswer)) return null;
    throw error;
  }
}

import { get, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { join } from 'node:path';
import { inject } from 'vitest';
import { createVllmServer } from '../../src/policy/vllm.ts';

/** The `rl` layer's one vLLM server, on a CPU, with a random model of two layers. */
export interface SharedVllm {
  readonly address: string;
  readonly servedModel: string;
  /** What makeTinyModel.py wrote. */
  readonly models: string;
  /** Python with torch and vLLM. */
  readonly python: string;
  /** Of the process group's leader. */
  readonly pid: number;
}

/**
 * The server, started now if nobody has asked before, or anew if it has ended. All files of the layer share it, one after
 * the other, and each finds it as it was started.
 */
export async function sharedVllm(): Promise<SharedVllm> {
  const url = inject('vllmStarter');
  if (url === null) throw new Error('Only tests of the layer `rl` have a vLLM server.');
  const { status, body } = await slowGet(url);
  if (status !== 200) throw new Error(body);
  const shared = JSON.parse(body) as SharedVllm;
  await restore(shared);
  return shared;
}

/** The base's weights, no adapter, and nothing paused: whatever the file before left. */
async function restore({ address, models }: SharedVllm): Promise<void> {
  const server = createVllmServer(address);
  await server.resume();
  for (const { id, parent } of await server.models()) if (parent !== null) await server.unloadAdapter(id);
  await server.pause('wait');
  await server.reloadWeights(join(models, 'full-0'));
  await server.resetPrefixCache();
  await server.setWeightVersion('default');
  await server.resume();
}

/** Without the five minutes after which `fetch` gives up: on a loaded machine a start can take longer. */
async function slowGet(url: string): Promise<{ readonly status: number | undefined; readonly body: string }> {
  const response = await new Promise<IncomingMessage>((resolve, reject) =>
    get(url, resolve).on('error', reject),
  );
  return { status: response.statusCode, body: await text(response) };
}

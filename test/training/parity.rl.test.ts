import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { PublishedVersion } from '../../src/domain/rl/messages.ts';
import type { TrainingSample } from '../../src/domain/rl/training.ts';
import { createPolicyServers } from '../../src/policy/servers.ts';
import type { PolicyServers } from '../../src/policy/types.ts';
import { createHttpTrainer } from '../../src/training/httpTrainer.ts';
import { startTrainer, type TrainerProcess } from '../../src/training/process.ts';
import { trainStep } from '../../src/training/trainStep.ts';
import type { TrainerBackend, TrainerConfig } from '../../src/training/types.ts';
import { sharedVllm, type SharedVllm } from '../support/vllm.ts';
import { batchOf, trainerPython } from './trainerParts.ts';

/** The trainer against a real vLLM: what one publishes the other serves, and both say the same of the same tokens. */
let shared: SharedVllm;
let root: string;
let trainer: TrainerProcess;
let backend: TrainerBackend;
let servers: PolicyServers;
const { signal } = new AbortController();
const PARITY = 1e-3;

beforeAll(async () => {
  shared = await sharedVllm();
  root = await mkdtemp(join(tmpdir(), 'rf-parity-'));
  trainer = await startTrainer({
    dir: join(root, 'trainer'),
    python: await trainerPython(),
    threads: 1,
    device: 'cpu',
  });
  backend = createHttpTrainer({ url: trainer.url });
  servers = createPolicyServers({ directory: join(root, 'policy'), log: pino({ level: 'silent' }) });
});
afterAll(async () => {
  await trainer?.stop();
  await rm(root, { recursive: true, force: true });
});

/** A fixed sequence, every token after the first a target. */
function probeSample(): TrainingSample {
  const [sample] = batchOf('probe', 99, 1).samples;
  if (sample === undefined) throw new Error('no probe');
  const positions = sample.tokenIds.slice(1).map((_token, at) => at + 1);
  return { ...sample, positions, logprobs: positions.map(() => 0) };
}

const QUESTION = [
  { role: 'user', content: 'if x == 3:\n    return "A" # what now?\n\n\n\tWhich patch solves it?' },
];

it('The trainer renders a conversation to the very tokens that vLLM does', async () => {
  const config: TrainerConfig = { base: join(shared.models, 'base'), lora: null, dtype: 'float32' };
  await backend.createModel({ run: 'render', config });
  const [ours] = await backend.render({ run: 'render', conversations: [QUESTION] });
  const response = await fetch(`${shared.address}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: shared.servedModel,
      messages: QUESTION,
      max_tokens: 1,
      return_token_ids: true,
    }),
  });
  const answer = (await response.json()) as { readonly prompt_token_ids: readonly number[] };
  expect(ours).toEqual(answer.prompt_token_ids);
});

it.each(['full', 'adapter'] as const)(
  'What the trainer publishes (%s) is what vLLM serves, before training and after two steps',
  async (delivery) => {
    const run = `parity-${delivery}`;
    const lora = delivery === 'adapter' ? { rank: 4, alpha: 8 } : null;
    const config: TrainerConfig = { base: join(shared.models, 'base'), lora, dtype: 'float32' };
    await backend.createModel({ run, config });
    const probe = probeSample();
    let previous: readonly number[] | null = null;
    for (const step of [0, 1, 2]) {
      if (step > 0) {
        const loss = { clipLow: 0.2, clipHigh: 0.28, tisCap: null, klCoefficient: 0, entropyCoefficient: 0 };
        await trainStep(backend, {
          run,
          config,
          step,
          batch: batchOf(run, step, 8),
          epochs: 1,
          learningRate: 1e-2,
          loss: { name: 'clipped_ratio', ...loss },
          samplesPerPart: 8,
        });
      }
      const [expected = []] = await backend.forward({ run, samples: [probe], step });
      const published = await backend.publish({ run, step });
      // an adapter that was not trained changes nothing: version 0 is the server's own model
      const base = delivery === 'adapter' && step === 0;
      const version: PublishedVersion = {
        version: step,
        model: delivery === 'full' || base ? shared.servedModel : published.name,
        path: base ? null : published.path,
        sha256: base ? null : published.sha256,
      };
      const deployed = await servers.deploy(
        {
          run,
          servers: [shared.address],
          delivery,
          servedModel: shared.servedModel,
          version,
          probe: { tokenIds: probe.tokenIds, expected, previous },
        },
        signal,
      );
      expect(deployed.parityMax).toBeLessThan(PARITY);
      expect(deployed.probe).toBe(step === 0 ? 'first' : 'distinct');
      previous = expected;
    }
    if (delivery === 'full') await restoreBase();
  },
);

/** All files of the layer share the server: it goes back to the weights that it began with. */
async function restoreBase(): Promise<void> {
  const run = 'parity-restored';
  const config: TrainerConfig = { base: join(shared.models, 'base'), lora: null, dtype: 'float32' };
  await backend.createModel({ run, config });
  const probe = probeSample();
  const [expected = []] = await backend.forward({ run, samples: [probe] });
  const { path, sha256 } = await backend.publish({ run, step: 0 });
  const version = { version: 0, model: shared.servedModel, path, sha256 };
  const where = {
    run,
    servers: [shared.address],
    delivery: 'full',
    servedModel: shared.servedModel,
  } as const;
  await servers.deploy(
    { ...where, version, probe: { tokenIds: probe.tokenIds, expected, previous: null } },
    signal,
  );
}

import { mkdir, mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createHttpTrainer } from '../../src/training/httpTrainer.ts';
import { startTrainer, type TrainerProcess } from '../../src/training/process.ts';
import { trainStep, withOpenRun } from '../../src/training/trainStep.ts';
import type { TrainerBackend, TrainerConfig } from '../../src/training/types.ts';
import { identify, isRunning } from '../../src/setup/processes.ts';
import { startHttpServer } from '../support/http.ts';
import { noSmallDisk, smallDisk, type SmallDisk } from '../support/smallDisk.ts';
import { batchOf, runTrainerProgram, trainerPython } from './trainerParts.ts';

/** The real service in a process of its own, with a real model, on a CPU. */
let root: string;
let disk: SmallDisk | null = null;
let python: string;
let base: string;
let trainer: TrainerProcess;
const DISK_BYTES = 256 * 2 ** 20;

const stateDir = (): string => join(disk?.dir ?? root, 'trainer');
const start = (): Promise<TrainerProcess> =>
  startTrainer({ dir: stateDir(), python, threads: 1, device: 'cpu' });
const backend = (): TrainerBackend => createHttpTrainer({ url: trainer.url });

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'rf-trainer-'));
  if (noSmallDisk() === undefined) disk = await smallDisk(DISK_BYTES);
  await mkdir(stateDir(), { recursive: true });
  python = await trainerPython();
  base = join(root, 'model');
  await runTrainerProgram(python, 'repoforge_trainer.tiny', ['--out', base]);
  trainer = await start();
});
afterAll(async () => {
  await trainer?.stop();
  await disk?.[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

const loss = {
  name: 'clipped_ratio',
  clipLow: 0.2,
  clipHigh: 0.28,
  tisCap: null,
  klCoefficient: 0,
  entropyCoefficient: 0.05,
} as const;
const full = (): TrainerConfig => ({ base, lora: null, dtype: 'float32' });

const requestOf = (run: string, step: number, more: Partial<Parameters<typeof trainStep>[1]> = {}) => ({
  run,
  config: full(),
  step,
  batch: batchOf(run, step, 12),
  epochs: 2,
  learningRate: 1e-3,
  loss,
  samplesPerPart: 4,
  ...more,
});

/** Ends the service as a crash does, and starts another on its files. */
async function crash(): Promise<void> {
  process.kill(trainer.pid, 'SIGKILL');
  await trainer.ended;
  trainer = await start();
}

describe('the trainer service', () => {
  it('trains a step, keeps it in its journal and publishes what it made', async () => {
    const result = await trainStep(backend(), requestOf('calm', 1));
    expect(result.again).toBe(false);
    expect(result.metrics).toMatchObject({
      tokens: 96,
      learning_rate: 1e-3,
      clip_fraction: expect.any(Number),
    });
    expect(result.metrics['gradient_norm']).toBeGreaterThan(0);
    expect(await trainStep(backend(), requestOf('calm', 1))).toEqual({ ...result, again: true });
    const version = await backend().publish({ run: 'calm', step: 1 });
    expect(version).toMatchObject({
      name: 'calm-v1',
      step: 1,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    const file = await stat(join(version.path, 'model.safetensors'));
    expect(file.mode & 0o004).toBe(0o004); // a server may be another user
    expect(file.size).toBeGreaterThan(5_500_000); // the output head is written beside the embeddings that it is tied to
    expect(await backend().health()).toMatchObject({ run: 'calm', busy: null, device: 'cpu' });
  });

  it('refuses another batch for a committed step, a step too far, and what was trained before', async () => {
    const other = batchOf('calm', 7, 12);
    const refused = (more: Parameters<typeof requestOf>[2], step = 1) =>
      expect(trainStep(backend(), requestOf('calm', step, more))).rejects;
    await refused({ batch: other }).toMatchObject({ kind: 'other_batch', nonRetryable: true });
    await refused({}, 3).toMatchObject({ kind: 'wrong_step', facts: { step: 1 } });
    await refused({ batch: batchOf('calm', 1, 12) }, 2).toMatchObject({ kind: 'already_trained' });
    await refused({ config: { ...full(), weightDecay: 0.1 } }).toMatchObject({ kind: 'other_config' });
    const bad = batchOf('calm', 2, 4, { positions: [0], logprobs: [-1] });
    await refused({ batch: bad }, 2).toMatchObject({ type: 'BadInput' });
  });

  it('renders a conversation as tokens that a longer one begins with', async () => {
    const asked = [{ role: 'user', content: 'Which patch solves it?' }];
    const answered = [...asked, { role: 'assistant', content: 'A' }];
    const later = [...answered, { role: 'user', content: 'Why?' }];
    const render = (conversations: (typeof asked)[], openAnswer: boolean) =>
      backend().render({ run: 'calm', conversations, openAnswer });
    const [prompt = []] = await render([asked], true);
    const [whole = [], more = []] = await render([answered, later], false);
    expect(whole.slice(0, prompt.length)).toEqual(prompt);
    expect(whole).toHaveLength(prompt.length + 2); // one token for the letter, one for the end
    expect(more.slice(0, whole.length)).toEqual(whole);
  });

  it('says that a loss is not finite, changes nothing, and goes on with a better batch', async () => {
    const before = await backend().forward({ run: 'calm', samples: batchOf('calm', 9, 2).samples, step: 1 });
    const wild = batchOf('calm', 2, 4, { advantage: 1e39 });
    await expect(trainStep(backend(), requestOf('calm', 2, { batch: wild }))).rejects.toMatchObject({
      kind: 'not_finite',
      type: 'Trainer.NotFinite',
    });
    expect(await backend().forward({ run: 'calm', samples: batchOf('calm', 9, 2).samples, step: 1 })).toEqual(
      before,
    );
    expect((await trainStep(backend(), requestOf('calm', 2))).again).toBe(false);
    expect((await backend().journal('calm')).map(({ step }) => step)).toEqual([1, 2]);
  });

  it('opens a run again for whoever comes back to it after another', async () => {
    const lora = { ...full(), lora: { rank: 4, alpha: 8 } };
    const [batch] = [batchOf('adapter', 1, 4)];
    const { metrics } = await trainStep(backend(), requestOf('adapter', 1, { config: lora, batch }));
    expect(metrics['tokens']).toBe(32);
    const adapter = await backend().publish({ run: 'adapter', step: 1 });
    await stat(join(adapter.path, 'adapter_model.safetensors'));
    await expect(backend().publish({ run: 'calm', step: 2 })).rejects.toMatchObject({ kind: 'no_run' });
    const publish = () => backend().publish({ run: 'calm', step: 2 });
    expect(await withOpenRun(backend(), { run: 'calm', config: full() }, publish)).toMatchObject({ step: 2 });
  });
});

describe('a trainer that is killed', () => {
  it('in the middle of a step, and between a commit and its answer, trains nothing twice and skips nothing', async () => {
    await trainStep(backend(), requestOf('hurt', 1));
    // in the second pass over the batch: the first one has changed the parameters already
    const middle = requestOf('hurt', 2, {
      onProgress: ({ epoch, part }) =>
        void (epoch === 1 && part === 1 && process.kill(trainer.pid, 'SIGKILL')),
    });
    await expect(trainStep(backend(), middle)).rejects.toMatchObject({ type: 'Infra', nonRetryable: false });
    await trainer.ended;
    trainer = await start();
    expect((await trainStep(backend(), requestOf('hurt', 2))).again).toBe(false);
    await loseTheAnswer(requestOf('hurt', 3));
    expect((await trainStep(backend(), requestOf('hurt', 3))).again).toBe(true);

    const journal = await backend().journal('hurt');
    expect(journal.map(({ step }) => step)).toEqual([1, 2, 3]);
    for (const { step, sampleIds } of journal)
      expect(sampleIds.toSorted()).toEqual(
        batchOf('hurt', step, 12)
          .samples.map(({ sampleId }) => sampleId)
          .toSorted(),
      );
    const hurt = await backend().publish({ run: 'hurt', step: 3 });
    for (const step of [1, 2, 3]) await trainStep(backend(), requestOf('steady', step));
    const steady = await backend().publish({ run: 'steady', step: 3 });
    expect(hurt.sha256).toBe(steady.sha256); // the very bytes of a run that nobody disturbed
  });
});

/** Takes a step through a gate that lets the last commit happen, kills the trainer, and passes no answer on. */
async function loseTheAnswer(request: ReturnType<typeof requestOf>): Promise<void> {
  await using gate = await startHttpServer(async ({ method, url, body }, response) => {
    const json = { 'content-type': 'application/json' };
    const answer = await fetch(`${trainer.url}${url}`, {
      method,
      headers: json,
      ...(method === 'GET' ? {} : { body }),
    });
    const text = await answer.text();
    if (url === '/optim_step' && (JSON.parse(text) as { committed?: boolean }).committed === true) {
      await crash();
      response.destroy();
    } else response.writeHead(answer.status, json).end(text);
  });
  const behind = createHttpTrainer({ url: gate.url });
  await expect(trainStep(behind, request)).rejects.toMatchObject({ type: 'Infra' });
}

/** Writes until nothing more fits. */
async function fill(file: string): Promise<void> {
  const handle = await open(file, 'w');
  try {
    for (let bytes = 2 ** 20; bytes >= 4_096;)
      await handle.appendFile(Buffer.alloc(bytes)).catch(() => (bytes /= 2));
  } finally {
    await handle.close();
  }
}

describe('a trainer whose disk is full', () => {
  it('says so, loses nothing, and goes on when there is room', async ({ skip }) => {
    skip(disk === null, noSmallDisk());
    await trainStep(backend(), requestOf('tight', 1));
    const filler = join(disk?.dir ?? '', 'filler');
    await fill(filler);
    await expect(trainStep(backend(), requestOf('tight', 2))).rejects.toMatchObject({
      kind: 'no_disk',
      type: 'Infra.TrainerDisk',
      nonRetryable: false,
    });
    await expect(backend().publish({ run: 'tight', step: 1 })).rejects.toMatchObject({ kind: 'no_disk' });
    await rm(filler);
    expect((await trainStep(backend(), requestOf('tight', 2))).again).toBe(false);
    expect((await backend().publish({ run: 'tight', step: 2 })).step).toBe(2);
    expect((await backend().journal('tight')).map(({ step }) => step)).toEqual([1, 2]);
  });
});

it('A second trainer is refused the same directory, and one that is stopped leaves no process behind', async () => {
  const who = identify(trainer.pid);
  expect(who !== null && isRunning(who)).toBe(true);
  await expect(start()).rejects.toThrow(
    /A trainer works in .* already \(pid \d+, port \d+\), started by process \d+/,
  );
  await trainer.stop();
  expect(who !== null && isRunning(who)).toBe(false);
});

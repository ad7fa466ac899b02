import { describe, expect, it } from 'vitest';
import { infraFailure } from '../../src/domain/failures.ts';
import type { TrainingBatch, TrainingSample } from '../../src/domain/rl/training.ts';
import { TrainerRefused } from '../../src/training/refusals.ts';
import { trainStep, withOpenRun } from '../../src/training/trainStep.ts';
import type { TrainerBackend } from '../../src/training/types.ts';

const samples: readonly TrainingSample[] = ['a', 'b', 'c', 'd', 'e'].map((sampleId) => ({
  sampleId,
  tokenIds: [1, 2],
  positions: [1],
  logprobs: [-1],
  advantage: 1,
  weight: 0.2,
  temperature: 1,
  oldestVersion: 0,
  newestVersion: 0,
}));
const batch: TrainingBatch = { schema: 1, run: 'r', step: 1, samples };
const config = { base: '/model', lora: null, dtype: 'float32' } as const;
const request = {
  run: 'r',
  config,
  step: 1,
  batch,
  epochs: 2,
  learningRate: 1e-3,
  loss: { name: 'cross_entropy' },
  samplesPerPart: 2,
} as const;

/** Follows the trainer's rules in memory, notes what it was asked, and has one accident per entry of `accidents`. */
class RuleTrainer implements Partial<TrainerBackend> {
  readonly asked: string[] = [];
  readonly committed = new Map<
    number,
    { readonly batchHash: string; readonly sampleIds: readonly string[] }
  >();
  private open = false;
  private incarnation = 1;
  private epoch = 0;
  private parts = new Map<number, readonly string[]>();
  private readonly accidents: [string, () => unknown][];

  constructor(accidents: readonly (readonly [string, (trainer: RuleTrainer) => unknown])[] = []) {
    this.accidents = accidents.map(([when, what]) => [when, () => what(this)]);
  }

  /** A new process: only what was committed is known. */
  die(): void {
    this.open = false;
    this.incarnation += 1;
    this.forget();
  }

  forget(...parts: readonly number[]): void {
    for (const part of parts) this.parts.delete(part);
    if (parts.length > 0) return;
    this.parts.clear();
    this.epoch = 0;
  }

  private note(what: string): void {
    this.asked.push(what);
    const [accident] = this.accidents;
    if (accident?.[0] !== what) return;
    this.accidents.shift();
    accident[1]();
  }

  private require(): void {
    if (!this.open) throw new TrainerRefused('no_run', 'not open');
  }

  createModel: TrainerBackend['createModel'] = async ({ anew }) => {
    this.note(anew === true ? 'open anew' : 'open');
    if (anew === true) this.forget();
    this.open = true;
    return { incarnation: String(this.incarnation), step: this.committed.size, versions: [] };
  };

  forwardBackward: TrainerBackend['forwardBackward'] = async ({ epoch, part, samples: sent }) => {
    this.note(`part ${epoch}/${part}`);
    this.require();
    if (epoch !== this.epoch) throw new TrainerRefused('wrong_epoch', 'begin again');
    this.parts.set(
      part,
      sent.map(({ sampleId }) => sampleId),
    );
    return { incarnation: String(this.incarnation), hash: `hash ${part}` };
  };

  optimStep: TrainerBackend['optimStep'] = async ({ step, epoch, parts, sampleIds, batchHash, final }) => {
    this.note(`step ${step}/${epoch}`);
    this.require();
    const incarnation = String(this.incarnation);
    const known = this.committed.get(step);
    if (known !== undefined) {
      if (known.batchHash !== batchHash) throw new TrainerRefused('other_batch', 'with another batch');
      return { incarnation, committed: true, again: true, metrics: { loss: step } };
    }
    const missing = Object.keys(parts).filter((part) => !this.parts.has(Number(part)));
    if (missing.length > 0 || Object.keys(parts).length === 0)
      throw new TrainerRefused('parts_missing', 'send them', { parts: missing.map(Number) });
    expect([...this.parts.values()].flat().toSorted()).toEqual(sampleIds.toSorted());
    this.parts.clear();
    this.epoch += 1;
    if (!final) return { incarnation, committed: false, again: false, metrics: { loss: 0 } };
    this.epoch = 0;
    this.committed.set(step, { batchHash, sampleIds });
    this.note('committed');
    return { incarnation, committed: true, again: false, metrics: { loss: step } };
  };
}

const backendOf = (trainer: RuleTrainer): TrainerBackend => trainer as unknown as TrainerBackend;
const cut = (): never => {
  throw infraFailure('the connection was cut');
};

describe('a step of training', () => {
  it('sends the batch in parts, pass after pass, and commits with the last', async () => {
    const trainer = new RuleTrainer();
    const result = await trainStep(backendOf(trainer), request);
    expect(result).toEqual({ metrics: { loss: 1 }, again: false });
    const passes = [0, 1].flatMap((epoch) => [
      ...[0, 1, 2].map((part) => `part ${epoch}/${part}`),
      `step 1/${epoch}`,
    ]);
    expect(trainer.asked).toEqual(['open', ...passes, 'committed']);
  });

  it('that was committed is answered with its metrics and sends nothing', async () => {
    const trainer = new RuleTrainer();
    const first = await trainStep(backendOf(trainer), request);
    trainer.asked.length = 0;
    expect(await trainStep(backendOf(trainer), request)).toEqual({ ...first, again: true });
    expect(trainer.asked).toEqual(['open', 'step 1/1']);
    const other = { ...batch, samples: samples.slice(1) };
    await expect(trainStep(backendOf(trainer), { ...request, batch: other })).rejects.toMatchObject({
      kind: 'other_batch',
    });
  });

  it('sends again what the trainer lost, and only that', async () => {
    const trainer = new RuleTrainer([['step 1/0', (one) => one.forget(1)]]);
    await trainStep(backendOf(trainer), request);
    expect(trainer.asked.slice(0, 8)).toEqual([
      'open',
      'part 0/0',
      'part 0/1',
      'part 0/2',
      'step 1/0',
      'part 0/1',
      'step 1/0',
      'part 1/0',
    ]);
  });

  it.each([
    ['between the parts of the first pass', 'part 0/1'],
    ['before the first pass was taken', 'step 1/0'],
    ['between the parts of the second pass', 'part 1/2'],
    ['before the last pass was taken', 'step 1/1'],
  ])('begins anew when the trainer died %s', async (_when, place) => {
    const trainer = new RuleTrainer([[place, (one) => one.die()]]);
    const { again } = await trainStep(backendOf(trainer), request);
    expect(again).toBe(false);
    expect(trainer.asked.filter((one) => one.startsWith('open'))).toEqual(['open', 'open anew']);
    expect(trainer.committed.get(1)?.sampleIds).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  it('is not taken twice when the answer to its commit was lost', async () => {
    const trainer = new RuleTrainer([['committed', cut]]);
    await expect(trainStep(backendOf(trainer), request)).rejects.toThrow('the connection was cut');
    expect(await trainStep(backendOf(trainer), request)).toEqual({ metrics: { loss: 1 }, again: true });
    expect(trainer.committed.size).toBe(1);
  });

  it('gives up for now when the trainer is started again and again', async () => {
    const deaths = Array.from({ length: 9 }, () => ['part 0/0', (one: RuleTrainer) => one.die()] as const);
    await expect(trainStep(backendOf(new RuleTrainer(deaths)), request)).rejects.toThrow(/was begun 5 times/);
  });

  it('does not try what no retry mends', async () => {
    const trainer = new RuleTrainer([
      [
        'step 1/0',
        () => {
          throw new TrainerRefused('not_finite', 'loss NaN');
        },
      ],
    ]);
    await expect(trainStep(backendOf(trainer), request)).rejects.toMatchObject({ kind: 'not_finite' });
    expect(trainer.asked.filter((one) => one === 'open')).toHaveLength(1);
  });

  it('tells of its progress, for heartbeats', async () => {
    const seen: string[] = [];
    const onProgress = ({ epoch, part }: { epoch: number; part: number }): void =>
      void seen.push(`${epoch}/${part}`);
    await trainStep(backendOf(new RuleTrainer()), { ...request, epochs: 1, onProgress });
    expect(seen).toEqual(['0/0', '0/1', '0/2', '0/3']);
  });
});

it('A run that is not open is opened for whoever needs it open, once', async () => {
  const trainer = new RuleTrainer();
  const ask = async (): Promise<string> => {
    const { metrics } = await trainer.optimStep({
      run: 'r',
      step: 1,
      epoch: 0,
      parts: { 0: 'x' },
      sampleIds: [],
      batchHash: 'x',
      learningRate: 1,
      final: true,
    });
    return String(metrics['loss']);
  };
  await expect(withOpenRun(backendOf(trainer), { run: 'r', config }, ask)).rejects.toMatchObject({
    kind: 'parts_missing',
  });
  expect(trainer.asked).toEqual(['step 1/0', 'open', 'step 1/0']);
});

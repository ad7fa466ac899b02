import type { TrainingSample } from '../domain/rl/training.ts';
import { trainStep } from './trainStep.ts';
import type { TrainerBackend, TrainerConfig, TrainerMetrics } from './types.ts';

/** A token that is to be learned: its place, and how much it weighs. */
export interface SupervisedSample {
  /** Unique within its step. */
  readonly id: string;
  readonly tokenIds: readonly number[];
  /** Places of the tokens that are learned, from 1. */
  readonly positions: readonly number[];
  /** Factor of the loss of each of its tokens. */
  readonly weight: number;
}

export interface SuperviseRequest {
  readonly run: string;
  readonly config: TrainerConfig;
  readonly steps: number;
  readonly learningRate: (step: number) => number;
  readonly samplesPerPart: number;
  /** Samples of a step; the same step always gives the same. */
  readonly batchOf: (step: number) => Promise<readonly SupervisedSample[]> | readonly SupervisedSample[];
  readonly onStep?: (step: number, metrics: TrainerMetrics) => void;
  readonly signal?: AbortSignal;
}

export interface LossPoint {
  readonly step: number;
  /** Sum over the step's tokens of weight × −log p: a mean where the weights add up to 1. */
  readonly loss: number;
}

/**
 * Supervised steps on a trainer: cross-entropy, one pass over each step's batch. Goes on where the run's journal ends, so a
 * call that was cut is simply made again. Returns the losses of all steps, earlier calls' included.
 */
export async function supervise(
  backend: TrainerBackend,
  request: SuperviseRequest,
): Promise<readonly LossPoint[]> {
  const { run, config, steps, samplesPerPart } = request;
  const signal = request.signal === undefined ? {} : { signal: request.signal };
  const { step: done } = await backend.createModel({ run, config, anew: true, ...signal });
  for (let step = done + 1; step <= steps; step += 1) {
    const samples = (await request.batchOf(step)).map((sample) => trainingSample(step, sample));
    const { metrics } = await trainStep(backend, {
      run,
      config,
      step,
      samplesPerPart,
      ...signal,
      batch: { schema: 1, run, step, samples },
      epochs: 1,
      learningRate: request.learningRate(step),
      loss: { name: 'cross_entropy' },
    });
    request.onStep?.(step, metrics);
  }
  const journal = await backend.journal(run, request.signal);
  return journal.map(({ step, metrics }) => ({ step, loss: metrics['loss'] ?? Number.NaN }));
}

/** A sample is trained once in a run: what comes again in a later step has another name. */
const trainingSample = (
  step: number,
  { id, tokenIds, positions, weight }: SupervisedSample,
): TrainingSample => ({
  sampleId: `${step}/${id}`,
  tokenIds,
  positions,
  logprobs: positions.map(() => 0), // nobody sampled them
  advantage: 1,
  weight,
  temperature: 1,
  oldestVersion: 0,
  newestVersion: 0,
});

import { hashOf } from '../domain/canonical.ts';
import { drawsOf } from '../domain/draws.ts';
import { shuffled } from '../domain/shuffled.ts';
import type { SftExample } from './sftFile.ts';
import { supervise, type LossPoint, type SupervisedSample } from './supervise.ts';
import { withOpenRun } from './trainStep.ts';
import type { TrainerBackend, TrainerConfig, TrainerVersion } from './types.ts';

export interface SftRequest {
  /** Name of the run at the trainer; the same one goes on where it was. */
  readonly run: string;
  readonly config: TrainerConfig;
  readonly examples: readonly SftExample[];
  readonly steps: number;
  /** Examples of one step. */
  readonly batchSize: number;
  /** Reached after a tenth of the steps, then falling to a tenth of it along a cosine. */
  readonly learningRate: number;
  readonly seed: number;
  readonly onStep?: (point: LossPoint) => void;
  readonly signal?: AbortSignal;
}

export interface SftResult {
  /** Mean cross-entropy of each step's tokens, in nats. */
  readonly losses: readonly LossPoint[];
  readonly version: TrainerVersion;
}

/**
 * Supervised training on exact tokens, as a run of the trainer: journalled, resumable, published at its end. Samples with one
 * prompt (several answers to it, with their weights) are forwarded once where they come into one step.
 */
export async function runSft(backend: TrainerBackend, request: SftRequest): Promise<SftResult> {
  const { run, config, examples, steps, batchSize, seed } = request;
  if (examples.length === 0) throw new Error('There are no examples to train on.');
  const signal = request.signal === undefined ? {} : { signal: request.signal };
  const order = orderOf(examples, seed);
  const losses = await supervise(backend, {
    run,
    config,
    steps,
    ...signal,
    samplesPerPart: batchSize,
    learningRate: (step) => request.learningRate * scheduled(step, steps),
    batchOf: (step) => batchOf(order, step, batchSize),
    onStep: (step, { loss = Number.NaN }) => request.onStep?.({ step, loss }),
  });
  const publish = () => backend.publish({ run, step: steps, ...signal });
  return { losses, version: await withOpenRun(backend, { run, config, ...signal }, publish) };
}

/** Part of a run's name: what is trained with what. Another file or setting is another run. */
export const sftRunName = ({
  examples,
  config,
  steps,
  batchSize,
  learningRate,
  seed,
}: Omit<SftRequest, 'run'>): string =>
  `sft-${hashOf({ examples: examples.map((example) => hashOf(example)), config, steps, batchSize, learningRate, seed }).slice(0, 16)}`;

/** The example at a place of an endless row: every pass over all examples has an order of its own. */
function orderOf(examples: readonly SftExample[], seed: number): (place: number) => SftExample | undefined {
  let known = { pass: -1, order: [] as readonly SftExample[] };
  return (place) => {
    const pass = Math.floor(place / examples.length);
    if (pass !== known.pass) known = { pass, order: shuffled(examples, drawsOf(`sft ${seed} ${pass}`)) };
    return known.order[place % examples.length];
  };
}

/** Weights make the loss a mean over the step's tokens. */
function batchOf(
  order: (place: number) => SftExample | undefined,
  step: number,
  size: number,
): readonly SupervisedSample[] {
  const drawn = Array.from({ length: size }, (_none, at) => order((step - 1) * size + at)).flatMap(
    (one) => one ?? [],
  );
  const total = drawn.reduce((sum, { weight, positions }) => sum + weight * positions.length, 0);
  return drawn.map(({ id, tokenIds, positions, weight }, at) => ({
    id: `${at}/${id}`,
    tokenIds,
    positions,
    weight: weight / total,
  }));
}

const WARM_UP_SHARE = 0.1;
const FLOOR = 0.1;

/** Factor of the learning rate. */
export function scheduled(step: number, steps: number): number {
  const warmUp = Math.max(1, Math.round(steps * WARM_UP_SHARE));
  if (step <= warmUp) return step / warmUp;
  const done = (step - warmUp) / Math.max(1, steps - warmUp);
  return FLOOR + (1 - FLOOR) * 0.5 * (1 + Math.cos(Math.PI * done));
}

import { createHash } from 'node:crypto';
import { infraFailure } from '../domain/failures.ts';
import { canonicalJson } from '../domain/canonical.ts';
import type { TrainingBatch, TrainingSample } from '../domain/rl/training.ts';
import { BEGIN_ANEW, isRefusal } from './refusals.ts';
import type { TrainerBackend, TrainerConfig, TrainerLoss, TrainerMetrics } from './types.ts';

export interface TrainStepRequest {
  readonly run: string;
  readonly config: TrainerConfig;
  /** From 1. */
  readonly step: number;
  readonly batch: TrainingBatch;
  /** Passes over the batch. */
  readonly epochs: number;
  readonly learningRate: number;
  readonly loss: TrainerLoss;
  readonly samplesPerPart: number;
  readonly signal?: AbortSignal;
  /** Called after each part and each pass; for heartbeats. */
  readonly onProgress?: (done: { readonly epoch: number; readonly part: number }) => void;
}

export interface TrainStepResult {
  readonly metrics: TrainerMetrics;
  /** The step had been committed before this call, with this very batch. */
  readonly again: boolean;
}

const MAX_STARTS = 5; // of one call; whoever called tries again later

/**
 * Takes one step of a run, or returns the metrics of one that was taken: opens the run where it is not open, sends the
 * batch in parts, pass after pass, and has the last pass committed. Safe to call again at any moment, also beside a call
 * that still runs: parts that are there are not added twice, and a trainer that forgot some (a new process, another
 * caller) is sent them again.
 * Throws `TrainerRefused` (`other_batch` when the step was committed with another batch, `not_finite`, `no_disk`,
 * `wrong_step`, …), or an Infra failure when the trainer cannot be reached or is started again and again.
 */
export async function trainStep(
  backend: TrainerBackend,
  request: TrainStepRequest,
): Promise<TrainStepResult> {
  const batchHash = hashOfBatch(request.batch);
  for (let start = 0; start < MAX_STARTS; start += 1) {
    const { run, config, signal } = request;
    const { step } = await backend.createModel({ run, config, anew: start > 0, ...signalOf(signal) });
    try {
      if (step >= request.step) return await committedStep(backend, request, batchHash);
      return await passes(backend, request, batchHash);
    } catch (error) {
      if (!isRefusal(error, ...BEGIN_ANEW)) throw error;
    }
  }
  throw infraFailure(
    `Step ${request.step} of ${request.run} was begun ${MAX_STARTS} times and undone by the trainer each time: is it started again and again, or trained by two at once?`,
  );
}

/** Digest of everything that is trained, equal for equal batches. */
const hashOfBatch = ({ samples }: TrainingBatch): string =>
  createHash('sha256').update(canonicalJson(samples)).digest('hex');

const signalOf = (signal: AbortSignal | undefined): { readonly signal?: AbortSignal } =>
  signal === undefined ? {} : { signal };

async function committedStep(
  backend: TrainerBackend,
  request: TrainStepRequest,
  batchHash: string,
): Promise<TrainStepResult> {
  const { metrics } = await takeStep(backend, request, batchHash, {}, request.epochs - 1);
  return { metrics, again: true };
}

async function passes(
  backend: TrainerBackend,
  request: TrainStepRequest,
  batchHash: string,
): Promise<TrainStepResult> {
  const parts = partsOf(request.batch.samples, request.samplesPerPart);
  let metrics: TrainerMetrics = {};
  for (let epoch = 0; epoch < request.epochs; epoch += 1) {
    const hashes = await sendParts(backend, request, epoch, parts);
    const taken = await stepWithRepeats(backend, request, batchHash, hashes, epoch, parts);
    if (taken.again) return { metrics: taken.metrics, again: true }; // another caller was faster
    metrics = taken.metrics;
    request.onProgress?.({ epoch, part: parts.length });
  }
  return { metrics, again: false };
}

function partsOf(samples: readonly TrainingSample[], size: number): readonly (readonly TrainingSample[])[] {
  const count = Math.ceil(samples.length / size);
  return Array.from({ length: count }, (_none, at) => samples.slice(at * size, (at + 1) * size));
}

async function sendParts(
  backend: TrainerBackend,
  request: TrainStepRequest,
  epoch: number,
  parts: readonly (readonly TrainingSample[])[],
  only?: ReadonlySet<number>,
): Promise<Record<number, string>> {
  const hashes: Record<number, string> = {};
  for (const [part, samples] of parts.entries()) {
    if (only !== undefined && !only.has(part)) continue;
    const { run, step, loss, signal } = request;
    const sent = await backend.forwardBackward({
      run,
      step,
      epoch,
      part,
      samples,
      loss,
      ...signalOf(signal),
    });
    hashes[part] = sent.hash;
    request.onProgress?.({ epoch, part });
  }
  return hashes;
}

/** Parts that the trainer says it lost are sent once more; when that does not help, the step begins anew. */
async function stepWithRepeats(
  backend: TrainerBackend,
  request: TrainStepRequest,
  batchHash: string,
  hashes: Readonly<Record<number, string>>,
  epoch: number,
  parts: readonly (readonly TrainingSample[])[],
): ReturnType<typeof takeStep> {
  try {
    return await takeStep(backend, request, batchHash, hashes, epoch);
  } catch (error) {
    if (!isRefusal(error, 'parts_missing')) throw error;
    const missing = new Set((error.facts['parts'] as readonly number[] | undefined) ?? parts.keys());
    const again = await sendParts(backend, request, epoch, parts, missing);
    return takeStep(backend, request, batchHash, { ...hashes, ...again }, epoch);
  }
}

function takeStep(
  backend: TrainerBackend,
  { run, step, epochs, learningRate, batch, signal }: TrainStepRequest,
  batchHash: string,
  parts: Readonly<Record<number, string>>,
  epoch: number,
): ReturnType<TrainerBackend['optimStep']> {
  const sampleIds = batch.samples.map(({ sampleId }) => sampleId);
  const final = epoch === epochs - 1;
  return backend.optimStep({
    run,
    step,
    epoch,
    parts,
    sampleIds,
    batchHash,
    learningRate,
    final,
    ...signalOf(signal),
  });
}

/** Does something with an open run; opens it first where the trainer says that it is not. */
export async function withOpenRun<T>(
  backend: TrainerBackend,
  { run, config, signal }: Pick<TrainStepRequest, 'run' | 'config' | 'signal'>,
  use: () => Promise<T>,
): Promise<T> {
  try {
    return await use();
  } catch (error) {
    if (!isRefusal(error, 'no_run')) throw error;
    await backend.createModel({ run, config, ...signalOf(signal) });
    return use();
  }
}

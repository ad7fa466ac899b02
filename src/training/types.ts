import type { LoraSettings, LossSettings, RlOptions } from '../domain/rl/options.ts';
import type { TrainingSample } from '../domain/rl/training.ts';

/**
 * What a trainer does for us, in verbs shaped like Tinker's. Each is safe to repeat: a part that is there is not added
 * again, a committed step is answered with its metrics, a published version is named again.
 *
 * There is no save and no load: `optimStep` of a step's last epoch writes the checkpoint and the journal as one, and
 * `createModel` takes up a run where its journal ends. Whatever lies between two committed steps is done again.
 *
 * Every verb throws `TrainerRefused` where the trainer's state does not allow it, an Infra failure where the trainer
 * cannot be reached or fails, and a permanent one where the request has no meaning.
 */
export interface TrainerBackend {
  /** Loads a run's last committed step, or the model that it begins with; a run that is open stays as it is. */
  createModel(request: {
    readonly run: string;
    readonly config: TrainerConfig;
    /** Drops what was gathered for the step under way, if the run is open. */
    readonly anew?: boolean;
    readonly signal?: AbortSignal;
  }): Promise<OpenedModel>;
  /** Adds the gradients of a part of a step's batch. They are lost when the trainer dies: its incarnation tells. */
  forwardBackward(request: {
    readonly run: string;
    /** From 1. */
    readonly step: number;
    /** Pass over the step's batch, from 0. */
    readonly epoch: number;
    readonly part: number;
    readonly samples: readonly TrainingSample[];
    readonly loss: TrainerLoss;
    readonly signal?: AbortSignal;
  }): Promise<ForwardBackwardResult>;
  /** Takes the step from the named parts; on the last pass it is committed. */
  optimStep(request: {
    readonly run: string;
    readonly step: number;
    readonly epoch: number;
    /** Hash of each part, as `forwardBackward` answered it; empty when only asking for a committed step. */
    readonly parts: Readonly<Record<number, string>>;
    readonly sampleIds: readonly string[];
    /** Stands for the whole batch: a committed step is never taken with another one. */
    readonly batchHash: string;
    readonly learningRate: number;
    readonly final: boolean;
    readonly signal?: AbortSignal;
  }): Promise<OptimStepResult>;
  /** Log-probabilities of each sample's sampled tokens under the present parameters; with `step`, only under that step's. */
  forward(request: {
    readonly run: string;
    readonly samples: readonly TrainingSample[];
    readonly step?: number;
    readonly signal?: AbortSignal;
  }): Promise<readonly (readonly number[])[]>;
  /** Writes what servers load for the present step: an adapter, or a whole model with its output head. */
  publish(request: {
    readonly run: string;
    readonly step: number;
    readonly signal?: AbortSignal;
  }): Promise<TrainerVersion>;
  /** Removes a version's files. Only when no server can be asked for it any more. */
  removeVersion(request: {
    readonly run: string;
    readonly step: number;
    readonly signal?: AbortSignal;
  }): Promise<void>;
  /** Token ids of conversations, by the chat template of the run's model. */
  render(request: {
    readonly run: string;
    readonly conversations: readonly (readonly RenderedMessage[])[];
    /** With what an answer begins with, as a server that is to answer renders it: the default. */
    readonly openAnswer?: boolean;
    readonly signal?: AbortSignal;
  }): Promise<readonly (readonly number[])[]>;
  /** Every committed step of a run, with its samples. */
  journal(run: string, signal?: AbortSignal): Promise<readonly JournalStep[]>;
  /** Answers while work is under way, too. */
  health(signal?: AbortSignal): Promise<TrainerHealth>;
}

export interface RenderedMessage {
  readonly role: string;
  readonly content: string;
}

/** What a run is from its first step to its last; the trainer refuses another one under the same name. */
export interface TrainerConfig {
  /** Directory of the model that training begins with, as the trainer sees it. */
  readonly base: string;
  /** null: all parameters are trained. */
  readonly lora:
    | (LoraSettings & { readonly seed?: number; readonly targetModules?: string | readonly string[] })
    | null;
  readonly dtype: 'float32' | 'bfloat16';
  readonly gradientCheckpointing?: boolean;
  readonly weightDecay?: number;
  readonly maxGradientNorm?: number;
  /** Padded tokens of one forward pass. */
  readonly tokensAtOnce?: number;
}

/** `cross_entropy` (supervised) takes only weights; the settings belong to `clipped_ratio`. */
export type TrainerLoss =
  | { readonly name: 'cross_entropy' }
  | ({ readonly name: 'clipped_ratio' } & LossSettings);

export interface OpenedModel {
  /** A new one: all that was not committed is gone. */
  readonly incarnation: string;
  /** The step that was committed last; 0 for none. */
  readonly step: number;
  /** Those of which the files that servers load are there. */
  readonly versions: readonly number[];
}

export interface ForwardBackwardResult {
  readonly incarnation: string;
  readonly hash: string;
}

/** loss, tokens, clip_fraction, entropy, mismatch_kl, mismatch_max, kl, log_mass_min, gradient_norm, learning_rate. */
export type TrainerMetrics = Readonly<Record<string, number>>;

export interface OptimStepResult {
  readonly incarnation: string;
  readonly committed: boolean;
  /** It was committed before, and nothing was done now. */
  readonly again: boolean;
  readonly metrics: TrainerMetrics;
}

export interface TrainerVersion {
  /** `<run>-v<step>` */
  readonly name: string;
  readonly path: string;
  /** Of the list of its files with their hashes. */
  readonly sha256: string;
  readonly step: number;
}

export interface JournalStep {
  readonly step: number;
  readonly batchHash: string;
  readonly metrics: TrainerMetrics;
  readonly committedMs: number;
  readonly sampleIds: readonly string[];
}

export interface TrainerHealth {
  readonly incarnation: string;
  readonly run: string | null;
  /** The verb under way; null when idle. */
  readonly busy: string | null;
  readonly device: string;
}

/** How a reinforcement-learning run is opened at the trainer. */
export const trainerConfigOf = (
  { lora, dtype, seed }: Pick<RlOptions, 'lora' | 'dtype' | 'seed'>,
  model: string,
): TrainerConfig => ({
  base: model,
  lora: lora === null ? null : { ...lora, seed },
  dtype,
  gradientCheckpointing: dtype === 'bfloat16', // long episodes on a GPU; a tiny model is slower with it
});

import type { ArtefactRef } from '../types.ts';

/** What a reinforcement-learning run is told: every number of it, with its default in `presets.ts`. Pure. */

export type AgentName = 'selector' | 'coder';

/** Bounds of one episode. */
export interface EpisodeBudget {
  readonly maxTurns: number;
  /** Prompt and answer tokens of the longest request. */
  readonly maxTokens: number;
  readonly maxTokensPerTurn: number;
  readonly maxWallMs: number;
}

export type PolicyChoice =
  /** Every turn is sampled with the version that was the newest when the group was dispatched. */
  | 'pinned'
  /** Each turn takes the newest. */
  | 'latest';

export interface LoraSettings {
  readonly rank: number;
  readonly alpha: number;
}

export interface LossSettings {
  readonly clipLow: number;
  readonly clipHigh: number;
  /** Cap of truncated importance sampling; null: the ratio is against the recorded log-probabilities. */
  readonly tisCap: number | null;
  readonly klCoefficient: number;
  readonly entropyCoefficient: number;
}

export interface RlOptions {
  readonly agent: AgentName;
  /** Steps after which the run is done. */
  readonly steps: number;
  /** B: groups that one step trains. */
  readonly groupsPerStep: number;
  /** G: episodes of one prompt. */
  readonly groupSize: number;
  /** Groups in flight at once. */
  readonly width: number;
  /** S: at most so many versions lie between what sampled a token and what trains on it. */
  readonly maxStaleness: number;
  /** `wait`: a step waits for whatever would exceed S. `drop`: such groups are dropped, and counted with their bias. */
  readonly stale: 'wait' | 'drop';
  readonly policy: PolicyChoice;
  readonly temperature: number;
  readonly budget: EpisodeBudget;
  /** Divide advantages by the group's standard deviation. */
  readonly normaliseAdvantages: boolean;
  /** Episodes that a budget ended are masked in the loss. */
  readonly filterOverlong: boolean;
  /** Passes over a step's batch. */
  readonly epochs: number;
  readonly learningRate: number;
  readonly loss: LossSettings;
  /** null: all parameters are trained. */
  readonly lora: LoraSettings | null;
  readonly dtype: 'float32' | 'bfloat16';
  /** Samples of one part that is sent to the trainer. */
  readonly samplesPerPart: number;
  /** Steps between scores of the held-out instances; null for never. */
  readonly evaluateEvery: number | null;
  /** The mean reward over the last `stopWindow` steps that ends the run early; null for none. */
  readonly stopAtReward: number | null;
  readonly stopWindow: number;
  /** Batches in a row of which no group had variance, after which the run gives up. */
  readonly maxEmptyBatches: number;
  /** How often groups that should have ended are looked up. */
  readonly reconcileMs: number;
  /** Steps of one run of the workflow, before it continues as new. */
  readonly stepsPerRun: number;
  readonly seed: number;
  /** `selector`: candidates of a group in a drawn order, or in one order for each instance. */
  readonly candidateOrder: 'shuffled' | 'fixed';
  /** A control: rewards are permuted among the episodes of each batch, so that nothing can be learned. */
  readonly permuteRewards: boolean;
}

/** What a run is about, as an artefact. */
export interface RlManifest {
  readonly schema: 1;
  readonly run: string;
  /** Path of the dataset, for the reports. */
  readonly dataset: string;
  readonly prompts: readonly RlPrompt[];
  readonly heldOut: readonly RlPrompt[];
  /** Base addresses of the policy servers, e.g. `http://127.0.0.1:8000`. */
  readonly servers: readonly string[];
  readonly trainer: string;
  /** Directory of the model that training begins with, as the trainer and the servers see it. */
  readonly model: string;
  /** Name under which the servers serve it. */
  readonly servedModel: string;
}

export interface RlPrompt {
  readonly instanceId: string;
  readonly row: ArtefactRef;
  readonly provenCanaries: ArtefactRef | null;
  /** `selector`: JSON artefact of `SelectorTask`. */
  readonly task: ArtefactRef | null;
}

/** A run of rollouts outside of training: `repoforge rollout run`. Its manifest, and what its workflow says and hears. Pure. */
import { nameProblem } from '../ids.ts';
import { widthProblem } from '../messages.ts';
import { isWholeNumber } from '../numbers.ts';
import type { ArtefactRef } from '../types.ts';
import type { AgentName, EpisodeBudget, RlPrompt } from './options.ts';
import type { PassAtK } from './passAtK.ts';

/** What is played, as an artefact: each instance `attempts` times. */
export interface RolloutsManifest {
  readonly schema: 1;
  readonly run: string;
  readonly createdAt: string;
  /** Path of the dataset, for the reports. */
  readonly dataset: string;
  readonly agent: AgentName;
  /** Name of the model at the servers; written into predictions. */
  readonly model: string;
  /** Model that chooses one of each instance's patches; null: the first is taken. */
  readonly selectModel: string | null;
  readonly attempts: number;
  readonly temperature: number;
  readonly budget: EpisodeBudget;
  readonly seed: number;
  readonly instances: readonly RlPrompt[];
}

/** The selector's members share their prompt: one rollout plays all attempts at an instance. */
export const sharesPrompt = ({ agent }: Pick<RolloutsManifest, 'agent'>): boolean => agent === 'selector';

/** Rollouts of the first phase. */
export const rolloutCount = (manifest: RolloutsManifest): number =>
  manifest.instances.length * (sharesPrompt(manifest) ? 1 : manifest.attempts);

/** First every attempt is played, then one patch of each instance is chosen. */
export type RolloutsPhase = 'play' | 'select';

export interface RolloutsInput {
  readonly run: string;
  readonly queuePrefix: string;
  /** JSON artefact of `RolloutsManifest`. */
  readonly manifest: ArtefactRef;
  /** Addresses of the servers; not of the manifest, since a run may be taken up with others. */
  readonly servers: readonly string[];
  /** Rollouts of each phase. */
  readonly totals: Readonly<Record<RolloutsPhase, number>>;
  /** Rollouts in flight at once. */
  readonly width: number;
  readonly pageSize: number;
  readonly carried?: RolloutsCarried;
}

export interface RolloutsCounts {
  /** Rollouts that have ended, in both phases. */
  readonly done: number;
  /** Episodes of the first phase. */
  readonly episodes: number;
  readonly resolved: number;
  readonly infra: number;
  readonly executed: number;
  readonly served: number;
  readonly sampledTokens: number;
  /** Why infrastructure ended the last episode that it ended; absent: it ended none. */
  readonly failure?: string;
}

export interface RolloutsCarried {
  readonly phase: RolloutsPhase;
  readonly offset: number;
  readonly width: number;
  readonly paused: boolean;
  readonly counts: RolloutsCounts;
}

export interface RolloutsProgress extends RolloutsCarried {
  readonly run: string;
  readonly total: number;
  readonly running: number;
  readonly state: 'running' | 'paused' | 'stopping' | 'reporting' | 'done' | 'stopped';
}

/** What a run came to; paths are relative to the state directory. */
export interface RolloutsReport {
  /** One prediction for each instance, as `evaluate -p` takes it. */
  readonly preds: string;
  /** Every prediction. */
  readonly predictions: string;
  readonly trajectories: string;
  readonly passAtK: readonly PassAtK[];
  /** Of the chosen prediction of each instance. */
  readonly chosen: { readonly resolved: number; readonly instances: number };
}

export interface RolloutsSummary {
  readonly run: string;
  readonly state: 'done' | 'stopped';
  readonly counts: RolloutsCounts;
  readonly report: RolloutsReport;
}

export const MAX_ATTEMPTS = 1_000;

/** Why a run of rollouts cannot start with this input, or undefined. */
export function rolloutsProblem(input: RolloutsInput): string | undefined {
  const { play, select } = input.totals;
  return (
    nameProblem(input.run) ??
    (isWholeNumber(play, 0, 1e9) && isWholeNumber(select, 0, 1e9)
      ? undefined
      : 'The number of rollouts is not a whole number.') ??
    (isWholeNumber(input.pageSize, 1, 500) ? undefined : 'pageSize must be from 1 to 500.') ??
    widthProblem(input.width)
  );
}

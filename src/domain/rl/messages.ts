import { nameProblem } from '../ids.ts';
import { UPDATES, widthProblem } from '../messages.ts';
import { isWholeNumber } from '../numbers.ts';
import type { ArtefactRef } from '../types.ts';
import type { AgentName, EpisodeBudget, PolicyChoice, RlOptions } from './options.ts';
import type { StepTimeline } from './timeline.ts';
import type { RolloutOutcome } from './trajectory.ts';

/** Inputs, answers and progress of the rollout, rollouts and rl workflows. Pure: part of the workflow bundle. */

export const ROLLOUT_SIGNALS = {
  /** rollout → whoever started it: it has ended, whatever the end. */
  rolloutDone: 'rolloutDone',
} as const;

/** Here `stop` ends the run after the step under way, resumable. */
export const RL_UPDATES = { ...UPDATES, setStaleness: 'setStaleness' } as const;

/** Where a rollout's answers come from. */
export interface PolicyAddress {
  /** Base addresses; one is chosen for each episode and kept while it is healthy. */
  readonly servers: readonly string[];
  readonly choice: PolicyChoice;
  /** Name at the server when the group was dispatched, and the version that it is; version null outside training. */
  readonly model: string;
  readonly version: number | null;
}

export interface RolloutInput {
  /** Unique name of the run: of an rl run, or of a `rollout run`. */
  readonly run: string;
  readonly queuePrefix: string;
  readonly group: string;
  /** Members that this workflow plays: all of a group for an agent of one turn, one for the others. */
  readonly members: readonly number[];
  readonly agent: AgentName;
  readonly instanceId: string;
  readonly row: ArtefactRef;
  readonly provenCanaries: ArtefactRef | null;
  /** `selector`: JSON artefact of `SelectorTask`. */
  readonly task: ArtefactRef | null;
  readonly policy: PolicyAddress;
  readonly temperature: number;
  readonly budget: EpisodeBudget;
  /** Seed of what is drawn for the group, e.g. the order of candidates. */
  readonly seed: number;
  readonly candidateOrder: RlOptions['candidateOrder'];
  /** Whom to tell. */
  readonly parent: string | null;
}

export interface RolloutReport {
  readonly group: string;
  readonly members: readonly number[];
  /** null: cancelled or failed before anything was recorded. */
  readonly outcome: RolloutOutcome | null;
}

export interface RlInput {
  readonly run: string;
  readonly queuePrefix: string;
  /** JSON artefact of `RlManifest`. */
  readonly manifest: ArtefactRef;
  readonly promptCount: number;
  readonly heldOutCount: number;
  readonly options: RlOptions;
  /** Starts of this run before this one: part of every group's id, so that no start takes up another's groups. */
  readonly epoch: number;
  readonly carried?: RlCarried;
}

/** A version that servers can sample from. Version 0 is the model that training began with. */
export interface PublishedVersion {
  readonly version: number;
  /** Name at the servers. */
  readonly model: string;
  readonly path: string | null;
  readonly sha256: string | null;
}

/** A group that has been dispatched and not yet trained or dropped. */
export interface GroupState {
  /** `e1-g000012`: the start of the run it belongs to, and its place in the order of dispatch. */
  readonly id: string;
  /** Place in the order of dispatch, from 0. */
  readonly place: number;
  /** Index into the manifest's prompts. */
  readonly prompt: number;
  readonly dispatchedVersion: number;
  readonly dispatchedMs: number;
  /** Members whose rollouts have ended. */
  readonly ended: readonly number[];
  /** Rewards of the members that ended with one, infrastructure left out. */
  readonly rewards: readonly number[];
  /** Rewards of episodes that the loss leaves out, being overlong. */
  readonly masked?: number;
  readonly trajectories: readonly ArtefactRef[];
  readonly sampledTokens: number;
  /** Verdicts. */
  readonly executed: number;
  readonly served: number;
  /** Of the tokens sampled so far; null before the first. */
  readonly oldestVersion: number | null;
  /** When its last member ended; null while it runs. */
  readonly endedMs: number | null;
}

export interface RlCounts {
  /** Groups dispatched so far: the next one's place. */
  readonly dispatched: number;
  /** Groups trained. */
  readonly trained: number;
  /** Groups dropped because all rewards were equal. */
  readonly noVariance: number;
  /** Groups dropped because fewer than two episodes were left. */
  readonly infra: number;
  /** Groups dropped because every episode was overlong, and the loss leaves those out. */
  readonly overlong: number;
  /** Groups dropped as stale: with `stale: drop`, or where the bound was lowered under way. */
  readonly stale: number;
  readonly droppedTokens: number;
  readonly trainedTokens: number;
  /** Largest difference between a server's log-probabilities and the trainer's, over all probes. */
  readonly parityMax: number;
  /** Verdicts. */
  readonly executed: number;
  readonly served: number;
  /** Groups in a row that had nothing to teach, since the last one that was kept; an outage teaches nothing about that. */
  readonly droppedInRow: number;
  /** Groups in a row that infrastructure ended; absent: none. */
  readonly infraInRow?: number;
}

export const NO_RL_COUNTS: RlCounts = {
  dispatched: 0,
  trained: 0,
  noVariance: 0,
  infra: 0,
  overlong: 0,
  stale: 0,
  droppedTokens: 0,
  trainedTokens: 0,
  parityMax: 0,
  executed: 0,
  served: 0,
  droppedInRow: 0,
};

/** One line of the curve. */
export interface RlStep {
  readonly step: number;
  /** Mean reward of the episodes of the groups finished since the step before, dropped groups included. */
  readonly reward: number;
  /** Mean reward of the episodes that were trained. */
  readonly trainedReward: number;
  readonly staleness: {
    readonly min: number;
    readonly mean: number;
    readonly p95: number;
    readonly max: number;
  };
  readonly tokens: number;
  readonly forks: number;
  /** Of the trainer: loss, clip_fraction, entropy, mismatch_kl, mismatch_max, gradient_norm, log_mass_min. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly startedMs: number;
  readonly endedMs: number;
  /** Mean reward on the held-out instances, where this step scored them. */
  readonly heldOut?: number;
}

export type RlState =
  | 'starting'
  | 'running'
  | 'paused'
  | 'stopping'
  /** All steps done, or the reward that ends it was reached. */
  | 'done'
  /** By an Update, resumable. */
  | 'stopped'
  /** No group had variance for so many batches, or the loss was not finite: resumable after a change. */
  | 'stuck';

export interface RlCarried {
  readonly step: number;
  /** Versions that servers hold, the newest last. */
  readonly versions: readonly PublishedVersion[];
  /** Unloaded ones whose files are still there. */
  readonly unloaded: readonly PublishedVersion[];
  readonly groups: readonly GroupState[];
  readonly counts: RlCounts;
  readonly recent: readonly RlStep[];
  readonly width: number;
  readonly maxStaleness: number;
  readonly paused: boolean;
  /** What happened since the last recorded step. */
  readonly timeline: StepTimeline;
  /** Held-out rollouts under way: their step, and the rewards so far. */
  readonly heldOut: readonly HeldOutScore[];
}

/** A score of the held-out instances that is being made. */
export interface HeldOutScore {
  readonly step: number;
  readonly startedMs: number;
  /** Workflows of its rollouts that have ended. */
  readonly reported: readonly string[];
  readonly expected: number;
  readonly ended: number;
  readonly rewards: readonly number[];
  readonly trajectories: readonly ArtefactRef[];
}

export interface RlProgress {
  readonly run: string;
  readonly state: RlState;
  readonly note: string;
  readonly step: number;
  readonly steps: number;
  readonly version: number;
  readonly width: number;
  readonly maxStaleness: number;
  readonly paused: boolean;
  readonly runningGroups: number;
  readonly waitingGroups: number;
  readonly counts: RlCounts;
  readonly recent: readonly RlStep[];
}

export interface RlSummary {
  readonly run: string;
  readonly state: 'done' | 'stopped' | 'stuck';
  readonly note: string;
  readonly step: number;
  readonly counts: RlCounts;
  readonly report: string | null;
}

/** Largest staleness bound: servers keep S + 2 adapters in memory. */
const MAX_STALENESS = 32;

/** Why a run with these options cannot have this staleness bound, or undefined. */
export function stalenessProblem(
  { lora, policy }: Pick<RlOptions, 'lora' | 'policy'>,
  bound: unknown,
): string | undefined {
  if (!isWholeNumber(bound, 0, MAX_STALENESS))
    return `The staleness bound must be a whole number from 0 to ${MAX_STALENESS}, not ${JSON.stringify(bound)}.`;
  return lora === null && bound !== 0 && policy === 'pinned'
    ? 'All parameters have one version on a server at a time: with a staleness bound above 0 the policy is "latest", or LoRA is trained.'
    : undefined;
}

/** Steps that a run's workflow keeps for its stop rule and its display. */
export const RECENT_STEPS = 20;

/** Least and most of whole numbers. */
export const RL_BOUNDS = {
  steps: [1, 1_000_000],
  groupsPerStep: [1, 1_024],
  groupSize: [2, 1_024],
  epochs: [1, 16],
  stepsPerRun: [1, 1_000],
  maxEmptyBatches: [1, 1_000],
  stopWindow: [1, RECENT_STEPS],
} as const satisfies Partial<Record<keyof RlOptions, readonly [number, number]>>;

/** Rollouts of one kind in flight: Temporal refuses a workflow more than 2,000 children under way. */
const MAX_ROLLOUTS = 1_000;
/** Each is a dozen events of an episode's history, which may hold 51,200. */
export const MAX_TURNS = 500;

/** Why a run cannot have this many groups in flight, or undefined. */
export function rlWidthProblem(
  { agent, groupSize }: Pick<RlOptions, 'agent' | 'groupSize'>,
  width: number,
): string | undefined {
  const rollouts = agent === 'selector' ? width : width * groupSize; // a selector's group is one rollout
  return (
    widthProblem(width) ??
    (rollouts <= MAX_ROLLOUTS
      ? undefined
      : `A width of ${width} groups of ${groupSize} is ${rollouts} episodes at once; at most ${MAX_ROLLOUTS}.`)
  );
}

/** Why episodes cannot have this budget, or undefined. */
export const budgetProblem = ({ maxTurns }: EpisodeBudget): string | undefined =>
  isWholeNumber(maxTurns, 1, MAX_TURNS)
    ? undefined
    : `An episode has from 1 to ${MAX_TURNS} turns, not ${JSON.stringify(maxTurns)}.`;

function boundsProblem(options: RlOptions): string | undefined {
  for (const [name, [from, to]] of Object.entries(RL_BOUNDS)) {
    const value = options[name as keyof typeof RL_BOUNDS];
    if (!isWholeNumber(value, from, to))
      return `${name} must be a whole number from ${from} to ${to}, not ${JSON.stringify(value)}.`;
  }
  return undefined;
}

/** Why a training run cannot start with this input, or undefined. */
export function rlProblem({ run, promptCount, heldOutCount, options }: RlInput): string | undefined {
  return (
    nameProblem(run) ??
    (promptCount > 0
      ? undefined
      : heldOutCount > 0
        ? `All ${heldOutCount} instances are held out: there is none to train on.`
        : 'There is no instance to train on.') ??
    (heldOutCount <= MAX_ROLLOUTS
      ? undefined
      : `${heldOutCount} instances are held out; at most ${MAX_ROLLOUTS}, which are played at once.`) ??
    boundsProblem(options) ??
    rlWidthProblem(options, options.width) ??
    budgetProblem(options.budget) ??
    stalenessProblem(options, options.maxStaleness) ??
    (options.temperature > 0 ? undefined : `temperature must be above 0, not ${options.temperature}.`) ??
    (options.learningRate > 0 ? undefined : `learningRate must be above 0, not ${options.learningRate}.`)
  );
}

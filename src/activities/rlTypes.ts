import type { RlOptions, RlPrompt } from '../domain/rl/options.ts';
import type {
  GroupState,
  PublishedVersion,
  RlStep,
  RolloutInput,
  RolloutReport,
} from '../domain/rl/messages.ts';
import type { Span } from '../domain/rl/intervals.ts';
import type { StepTimeline } from '../domain/rl/timeline.ts';
import type { EpisodeEnd, RolloutOutcome } from '../domain/rl/trajectory.ts';
import type { ArtefactRef } from '../domain/types.ts';

/** What the rollout and rl workflows ask of the world, one interface per task queue. Types only. */

/** On the `llm` queue. */
export interface RolloutLlmActivities {
  /**
   * One turn of a rollout: one request, for all its members at once where they share the prompt. The first answer is
   * recorded and never resampled: a retried attempt adopts it. Throws Infra while no server of the address answers.
   */
  sampleTurn(request: { readonly rollout: RolloutInput; readonly turn: number }): Promise<SampledTurn>;
}

export interface SampledTurn {
  /** What comes next: something to do in the sandbox, or the end of the episode. */
  readonly next: 'act' | 'end';
  /** Set where `next` is `end`. */
  readonly end: EpisodeEnd | null;
  /** The action in short, for Temporal UI: `bash pytest -q`. */
  readonly action: string;
  readonly sampledTokens: number;
}

/** On the `sandbox` queue. */
export interface RolloutSandboxActivities {
  /**
   * A workspace for the episode on the host that takes the task, with all recorded steps done again; `diverged` says
   * where an observation was another one this time. Names the host's own queue.
   */
  openEpisode(request: {
    readonly rollout: RolloutInput;
    /** Rises with each opening; the host refuses acts that bear an older one. */
    readonly fence: number;
  }): Promise<{ readonly host: string; readonly diverged: string | null }>;
  /** Grades every distinct patch of the rollout's members, and writes the trajectory. */
  gradeRollout(request: {
    readonly rollout: RolloutInput;
    /** How the members' episodes ended (one entry per member), with the patch that each left. */
    readonly ends: readonly {
      readonly end: EpisodeEnd;
      readonly patch: ArtefactRef | null;
      readonly note: string;
    }[];
  }): Promise<RolloutOutcome>;
}

/** On `sandbox@<host>`: one attempt each. */
export interface RolloutHostActivities {
  /** Does what the recorded answer of this turn says, and records the step. */
  actOnTurn(request: {
    readonly rollout: RolloutInput;
    readonly turn: number;
    readonly fence: number;
  }): Promise<{
    readonly end: EpisodeEnd | null;
    /** What came of it in short, for Temporal UI: `exit 1`. */
    readonly told: string;
  }>;
  /**
   * Takes the episode's patch, but where it is discarded, and removes its container. `note` says why there is no patch.
   */
  closeEpisode(request: {
    readonly rollout: RolloutInput;
    readonly fence: number;
    readonly discard: boolean;
  }): Promise<{ readonly patch: ArtefactRef | null; readonly note: string }>;
}

/** Every request of a training run says which. */
export interface RlRequest {
  readonly run: string;
  /** JSON artefact of `RlManifest`. */
  readonly manifest: ArtefactRef;
  readonly options: RlOptions;
}

export type { Span, StepTimeline };

/** On the `trainer` queue. */
export interface TrainerActivities {
  /**
   * Opens the run at the trainer and says at which step it is, and which other versions an earlier start left: on servers,
   * and as files alone (absent in histories of before they were told). Servers that a dead trainer left paused are resumed.
   */
  openTraining(request: RlRequest): Promise<{
    readonly step: number;
    readonly incarnation: string;
    readonly held?: readonly PublishedVersion[];
    readonly left?: readonly PublishedVersion[];
  }>;
  /** All passes over the batch, and the committed step. Safe to repeat: parts are sent again, a committed step is not. */
  trainStep(
    request: RlRequest & { readonly step: number; readonly batch: ArtefactRef },
  ): Promise<{ readonly metrics: Readonly<Record<string, number>>; readonly busy: Span }>;
  /** Writes what servers load for the step that was committed last. */
  publishVersion(request: RlRequest & { readonly step: number }): Promise<PublishedVersion>;
  /** Loads a version on every server and probes it: identity first, then log-probabilities against the trainer's. */
  deployVersion(
    request: RlRequest & { readonly version: PublishedVersion; readonly previous: PublishedVersion | null },
  ): Promise<Deployed>;
  /** Unloads versions that no rollout uses any more, where their requests have ended, and deletes their files. */
  retireVersions(
    request: RlRequest & {
      readonly unload: readonly PublishedVersion[];
      readonly remove: readonly PublishedVersion[];
    },
  ): Promise<{ readonly unloaded: readonly number[]; readonly removed: readonly number[] }>;
}

export interface Deployed {
  /** Largest difference between a server's log-probabilities of the probe and the trainer's. */
  readonly parityMax: number;
  /** `distinct`: nearer to this version than to the one before; `indistinguishable`: the two differ by less than noise; `first`: there is none before. */
  readonly probe: 'distinct' | 'indistinguishable' | 'first';
  readonly busy: Span;
  /** When servers stood still for it (full parameters only). */
  readonly paused: readonly (Span & { readonly server: string })[];
  /** Servers that did not answer; they get the version when they are back. Absent: none. */
  readonly missed?: readonly string[];
}

/** On the `control` queue. */
export interface RlControlActivities {
  /** What rollouts of these prompts start with; `heldOut` takes them from the held-out list. */
  readPrompts(
    request: RlRequest & { readonly indices: readonly number[]; readonly heldOut: boolean },
  ): Promise<{ readonly prompts: readonly RlPrompt[]; readonly servers: readonly string[] }>;
  /** How rollouts that were silent for long are doing. */
  describeRollouts(request: {
    readonly workflowIds: readonly string[];
  }): Promise<
    readonly { readonly workflowId: string; readonly alive: boolean; readonly report: RolloutReport | null }[]
  >;
  /** Advantages, samples and weights of a step's groups, as one artefact. */
  formBatch(
    request: RlRequest & {
      readonly step: number;
      readonly version: number;
      readonly groups: readonly GroupState[];
    },
  ): Promise<FormedBatch>;
  /** Appends to the run's record: the step, what was done when, what was dropped; and renews the live summary. */
  recordStep(request: RlRequest & { readonly step: RlStep; readonly timeline: StepTimeline }): Promise<void>;
  recordHeldOut(
    request: RlRequest & {
      readonly step: number;
      readonly reward: number;
      readonly episodes: number;
      readonly trajectories: readonly ArtefactRef[];
    },
  ): Promise<void>;
  writeRlReport(request: RlRequest & { readonly state: string; readonly note: string }): Promise<{
    readonly report: string;
  }>;
}

export interface FormedBatch {
  readonly batch: ArtefactRef;
  readonly samples: number;
  /** Sampled tokens that are trained. */
  readonly tokens: number;
  readonly forks: number;
  readonly staleness: RlStep['staleness'];
  readonly trainedReward: number;
}

import type {
  ArtefactRef,
  CutoffPolicy,
  EnvironmentKey,
  EnvironmentVariant,
  RealiseOutcome,
  Rejection,
  RejectionReason,
  ResolveOutcome,
} from '../domain/types.ts';
import type { RunKind, RunLimits, RunSummary } from '../domain/runs.ts';
import type { EvaluationOrigin, VerdictName } from '../domain/verdicts.ts';
import type { CampaignOptions } from '../domain/campaign.ts';
import type { EvaluationCounts, InstanceResult, InstanceStage, JanitorSummary } from '../domain/messages.ts';
import type { SourceSpec } from '../domain/sourceSpec.ts';

/**
 * What workflows may ask of the world: one interface per task queue. Types only, so that a workflow can import this file;
 * the factories beside it implement them and tests implement them by hand. Results are small; bulk travels by ref.
 */

/** Whose stage it is; the record is `campaigns/<campaign>/instances/<instanceId>/<stage>`. */
export interface StageOf {
  readonly campaign: string;
  readonly instanceId: string;
  /** Name of the record, e.g. `health.quarter.pruned`. */
  readonly stage: string;
  readonly candidate: ArtefactRef;
}

export type PageEntry =
  | {
      readonly id: string;
      readonly repo: string;
      readonly candidate: ArtefactRef;
      /** How it ended in an earlier run of this campaign; null when it has not. */
      readonly settled: InstanceResult | null;
    }
  | { readonly id: string; readonly rejected: RejectionReason };

export interface MinePageRequest {
  readonly campaign: string;
  readonly sourceIndex: number;
  readonly source: SourceSpec;
  readonly page: number;
  readonly cursor: string | null;
  readonly options: CampaignOptions;
}

/** On the `mining` queue. */
export interface MiningActivities {
  /** One page of a source, recorded: the same page number always gives the same entries, whatever the source does later. */
  minePage(
    request: MinePageRequest,
  ): Promise<{ readonly entries: readonly PageEntry[]; readonly nextCursor: string | null }>;
}

export interface RunRequest extends StageOf {
  readonly kind: RunKind;
  readonly environment: EnvironmentKey;
  readonly spec: ArtefactRef;
  readonly variant: EnvironmentVariant;
  readonly withTestPatch: boolean;
  readonly gold: boolean;
  /** JSON artefact of the test files to hand to the runner; null = the runner's own discovery. */
  readonly scope: ArtefactRef | null;
  readonly limits: RunLimits;
  readonly makeCanaryPool: boolean;
  /** JSON artefact of `PlantedCanary[]`. */
  readonly canaries: ArtefactRef | null;
  readonly repeat?: 'ended' | 'failed';
}

export interface LeakRequest extends StageOf {
  readonly environment: EnvironmentKey;
  readonly spec: ArtefactRef;
  readonly variant: EnvironmentVariant;
}

/** On the `sandbox` queue: everything that makes a container. */
export interface SandboxActivities {
  resolveEnvironment(
    request: StageOf & { readonly policy: CutoffPolicy; readonly runtimes: readonly string[] | null },
  ): Promise<ResolveOutcome>;
  realiseEnvironment(request: {
    readonly key: EnvironmentKey;
    readonly spec: ArtefactRef;
    readonly variant: EnvironmentVariant;
  }): Promise<RealiseOutcome>;
  checkLeaks(request: LeakRequest): Promise<{ readonly rejection: Rejection | null }>;
  runTests(request: RunRequest): Promise<RunSummary>;
  evaluatePrediction(request: {
    readonly runId: string;
    readonly manifest: ArtefactRef;
    readonly index: number;
  }): Promise<{ readonly origin: EvaluationOrigin; readonly verdict: VerdictName }>;
  /** Removes what dead processes left on the host of whoever takes the task. */
  sweepLeft(): Promise<JanitorSummary['swept']>;
  /** Runs gold of a published row again, whatever is known of it; anything but `resolved` is recorded as drift. */
  recheckGold(request: PublishedRow): Promise<{ readonly verdict: VerdictName }>;
}

/** A published row with what its evaluation needs. */
export interface PublishedRow {
  readonly campaign: string;
  readonly instanceId: string;
  readonly row: ArtefactRef;
  readonly provenCanaries: ArtefactRef | null;
}

/** A decision that lets the instance go on, or ends it (perhaps only in this environment). */
export type Decision<T> =
  | ({ readonly ok: true } & T)
  | { readonly ok: false; readonly rejection: Rejection; readonly tryNextCutoff: boolean };

/** Refs of run records by what they ran. */
export interface FirstRuns {
  readonly health: ArtefactRef;
  readonly before: ArtefactRef;
  readonly after: ArtefactRef;
}
export interface PoolRuns {
  readonly before: ArtefactRef;
  readonly after: ArtefactRef;
}

/** On the `control` queue: decisions over recorded runs, and light book-keeping. */
export interface ControlActivities {
  /** signalWithStart of `environment/<key>`; says whether this asker proves the pruned variant against the full one. */
  askEnvironment(request: {
    readonly key: EnvironmentKey;
    readonly spec: ArtefactRef;
    readonly queuePrefix: string;
    readonly asker: string;
    readonly instanceId: string;
  }): Promise<{
    readonly prover: boolean;
    /** The variant that this key's proof asks for, `pruned` as long as there is none; absent in histories from before proofs. */
    readonly variant?: EnvironmentVariant;
  }>;
  /** Test by test. The answer is the key's proof; a disagreement is kept in the environment's exceptions record too. */
  compareHealth(
    request: StageOf & {
      readonly environment: EnvironmentKey;
      readonly spec: ArtefactRef;
      readonly pruned: ArtefactRef;
      readonly full: ArtefactRef;
    },
  ): Promise<{ readonly agree: boolean; readonly detail: string }>;
  planScope(
    request: StageOf & { readonly health: ArtefactRef; readonly passToPassBudgetMs: number },
  ): Promise<Decision<{ readonly scope: ArtefactRef; readonly files: number }>>;
  /** Whether the first run without gold leaves anything for gold to mend. */
  decideBefore(request: StageOf & { readonly before: ArtefactRef }): Promise<Decision<object>>;
  decideFirst(
    request: StageOf & { readonly runs: FirstRuns; readonly scope: ArtefactRef },
  ): Promise<Decision<{ readonly failToPass: number; readonly pool: ArtefactRef | null }>>;
  /** Drops canaries that are not proven, draws a secret few for the last two runs. */
  proveCanaries(
    request: StageOf & {
      readonly pool: ArtefactRef | null;
      readonly first: FirstRuns;
      readonly runs: PoolRuns;
    },
  ): Promise<{
    readonly proven: ArtefactRef | null;
    readonly before: ArtefactRef | null;
    readonly after: ArtefactRef | null;
  }>;
  decideFinal(
    request: StageOf & {
      readonly first: FirstRuns;
      readonly second: PoolRuns;
      readonly third: PoolRuns;
      readonly scope: ArtefactRef;
      readonly proven: ArtefactRef | null;
      readonly maxForgeryOdds?: number;
    },
  ): Promise<
    Decision<{ readonly lists: ArtefactRef; readonly gold: VerdictName; readonly nop: VerdictName }>
  >;
  publishInstance(request: PublishRequest): Promise<InstanceResult>;
  recordRejection(
    request: StageOf & {
      readonly rejection: Rejection;
      readonly at: InstanceStage;
      readonly containerRuns: number;
    },
  ): Promise<InstanceResult>;
  /** How children that were silent for long are doing. */
  describeInstances(request: {
    readonly campaign: string;
    readonly queuePrefix: string;
    readonly ids: readonly string[];
  }): Promise<
    readonly { readonly id: string; readonly alive: boolean; readonly result: InstanceResult | null }[]
  >;
  assembleCampaign(request: {
    readonly campaign: string;
    readonly sources: readonly SourceSpec[];
    readonly options: CampaignOptions;
    readonly finished: boolean;
    /** Runs of all instances, dismissed ones included: they leave no result that could be counted. */
    readonly containerRuns: number;
  }): Promise<{
    readonly dataset: string;
    readonly report: string | null;
    readonly published: number;
    readonly surplus: number;
  }>;
  /** A few published rows of this installation, at random. */
  samplePublished(request: { readonly count: number }): Promise<readonly PublishedRow[]>;
  writeEvaluationReports(request: {
    readonly runId: string;
    readonly manifest: ArtefactRef;
    readonly counts: EvaluationCounts;
    readonly finished: boolean;
  }): Promise<{ readonly reports: readonly string[] }>;
}

export interface PublishRequest extends StageOf {
  readonly environment: EnvironmentKey;
  readonly spec: ArtefactRef;
  readonly variant: EnvironmentVariant;
  readonly policy: CutoffPolicy;
  readonly cutoff: string;
  readonly limits: RunLimits;
  readonly scope: ArtefactRef;
  readonly lists: ArtefactRef;
  readonly labels: ArtefactRef;
  readonly problemStatement?: ArtefactRef;
  readonly runs: Readonly<Record<string, RunSummary>>;
  readonly containerRuns: number;
}

/** On the `llm` queue. */
export interface LlmActivities {
  labelInstance(request: StageOf & { readonly lists: ArtefactRef }): Promise<{
    readonly labels: ArtefactRef;
    /** Text artefact: a model's words for a bug that was made by rule. */
    readonly problemStatement?: ArtefactRef;
  }>;
}

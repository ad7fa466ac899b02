import { CUTOFF_POLICIES } from './types.ts';
import { DEFAULT_RUN_LIMITS } from './runs.ts';
import type {
  ArtefactRef,
  EnvironmentKey,
  IsoTime,
  RealiseOutcome,
  Rejection,
  RejectionReason,
} from './types.ts';
import type { RunLimits } from './runs.ts';
import { nameProblem } from './ids.ts';
import { isWholeNumber } from './numbers.ts';
import { sourcesProblem } from './sourceSpec.ts';
import type { SourceSpec } from './sourceSpec.ts';

/**
 * What clients, workflows and activities say to each other: names, payloads, and the guards that both sides use.
 * Pure and free of Node and of schema libraries: this file is part of the workflow bundle.
 */

export const WORKFLOWS = {
  campaign: 'campaign',
  instance: 'instance',
  environment: 'environment',
  evaluation: 'evaluation',
  janitor: 'janitor',
} as const;

export const SIGNALS = {
  /** instance → campaign: this instance has ended, whatever the end. */
  instanceDone: 'instanceDone',
  /** instance → environment: tell me when it is there. */
  askEnvironment: 'askEnvironment',
  /** environment → instance: the answer. */
  environmentReady: 'environmentReady',
} as const;

export const QUERIES = { progress: 'progress' } as const;

export const UPDATES = { pause: 'pause', resume: 'resume', resize: 'resize', stop: 'stop' } as const;

/** Rises when workers of the old and the new code must not share a queue. */
const QUEUE_VERSION = 'v1';
export const DEFAULT_QUEUE_PREFIX = 'repoforge';

/** The resource classes. A queue per class: its rate and its slots are then a property of the queue. */
export type QueueRole = 'control' | 'mining' | 'sandbox' | 'llm';
export const QUEUE_ROLES: readonly QueueRole[] = ['control', 'mining', 'sandbox', 'llm'];

/**
 * Name of a task queue, e.g. `repoforge-sandbox-v1`, or `repoforge-sandbox@host-v1` for work pinned to one host.
 * Installations (and tests) that share a server take different prefixes, and never see each other's tasks.
 */
export const taskQueue = (prefix: string, role: QueueRole, host?: string): string =>
  `${prefix}-${role}${host === undefined ? '' : `@${host}`}-${QUEUE_VERSION}`;

/** Workflow id of an installation: plain for the default prefix, `<prefix>/<id>` for every other. */
export const scopedWorkflowId = (prefix: string, id: string): string =>
  prefix === DEFAULT_QUEUE_PREFIX ? id : `${prefix}/${id}`;

/** Names and types of our search attributes; SQL visibility allows 10 Keyword and 3 Double in a namespace. */
export const SEARCH_ATTRIBUTES = {
  RepoforgeCampaign: 'Keyword',
  RepoforgeRepo: 'Keyword',
  RepoforgeStage: 'Keyword',
  RepoforgeVerdict: 'Keyword',
  RepoforgeReward: 'Double',
} as const;

/** Everything about a campaign that may change its rows, and how wide it runs. */
export interface CampaignOptions {
  /** Instances in flight at once. */
  readonly width: number;
  /** Published instances in all: the first so many, in source order, that validate; null for no cap. */
  readonly maxInstances: number | null;
  readonly since: IsoTime | null;
  readonly until: IsoTime | null;
  readonly maxSourceFiles: number;
  readonly maxPatchBytes: number;
  /** Accepted runtime versions, e.g. `3.11`; null for all. */
  readonly runtimes: readonly string[] | null;
  /** SPDX ids, or parts of the licence text; null for all. */
  readonly licenses: readonly string[] | null;
  /** Time that base-suite tests beyond the test patch's files may take in each run. */
  readonly passToPassBudgetMs: number;
  readonly runLimits: RunLimits;
  /** Candidates that a mining activity returns at once. */
  readonly minePageSize: number;
  /** Children started in one run of the campaign workflow, before it continues as new. */
  readonly pageSize: number;
  /** How long children may be silent before they are looked up. */
  readonly reconcileMs: number;
}

export const DEFAULT_CAMPAIGN_OPTIONS: CampaignOptions = {
  width: 8,
  maxInstances: null,
  since: null,
  until: null,
  maxSourceFiles: 40,
  maxPatchBytes: 256 * 1024,
  runtimes: null,
  licenses: null,
  passToPassBudgetMs: 60_000,
  runLimits: DEFAULT_RUN_LIMITS,
  minePageSize: 25, // a page is one heartbeating activity of seconds to a minute, and a few KB of history
  pageSize: 450, // 500 measured 4,007 events, 8 for each; continuing as new is suggested at 4,096, or 4 MB
  reconcileMs: 60_000,
};

/** At most so many children in flight for one workflow; the server refuses at 2,000 and then stands still for ever. */
export const MAX_WIDTH = 500;

export interface CampaignInput {
  readonly name: string;
  readonly queuePrefix: string;
  readonly sources: readonly SourceSpec[];
  readonly options: CampaignOptions;
  /** Present only when a run continues an earlier one. */
  readonly carried?: CampaignCarried;
}

export type CampaignState = 'mining' | 'running' | 'paused' | 'stopping' | 'assembling' | 'done' | 'stopped';

/** Counters of a campaign or of one of its sources. */
export interface FunnelCounts {
  readonly mined: number;
  readonly rejected: Readonly<Partial<Record<RejectionReason, number>>>;
  readonly accepted: number;
  readonly containerRuns: number;
}

/** One source's place in the campaign: numbers and one cursor, so that it survives continue-as-new. */
export interface SourceProgress {
  /** Cursor of the page that `taken` counts in; null for the first page. */
  readonly cursor: string | null;
  /** Number of that page, from 0. */
  readonly page: number;
  /** Entries of that page already admitted. */
  readonly taken: number;
  /** Entries admitted in all; the next entry's position in its source. */
  readonly admitted: number;
  readonly exhausted: boolean;
  readonly accepted: number;
  readonly running: number;
}

/** An instance in flight: id and position in the campaign's one order. */
export interface RunningInstance {
  readonly id: string;
  readonly position: number;
}

export interface CampaignCarried {
  readonly width: number;
  readonly paused: boolean;
  readonly stopping: StopMode | null;
  readonly sources: readonly SourceProgress[];
  readonly running: readonly RunningInstance[];
  /** Positions of accepted instances; kept only under a cap. */
  readonly acceptedPositions: readonly number[];
  readonly counts: FunnelCounts;
  readonly failedSources: readonly FailedSource[];
  readonly runNumber: number;
}

/** A source that could not be mined to its end, and why in one sentence; the others went on. */
export interface FailedSource {
  readonly label: string;
  readonly reason: string;
}

export interface CampaignProgress {
  readonly name: string;
  readonly state: CampaignState;
  readonly width: number;
  readonly counts: FunnelCounts;
  readonly running: readonly string[];
  readonly sources: readonly {
    readonly label: string;
    readonly admitted: number;
    readonly accepted: number;
    readonly running: number;
    readonly exhausted: boolean;
  }[];
  readonly failedSources: readonly FailedSource[];
  /** Runs of the workflow so far (continue-as-new). */
  readonly runNumber: number;
}

export interface CampaignResult {
  readonly name: string;
  readonly state: 'done' | 'stopped';
  readonly published: number;
  /** Validated, but beyond a cap by source order. */
  readonly surplus: number;
  readonly counts: FunnelCounts;
  readonly failedSources: readonly FailedSource[];
  /** Paths relative to the state directory. */
  readonly dataset: string;
  readonly report: string | null;
}

/** `finish` lets running instances end; `cancel` ends them now (their finished stages stay recorded). */
export type StopMode = 'finish' | 'cancel';
export interface StopRequest {
  readonly running: StopMode;
}
export interface ResizeRequest {
  readonly width: number;
}

export interface InstanceInput {
  readonly campaign: string;
  readonly campaignWorkflowId: string;
  readonly queuePrefix: string;
  readonly instanceId: string;
  readonly repo: string;
  readonly candidate: ArtefactRef;
  readonly options: Pick<CampaignOptions, 'passToPassBudgetMs' | 'runLimits' | 'runtimes'>;
}

/** The end of an instance, small enough for a signal and for the campaign's history. */
export type InstanceResult =
  | {
      readonly outcome: 'published';
      readonly row: ArtefactRef;
      readonly evidence: ArtefactRef;
      readonly containerRuns: number;
    }
  | {
      readonly outcome: 'rejected';
      readonly rejection: Rejection;
      readonly stage: InstanceStage;
      readonly containerRuns: number;
    }
  /** Stopped by a person; not a result, and tried again when the campaign is resumed. */
  | { readonly outcome: 'cancelled'; readonly containerRuns: number };

export interface InstanceReport {
  readonly instanceId: string;
  readonly result: InstanceResult;
}

export const INSTANCE_STAGES = [
  'mine',
  'resolve',
  'environment',
  'leaks',
  'health',
  'scope',
  'runs',
  'decide',
  'canaries',
  'proof',
  'final',
  'label',
  'publish',
] as const;
export type InstanceStage = (typeof INSTANCE_STAGES)[number];

export { CUTOFF_POLICIES };

export interface EnvironmentInput {
  readonly key: EnvironmentKey;
  readonly spec: ArtefactRef;
  readonly queuePrefix: string;
  /** How long a finished environment waits for late askers before it completes. */
  readonly lingerMs: number;
  /** Askers carried over continue-as-new. */
  readonly askers?: readonly string[];
}
export interface AskEnvironment {
  readonly asker: string;
}
export interface EnvironmentAnswer {
  readonly key: EnvironmentKey;
  readonly outcome: RealiseOutcome;
}

export interface EvaluationInput {
  readonly runId: string;
  readonly queuePrefix: string;
  /** JSON artefact that the evaluation's activities understand; the workflow reads it by pages only. */
  readonly manifest: ArtefactRef;
  readonly total: number;
  readonly width: number;
  readonly pageSize: number;
  readonly carried?: EvaluationCarried;
}
export interface EvaluationCounts {
  readonly done: number;
  readonly executed: number;
  readonly served: number;
  readonly resolved: number;
  readonly infra: number;
}
export interface EvaluationCarried {
  readonly offset: number;
  readonly width: number;
  readonly paused: boolean;
  readonly counts: EvaluationCounts;
}
export interface EvaluationProgress extends EvaluationCarried {
  readonly runId: string;
  readonly total: number;
  readonly running: number;
  readonly state: 'running' | 'paused' | 'stopping' | 'reporting' | 'done' | 'stopped';
}
export interface EvaluationSummary {
  readonly runId: string;
  readonly state: 'done' | 'stopped';
  readonly total: number;
  readonly counts: EvaluationCounts;
  /** Paths of the reports, relative to the state directory. */
  readonly reports: readonly string[];
}

export interface JanitorInput {
  readonly queuePrefix: string;
  /** Published rows whose gold is run again. */
  readonly sample: number;
}
export interface JanitorSummary {
  readonly swept: { readonly containers: number; readonly files: number; readonly bytes: number };
  readonly checked: number;
  /** Rows whose gold could not be run again for want of infrastructure. */
  readonly unchecked: number;
  /** `<campaign>/<instance>: <verdict>` of rows whose gold is not resolved any more. */
  readonly drift: readonly string[];
}

/** Why a width cannot be used, or undefined. */
export const widthProblem = (width: unknown): string | undefined =>
  isWholeNumber(width, 1, MAX_WIDTH)
    ? undefined
    : `The width must be a whole number from 1 to ${MAX_WIDTH}, not ${JSON.stringify(width)}.`;

/** Why a stop request cannot be used, or undefined. */
export const stopProblem = (request: StopRequest | undefined): string | undefined =>
  request?.running === 'finish' || request?.running === 'cancel'
    ? undefined
    : 'A stop names what happens to running instances: "finish" or "cancel".';

/** Why a campaign cannot start with this input, or undefined: one sentence for a person. */
export function campaignProblem(input: CampaignInput): string | undefined {
  const name = nameProblem(input.name);
  if (name !== undefined) return name;
  return sourcesProblem(input.sources) ?? optionsProblem(input.options);
}

function optionsProblem(options: CampaignOptions): string | undefined {
  if (options.maxInstances !== null && !isWholeNumber(options.maxInstances, 1, 1e9))
    return 'maxInstances is not a positive whole number.';
  if (!isWholeNumber(options.pageSize, 1, 500)) return 'pageSize must be from 1 to 500.';
  if (!isWholeNumber(options.minePageSize, 1, 500)) return 'minePageSize must be from 1 to 500.';
  if (!isWholeNumber(options.reconcileMs, 100, 86_400_000)) return 'reconcileMs must be from 100 to a day.';
  return widthProblem(options.width);
}

/** Why an evaluation cannot start with this input, or undefined. */
export function evaluationProblem(input: EvaluationInput): string | undefined {
  const name = nameProblem(input.runId);
  if (name !== undefined) return name;
  if (!isWholeNumber(input.total, 0, 1e9)) return 'The number of predictions is not a whole number.';
  if (!isWholeNumber(input.pageSize, 1, 500)) return 'pageSize must be from 1 to 500.';
  return widthProblem(input.width);
}

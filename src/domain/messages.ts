import type { CampaignOptions } from './campaign.ts';
import { nameProblem } from './ids.ts';
import { isWholeNumber } from './numbers.ts';
import type { ArtefactRef, EnvironmentKey, RealiseOutcome, Rejection } from './types.ts';

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
  rollout: 'rollout',
  rollouts: 'rollouts',
  rl: 'rl',
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
export type QueueRole = 'control' | 'mining' | 'sandbox' | 'llm' | 'trainer';
export const QUEUE_ROLES: readonly QueueRole[] = ['control', 'mining', 'sandbox', 'llm', 'trainer'];

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

/** At most so many children in flight for one workflow; the server refuses at 2,000 and then stands still for ever. */
export const MAX_WIDTH = 500;

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
  readonly options: Pick<CampaignOptions, 'passToPassBudgetMs' | 'runLimits' | 'runtimes'> &
    Partial<Pick<CampaignOptions, 'maxForgeryOdds'>>; // absent in histories from before odds were counted
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

/** Why an evaluation cannot start with this input, or undefined. */
export function evaluationProblem(input: EvaluationInput): string | undefined {
  const name = nameProblem(input.runId);
  if (name !== undefined) return name;
  if (!isWholeNumber(input.total, 0, 1e9)) return 'The number of predictions is not a whole number.';
  if (!isWholeNumber(input.pageSize, 1, 500)) return 'pageSize must be from 1 to 500.';
  return widthProblem(input.width);
}

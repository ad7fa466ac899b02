/** A campaign as clients, its workflow and activities see it: options, progress, result. Pure: part of the workflow bundle. */
import { nameProblem } from './ids.ts';
import { widthProblem } from './messages.ts';
import type { StopMode } from './messages.ts';
import { isWholeNumber } from './numbers.ts';
import { DEFAULT_RUN_LIMITS } from './runs.ts';
import type { RunLimits } from './runs.ts';
import { sourcesProblem } from './sourceSpec.ts';
import type { SourceSpec } from './sourceSpec.ts';
import type { IsoTime, RejectionReason } from './types.ts';

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
  /** Highest odds (0 to 1) with which who turns failing tests by guessing may go unseen; 1 for all (see `forgeryOdds`). */
  readonly maxForgeryOdds: number;
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
  maxForgeryOdds: 0.95,
  runLimits: DEFAULT_RUN_LIMITS,
  minePageSize: 25, // a page is one heartbeating activity of seconds to a minute, and a few KB of history
  pageSize: 400, // up to 10 events for each were measured; continuing as new is suggested at 4,096 events, or 4 MB
  reconcileMs: 60_000,
};

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

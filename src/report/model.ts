import type { Labels } from '../domain/types.ts';
import type { VerdictName } from '../domain/verdicts.ts';
import type { TimeBreakdown } from './breakdown.ts';

/** What a campaign's HTML report shows; built from funnel, dataset, evidence and storage, then only rendered. */
export interface CampaignReport {
  readonly campaign: string;
  readonly finished: boolean;
  /** Stages in the order of the pipeline: how many candidates reached each. */
  readonly funnel: readonly { readonly stage: string; readonly count: number }[];
  readonly rejections: readonly {
    readonly reason: string;
    readonly count: number;
    readonly examples: readonly { readonly instanceId: string; readonly detail: string }[];
  }[];
  /** Container runs: all of the campaign, and the most that one published instance took. */
  readonly runs: { readonly executed: number; readonly served: number; readonly maxPerPublished: number };
  readonly gold: { readonly resolved: number; readonly total: number };
  readonly nop: { readonly resolved: number; readonly total: number };
  readonly environments: {
    readonly count: number;
    readonly p50Ms: number | null;
    readonly fullBytes: number;
    readonly prunedBytes: number;
    /** Keys whose pruned variant did not behave like the full one and are used in full, with what differed. */
    readonly exceptions: readonly { readonly key: string; readonly detail: string }[];
  };
  /** Distinct environments of the published instances. */
  readonly publishedEnvironments: number;
  /** Container runs of the published instances. */
  readonly time: TimeBreakdown | null;
  /** null when the store could not be measured. */
  readonly storage:
    | readonly { readonly what: string; readonly bytes: number; readonly note: string }[]
    | null;
  readonly uniqueBytesPerInstance: number | null;
  readonly durations: readonly {
    readonly stage: string;
    readonly count: number;
    readonly p50Ms: number;
    readonly p90Ms: number;
    readonly maxMs: number;
  }[];
  readonly labelCost: {
    readonly labeler: string;
    readonly tokensPer1000: number;
    readonly usdPer1000: number | null;
  } | null;
  readonly instances: readonly InstanceReport[];
}

export interface InstanceReport {
  readonly instanceId: string;
  readonly repo: string;
  readonly version: string;
  readonly createdAt: string;
  readonly license: string | null;
  readonly problemStatement: string;
  readonly patch: string;
  readonly testPatch: string;
  readonly failToPass: readonly string[];
  readonly passToPass: readonly string[];
  readonly collectionFailToPass: readonly string[];
  readonly quarantined: readonly string[];
  readonly labels: Omit<Labels, 'usage'>;
  readonly environment: {
    readonly key: string;
    readonly runtime: string;
    readonly cutoff: string;
    readonly variant: string;
  };
  /** One line per container run of this instance. */
  readonly runs: readonly {
    readonly name: string;
    readonly outcome: string;
    readonly passed: number;
    readonly failed: number;
    readonly totalMs: number;
    /** Tail of the raw log; '' when none was kept. */
    readonly logTail: string;
  }[];
  readonly gold: VerdictName;
  readonly nop: VerdictName;
}

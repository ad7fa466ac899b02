import type { ArtefactRef, CutoffPolicy, EnvironmentKey, EnvironmentVariant, Labels } from './types.ts';
import type { RunSummary } from './runs.ts';
import type { Grade } from './verdicts.ts';

/** Why a row may be believed: kept beside the dataset, with everything that rows leave out (times, draws, costs). */
export interface Evidence {
  readonly schema: 1;
  readonly instanceId: string;
  readonly candidate: ArtefactRef;
  readonly row: ArtefactRef;
  readonly environment: {
    readonly key: EnvironmentKey;
    readonly spec: ArtefactRef;
    readonly variant: EnvironmentVariant;
    readonly policy: CutoffPolicy;
  };
  /** In order: health (and health-full), before-1, after-1, …; the last two are the nop and the gold evaluation. */
  readonly runs: readonly (RunSummary & { readonly name: string })[];
  readonly containerRuns: number;
  readonly nop: Grade;
  readonly gold: Grade;
  /** JSON artefact of the proven `Canary[]`; null when no test could be made to fail. */
  readonly provenCanaries: ArtefactRef | null;
  /** See `forgeryOdds`; absent in evidence of earlier versions. */
  readonly forgeryOdds?: number;
  readonly labels: Labels;
  readonly workflowRunId: string;
}

/** One line of `evidence.jsonl`. */
export interface EvidenceIndexEntry {
  readonly instance_id: string;
  readonly row: ArtefactRef;
  readonly evidence: ArtefactRef;
}

/** What is said of a prediction: verdicts, grades, results. */
import type { ArtefactRef } from './types.ts';

/** What canaries accuse a run of (see `canaryTamper`). */
export type Tamper = 'canary_passed' | 'canary_missing' | 'canary_failure' | 'exit_code';

export type Verdict =
  | { readonly verdict: 'resolved' }
  | { readonly verdict: 'unresolved'; readonly reason: 'tests' | 'memory' | 'crash' | 'install' }
  | { readonly verdict: 'patch_failed' }
  | { readonly verdict: 'empty_patch' }
  | { readonly verdict: 'timeout' }
  | { readonly verdict: 'tampered'; readonly reason: Tamper }
  | { readonly verdict: 'infra'; readonly reason: string };
export type VerdictName = Verdict['verdict'];

/** A graded run: verdict, the three rewards, and the lists of SWE-bench's report. */
export interface Grade {
  readonly verdict: Verdict;
  /** 1 exactly when resolved; null for infra (excluded, never zero). */
  readonly resolved: 0 | 1 | null;
  /** f2p_rate x p2p_rate, 0 when tampered; null for infra. */
  readonly graded: number | null;
  /** 1 when no test but the canaries failed and the runner ended; null for infra. */
  readonly commandResolved: 0 | 1 | null;
  readonly failToPass: { readonly success: readonly string[]; readonly failure: readonly string[] };
  readonly passToPass: { readonly success: readonly string[]; readonly failure: readonly string[] };
}

/**
 * How a result came about: `executed`, a container worked for this very call; `served`, taken from the record store;
 * `not_run`, there was nothing to run (an empty patch, one that does not apply); `infra`, infrastructure failed, or the run
 * was stopped before.
 */
export type EvaluationOrigin = 'executed' | 'served' | 'not_run' | 'infra';

/** A prediction in SWE-bench's fields. */
export interface Prediction {
  readonly instance_id: string;
  readonly model_name_or_path: string;
  readonly model_patch: string | null;
}

/** Result of one evaluation, as stored under its key. */
export interface EvaluationResult {
  readonly schema: 1;
  readonly instanceId: string;
  readonly modelNameOrPath: string;
  readonly key: string;
  readonly grade: Grade;
  readonly record: ArtefactRef | null;
  readonly patch: ArtefactRef | null;
}

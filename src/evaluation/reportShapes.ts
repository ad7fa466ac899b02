/**
 * SWE-bench's report forms (swebench 5.0.2), as pure functions from our verdicts. Names and order of the fields are the
 * harness's own, so that scripts which read its files read ours.
 */
import type { EvaluationResult, Grade, Verdict, VerdictName } from '../domain/verdicts.ts';

interface TestLists {
  readonly success: readonly string[];
  readonly failure: readonly string[];
}

/** Value of the one key of an instance's `report.json`. */
export interface InstanceReport {
  readonly patch_is_None: boolean;
  readonly patch_exists: boolean;
  readonly patch_successfully_applied: boolean;
  readonly resolved: boolean;
  readonly infra_failure: boolean;
  /** Only present when there is one, as in the harness. */
  readonly infra_failure_reason?: string;
  readonly tests_status?: {
    readonly FAIL_TO_PASS: TestLists;
    readonly PASS_TO_PASS: TestLists;
    readonly FAIL_TO_FAIL: TestLists;
    readonly PASS_TO_FAIL: TestLists;
  };
}

/** `<model>.<run_id>.json`. */
export interface RunSummaryReport {
  readonly total_instances: number;
  readonly submitted_instances: number;
  readonly completed_instances: number;
  readonly resolved_instances: number;
  readonly unresolved_instances: number;
  readonly infra_failure_instances: number;
  readonly ambiguous_failure_instances: number;
  readonly empty_patch_instances: number;
  readonly error_instances: number;
  readonly completed_ids: readonly string[];
  readonly incomplete_ids: readonly string[];
  readonly empty_patch_ids: readonly string[];
  readonly submitted_ids: readonly string[];
  readonly resolved_ids: readonly string[];
  readonly unresolved_ids: readonly string[];
  readonly infra_failure_ids: readonly string[];
  readonly ambiguous_failure_ids: readonly string[];
  readonly failure_reasons: Readonly<Record<string, string>>;
  readonly error_ids: readonly string[];
  readonly schema_version: 2;
}

/** What the harness calls an outcome: completed ones have a report.json, errors have none, empty patches are not run. */
export type HarnessOutcome = 'resolved' | 'unresolved' | 'error' | 'empty_patch';

const OUTCOMES: Readonly<Record<VerdictName, HarnessOutcome>> = {
  resolved: 'resolved',
  unresolved: 'unresolved',
  tampered: 'unresolved',
  patch_failed: 'error',
  timeout: 'error',
  infra: 'error',
  empty_patch: 'empty_patch',
};

export const harnessOutcome = (verdict: Verdict): HarnessOutcome => OUTCOMES[verdict.verdict];

/** The harness's reason words where it has one: `infra` cannot be the patch's fault, the others can. */
export function failureReason(
  verdict: Verdict,
): { readonly reason: string; readonly tier: 'environment' | 'ambiguous' } | null {
  if (verdict.verdict === 'infra') return { reason: 'container_unavailable', tier: 'environment' };
  if (verdict.verdict === 'timeout') return { reason: 'tests_timed_out', tier: 'ambiguous' };
  if (verdict.verdict === 'unresolved' && verdict.reason === 'memory') {
    return { reason: 'out_of_memory', tier: 'ambiguous' }; // gold passed under the same limit
  }
  return null;
}

const NONE: TestLists = { success: [], failure: [] };

/** `report.json` of an instance; `hasPatch` is false for nop. */
export function instanceReport(
  instanceId: string,
  grade: Grade,
  hasPatch: boolean,
): Readonly<Record<string, InstanceReport>> {
  const failure = failureReason(grade.verdict);
  return {
    [instanceId]: {
      patch_is_None: !hasPatch,
      patch_exists: hasPatch,
      patch_successfully_applied: hasPatch && harnessOutcome(grade.verdict) !== 'error',
      resolved: grade.verdict.verdict === 'resolved',
      infra_failure: failure?.tier === 'environment',
      ...(failure === null ? {} : { infra_failure_reason: failure.reason }),
      tests_status: {
        FAIL_TO_PASS: grade.failToPass,
        PASS_TO_PASS: grade.passToPass,
        FAIL_TO_FAIL: NONE,
        PASS_TO_FAIL: NONE,
      },
    },
  };
}

/** Run summary of one model over a dataset. */
export function runSummaryReport(
  datasetIds: readonly string[],
  results: readonly EvaluationResult[],
): RunSummaryReport {
  const idsOf = (select: (verdict: Verdict) => boolean): readonly string[] =>
    sorted(results.filter(({ grade }) => select(grade.verdict)).map(({ instanceId }) => instanceId));
  const outcome = (...wanted: readonly HarnessOutcome[]) =>
    idsOf((verdict) => wanted.includes(harnessOutcome(verdict)));
  const submitted = idsOf(() => true);
  const completed = outcome('resolved', 'unresolved');
  const infra = idsOf((verdict) => failureReason(verdict)?.tier === 'environment');
  const ambiguous = idsOf((verdict) => failureReason(verdict)?.tier === 'ambiguous');
  const reasons = results.flatMap(({ instanceId, grade }) => {
    const failure = failureReason(grade.verdict);
    return failure === null ? [] : [[instanceId, failure.reason] as const];
  });
  const lists = {
    completed_ids: completed,
    incomplete_ids: sorted(datasetIds.filter((id) => !submitted.includes(id))),
    empty_patch_ids: outcome('empty_patch'),
    submitted_ids: submitted,
    resolved_ids: outcome('resolved'),
    unresolved_ids: outcome('unresolved'),
    infra_failure_ids: infra,
    ambiguous_failure_ids: ambiguous,
    failure_reasons: Object.fromEntries(reasons.toSorted(([a], [b]) => compare(a, b))),
    error_ids: outcome('error'),
  };
  return {
    total_instances: datasetIds.length,
    submitted_instances: submitted.length,
    completed_instances: completed.length,
    resolved_instances: lists.resolved_ids.length,
    unresolved_instances: lists.unresolved_ids.length,
    infra_failure_instances: infra.length,
    ambiguous_failure_instances: ambiguous.length,
    empty_patch_instances: lists.empty_patch_ids.length,
    error_instances: lists.error_ids.length,
    ...lists,
    schema_version: 2,
  };
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const sorted = (ids: readonly string[]): readonly string[] => ids.toSorted(compare);

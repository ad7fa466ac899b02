/**
 * Grading: from what a run showed to a verdict and three rewards (DESIGN section 6). Pure, and the only place that decides.
 * The invariant: nothing that a candidate patch can print, skip, xfail or leave out counts in its favour.
 */
import type { PlantedCanary, RunRecord, TestStatus } from './runs.ts';
import type { Grade, Verdict } from './verdicts.ts';
import { canaryTamper, isCanaryTest } from './canaries.ts';
import { isFailing, normaliseId } from './testIds.ts';

export interface GradeInput {
  readonly failToPass: readonly string[];
  readonly passToPass: readonly string[];
  readonly record: RunRecord;
  /** What was planted in this very run; empty for none. */
  readonly planted: readonly PlantedCanary[];
  /**
   * Listed tests that gold leaves `xfailed` (imported rows may have them; our own lists hold only tests that passed
   * under gold). For these, and only these, `xfailed` is as good as passed: else a source could call `pytest.xfail()`.
   */
  readonly xfailedUnderGold?: readonly string[];
}

/** Exit codes with which pytest has run what it collected: 0 all passed, 1 some failed. Others stopped on the way. */
export const ranToTheEnd = (record: RunRecord): boolean =>
  record.outcome === 'completed' && (record.exitCode === 0 || record.exitCode === 1);

/**
 * Grades one run. A listed test counts only when it passed: missing, skipped, failed and error all fail, for F2P and P2P
 * alike. (SWE-bench lets a skipped P2P test pass. Ours hold only tests that passed under gold, so a later skip is a loss,
 * and counting it as success would invite source files that skip the tests.)
 */
export function gradeRun(input: GradeInput): Grade {
  const { record, planted } = input;
  const mayXfail = new Set((input.xfailedUnderGold ?? []).map(normaliseId));
  const statuses = listedStatuses(record);
  const succeeded = (id: string): boolean => {
    const status = statuses.get(normaliseId(id));
    return status === 'passed' || (status === 'xfailed' && mayXfail.has(normaliseId(id)));
  };
  const failToPass = partition(input.failToPass, succeeded);
  const passToPass = partition(input.passToPass, succeeded);
  const allPassed = failToPass.failure.length === 0 && passToPass.failure.length === 0;
  const verdict = decideVerdict(record, planted, allPassed && input.failToPass.length > 0);
  const scores = verdict.verdict === 'resolved' || verdict.verdict === 'unresolved';
  return {
    verdict,
    resolved: verdict.verdict === 'resolved' ? 1 : 0,
    graded: scores ? rate(failToPass) * rate(passToPass) : 0,
    commandResolved: scores && commandSucceeded(record, planted) ? 1 : 0,
    failToPass,
    passToPass,
  };
}

/** The grade of an evaluation that infrastructure prevented: excluded from every rate, never zero. */
export function infraGrade(
  lists: { readonly failToPass: readonly string[]; readonly passToPass: readonly string[] },
  reason: string,
): Grade {
  return {
    verdict: { verdict: 'infra', reason },
    resolved: null,
    graded: null,
    commandResolved: null,
    failToPass: { success: [], failure: lists.failToPass },
    passToPass: { success: [], failure: lists.passToPass },
  };
}

function decideVerdict(record: RunRecord, planted: readonly PlantedCanary[], allPassed: boolean): Verdict {
  switch (record.outcome) {
    case 'empty_patch':
      return { verdict: 'empty_patch' };
    case 'patch_failed':
      return { verdict: 'patch_failed' };
    case 'timeout':
      return { verdict: 'timeout' };
    case 'install_failed':
      return { verdict: 'unresolved', reason: 'install' };
    case 'memory':
      return { verdict: 'unresolved', reason: 'memory' };
    case 'crashed':
      return { verdict: 'unresolved', reason: 'crash' };
    case 'completed': {
      const tamper = canaryTamper(record, planted);
      if (tamper !== null) return { verdict: 'tampered', reason: tamper };
      if (!ranToTheEnd(record)) return { verdict: 'unresolved', reason: 'crash' };
      return allPassed ? { verdict: 'resolved' } : { verdict: 'unresolved', reason: 'tests' };
    }
  }
}

/** Only a run that ended by itself has results that count; the partial ones of a hang or a crash are evidence, not credit. */
function listedStatuses(record: RunRecord): ReadonlyMap<string, TestStatus> {
  if (record.outcome !== 'completed') return new Map();
  return new Map(Object.entries(record.tests).map(([id, test]) => [normaliseId(id), test.status]));
}

function partition(
  ids: readonly string[],
  succeeded: (id: string) => boolean,
): { readonly success: readonly string[]; readonly failure: readonly string[] } {
  return { success: ids.filter(succeeded), failure: ids.filter((id) => !succeeded(id)) };
}

/** Share that succeeded; an empty list asks nothing, so it is met. */
function rate(list: { readonly success: readonly string[]; readonly failure: readonly string[] }): number {
  const total = list.success.length + list.failure.length;
  return total === 0 ? 1 : list.success.length / total;
}

/** What a plain `pytest` exit code would say, were the canaries not there: something passed, nothing failed. */
function commandSucceeded(record: RunRecord, planted: readonly PlantedCanary[]): boolean {
  if (!ranToTheEnd(record) || record.collectionErrors.length > 0) return false;
  const own = Object.entries(record.tests).filter(([id]) => !isCanaryTest(id, planted));
  const canaries = Object.entries(record.tests).filter(([id]) => isCanaryTest(id, planted));
  const canaryFailed = canaries.some(([, test]) => isFailing(test.status));
  return (
    own.some(([, test]) => test.status === 'passed') &&
    own.every(([, test]) => !isFailing(test.status)) &&
    (record.exitCode === 0 || canaryFailed) // exit code 1 must have a reason that is ours
  );
}

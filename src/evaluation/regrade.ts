import type { EvaluationManifest } from '../activities/evaluation.ts';
import type { ArtefactRef, InstanceRow } from '../domain/types.ts';
import type { PlantedCanary, RunRecord } from '../domain/runs.ts';
import type { Verdict } from '../domain/verdicts.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';
import { canonicalJson } from '../domain/canonical.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { gradeRun } from '../domain/grading.ts';
import { recordNames } from '../domain/records.ts';
import { parseSavedRun } from '../ecosystems/python/regrade.ts';
import {
  writeEvaluationReports,
  type ReportedEvaluation,
  type WriteReportsInput,
  type WrittenReports,
} from './reports.ts';

export interface RegradeInput {
  readonly runId: string;
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  /** `<state>/runs`. */
  readonly runsDir: string;
  readonly evalScript: WriteReportsInput['evalScript'];
}

export interface RegradeReport {
  readonly run_id: string;
  /** Evaluations read again from their saved logs. */
  readonly regraded: number;
  /** Evaluations that left no log (empty patches, patches that do not apply, infrastructure): kept as they were. */
  readonly kept: number;
  readonly changed: readonly { readonly instance_id: string; readonly from: Verdict; readonly to: Verdict }[];
  readonly reports: WrittenReports;
}

/**
 * Grades a finished run again from its saved logs and JUnit files, without a container, and writes its reports anew. The
 * recorded results stay as they were: what was found at the time is evidence.
 * Throws NotFound when there is no run of this id.
 */
export async function regradeRun(input: RegradeInput): Promise<RegradeReport> {
  const { store, records, runId } = input;
  const known = await records.read<{ readonly manifest: ArtefactRef }>(recordNames.evaluation(runId));
  if (known === null) {
    throw permanentFailure(
      FAILURE_TYPES.notFound,
      `There is no evaluation run "${runId}" in this installation; \`repoforge evaluate --run-id ${runId}\` makes one.`,
    );
  }
  const manifest = await store.getJson<EvaluationManifest>(known.manifest);
  const rows = await Promise.all(manifest.rows.map(({ row }) => store.getJson<InstanceRow>(row)));
  const changed: { instance_id: string; from: Verdict; to: Verdict }[] = [];
  const evaluations: ReportedEvaluation[] = [];
  let regraded = 0;
  for (const [index, entry] of manifest.entries.entries()) {
    const stored = await records.read<ReportedEvaluation>(recordNames.evaluationResult(runId, index));
    const row = rows[entry.row];
    if (stored === null || row === undefined) continue; // stopped before its turn
    const grade = await regrade(store, row, stored.result);
    evaluations.push({
      origin: stored.origin, // what the run did; reading its logs again executes nothing
      result: grade === null ? stored.result : { ...stored.result, grade },
      ...(stored.interval === undefined ? {} : { interval: stored.interval }),
    });
    if (grade === null) continue;
    regraded += 1;
    const { verdict } = stored.result.grade;
    if (canonicalJson(verdict) !== canonicalJson(grade.verdict)) {
      changed.push({ instance_id: row.instance_id, from: verdict, to: grade.verdict });
    }
  }
  const reports = await writeEvaluationReports({
    ...input,
    rows,
    evaluations,
    dataset: manifest.dataset,
    createdAt: manifest.createdAt,
  });
  return { run_id: runId, regraded, kept: evaluations.length - regraded, changed, reports };
}

/** null when the run left nothing to read. A run that did not complete keeps its outcome: no log says more about it. */
async function regrade(store: ArtefactStore, row: InstanceRow, result: ReportedEvaluation['result']) {
  if (result.record === null) return null;
  const record = await store.getJson<RunRecord>(result.record);
  if (record.outcome !== 'completed' || record.log === null) return null;
  const junit = record.junit === null ? null : await store.getText(record.junit);
  const planted =
    record.planted === null ? [] : await store.getJson<readonly PlantedCanary[]>(record.planted);
  const read = parseSavedRun(await store.getText(record.log), junit, planted);
  return gradeRun({
    failToPass: row.FAIL_TO_PASS,
    passToPass: row.PASS_TO_PASS,
    record: read === null ? { ...record, outcome: 'crashed', tests: {} } : { ...record, ...read },
    planted,
  });
}

import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ArtefactRef, InstanceRow } from '../domain/types.ts';
import type { RunRecord } from '../domain/runs.ts';
import type { EvaluationOrigin, EvaluationResult, Verdict, VerdictName } from '../domain/verdicts.ts';
import type { ArtefactStore } from '../store/types.ts';
import pLimit from 'p-limit';
import { writeEvaluationPage } from '../report/evaluation.ts';
import type { Interval } from '../report/evaluationTimes.ts';
import { harnessOutcome, instanceReport, runSummaryReport } from './reportShapes.ts';

const WRITTEN_AT_ONCE = 4; // each may start git

export interface ReportedEvaluation {
  readonly result: EvaluationResult;
  readonly origin: EvaluationOrigin;
  /** When it was worked on, for the page's times; absent in results of earlier versions. */
  readonly interval?: Interval;
}

export interface WriteReportsInput {
  readonly runId: string;
  /** `<state>/runs`. */
  readonly runsDir: string;
  readonly store: ArtefactStore;
  /** Every row of the dataset that was evaluated, submitted or not. */
  readonly rows: readonly InstanceRow[];
  readonly evaluations: readonly ReportedEvaluation[];
  /** Path of the dataset, for `run.json`. */
  readonly dataset: string;
  /** When the run was started, ISO 8601. */
  readonly createdAt: string;
  /** What a SWE-bench harness would run for a row; written as `eval.sh`. */
  readonly evalScript: (row: InstanceRow) => string | Promise<string>;
}

/** Our own numbers beside SWE-bench's: `repoforge.json` of a run. */
export interface RepoforgeRunReport {
  readonly schema_version: 1;
  readonly run_id: string;
  readonly evaluated: number;
  readonly executed: number;
  readonly served: number;
  readonly not_run: number;
  readonly resolved: number;
  /** resolved ÷ (evaluated − infra); null when nothing is left to divide by. */
  readonly resolved_rate: number | null;
  readonly graded_mean: number | null;
  readonly command_resolved: number;
  readonly verdicts: Readonly<Partial<Record<VerdictName, number>>>;
  readonly instances: readonly {
    readonly instance_id: string;
    readonly model_name_or_path: string;
    readonly verdict: Verdict;
    readonly resolved: 0 | 1 | null;
    readonly graded: number | null;
    readonly command_resolved: 0 | 1 | null;
    readonly origin: EvaluationOrigin;
    readonly evaluation_key: string;
    readonly record: ArtefactRef | null;
  }[];
}

export interface WrittenReports {
  /** Directory of the run; the harness's own commands work from here. */
  readonly dir: string;
  /** One `<model>.<run_id>.json` per model. */
  readonly summaries: readonly string[];
  readonly repoforge: string;
  readonly report: RepoforgeRunReport;
  /** The static page: verdicts, where the time went, every evaluation. */
  readonly page: string;
}

/**
 * Writes a run's reports in SWE-bench's forms and layout under `<runsDir>/<runId>/`:
 * `logs/run_evaluation/<run_id>/<model>/<instance_id>/{report.json,test_output.txt,patch.diff,eval.sh,run_instance.log}`,
 * `<model>.<run_id>.json` (schema_version 2), our own `repoforge.json` with executed, served and verdict counts, and a page.
 * As in the harness, an evaluation that ended in error (patch_failed, timeout, infra) has a log folder but no report.json.
 * May be repeated: files are replaced.
 */
export async function writeEvaluationReports(input: WriteReportsInput): Promise<WrittenReports> {
  const dir = join(input.runsDir, input.runId);
  const logs = join(dir, 'logs', 'run_evaluation', input.runId);
  await mkdir(logs, { recursive: true });
  const metadata = { dataset: input.dataset, split: 'test', task_repo: null, created_at: input.createdAt };
  await writeFile(join(logs, 'run.json'), `${JSON.stringify(metadata, null, 2)}\n`);

  const rows = new Map(input.rows.map((row) => [row.instance_id, row]));
  const limit = pLimit(WRITTEN_AT_ONCE);
  // two models may share a folder (a/b and a__b): what goes into one is written in order
  const folders = Map.groupBy(input.evaluations, ({ result }) => logFolder(input.runId, result));
  const written = await Promise.allSettled(
    [...folders.values()].map((evaluations) =>
      limit(async () => {
        for (const { result } of evaluations)
          await writeInstance(input, dir, rows.get(result.instanceId), result);
      }),
    ),
  );
  for (const one of written) if (one.status === 'rejected') throw one.reason;
  const ids = input.rows.map((row) => row.instance_id);
  const summaries: string[] = [];
  for (const [model, results] of groupByModel(input.evaluations)) {
    const file = join(dir, `${fileName(model)}.${input.runId}.json`);
    await writeFile(file, `${JSON.stringify(runSummaryReport(ids, results), null, 4)}\n`);
    summaries.push(file);
  }
  const report = repoforgeReport(input.runId, input.evaluations);
  const repoforge = join(dir, 'repoforge.json');
  await writeFile(repoforge, `${JSON.stringify(report, null, 2)}\n`);
  const page = await writeEvaluationPage({
    ...input,
    dir,
    logsOf: (result) => logFolder(input.runId, result),
  });
  return { dir, summaries, repoforge, report, page };
}

/** Where an evaluation's logs are, relative to the run's directory. */
const logFolder = (runId: string, result: EvaluationResult): string =>
  join('logs', 'run_evaluation', runId, fileName(result.modelNameOrPath), result.instanceId);

/** As the harness spells a model's folder. */
const fileName = (model: string): string => {
  const name = model.replaceAll('/', '__');
  return name === '.' || name === '..' ? `_${name}` : name;
};

function groupByModel(
  evaluations: readonly ReportedEvaluation[],
): ReadonlyMap<string, readonly EvaluationResult[]> {
  return Map.groupBy(
    evaluations.map(({ result }) => result),
    (result) => result.modelNameOrPath,
  );
}

async function writeInstance(
  input: WriteReportsInput,
  runDir: string,
  row: InstanceRow | undefined,
  result: EvaluationResult,
): Promise<void> {
  const outcome = harnessOutcome(result.grade.verdict);
  if (outcome === 'empty_patch') return; // the harness starts nothing for these
  const dir = join(runDir, logFolder(input.runId, result));
  await mkdir(dir, { recursive: true });
  const patch = result.patch === null ? '' : await input.store.get(result.patch);
  const record = result.record === null ? null : await input.store.getJson<RunRecord>(result.record);
  const log = record === null || record.log === null ? null : await input.store.get(record.log);
  await writeFile(join(dir, 'patch.diff'), patch);
  if (row !== undefined) await writeFile(join(dir, 'eval.sh'), await input.evalScript(row));
  await writeFile(join(dir, 'run_instance.log'), runLog(result, record));
  if (log !== null) await writeFile(join(dir, 'test_output.txt'), testOutput(log, record));
  const reportFile = join(dir, 'report.json');
  if (outcome === 'error') await rm(reportFile, { force: true });
  else {
    const report = instanceReport(result.instanceId, result.grade, result.patch !== null);
    await writeFile(reportFile, JSON.stringify(report, null, 4));
  }
}

/** Our log between the harness's markers, so that its own `report` command can read it. */
function testOutput(log: Buffer, record: RunRecord | null): Buffer {
  const end = [
    '',
    '>>>>> End Test Output',
    ...(record === null || record.exitCode === null ? [] : [`>>>>> Test Exit Code: ${record.exitCode}`]),
    ...(record?.outcome === 'timeout' ? ['', 'Timeout error: the time limit of the row was exceeded.'] : []),
    '',
  ];
  return Buffer.concat([Buffer.from('>>>>> Start Test Output\n'), log, Buffer.from(end.join('\n'))]);
}

function runLog(result: EvaluationResult, record: RunRecord | null): string {
  const { grade } = result;
  const applied =
    grade.verdict.verdict === 'patch_failed'
      ? '>>>>> Patch Apply Failed'
      : result.patch === null
        ? 'No patch (nop)'
        : '>>>>> Applied Patch';
  const lines = [
    applied,
    ...(record?.note ? [record.note] : []),
    ...(record === null
      ? []
      : record.droppedPaths.map((path) => `Protected, left as the row pins it: ${path}`)),
    ...(record === null ? [] : [`Outcome: ${record.outcome}, exit code ${record.exitCode ?? 'none'}`]),
    ...(record === null ? [] : [`Test runtime: ${(record.durations.testsMs / 1000).toFixed(2)} seconds`]),
    `Verdict: ${JSON.stringify(grade.verdict)}`,
    `Rewards: resolved ${grade.resolved}, graded ${grade.graded}, command_resolved ${grade.commandResolved}`,
    `Evaluation key: ${result.key}`,
  ];
  return `${lines.join('\n')}\n`;
}

function repoforgeReport(runId: string, evaluations: readonly ReportedEvaluation[]): RepoforgeRunReport {
  const grades = evaluations.map(({ result }) => result.grade);
  const scored = grades.filter((grade) => grade.resolved !== null);
  const resolved = scored.filter((grade) => grade.resolved === 1).length;
  const sum = scored.reduce((total, grade) => total + (grade.graded ?? 0), 0);
  const verdicts = Map.groupBy(grades, (grade) => grade.verdict.verdict);
  const from = (origin: EvaluationOrigin): number =>
    evaluations.filter((evaluation) => evaluation.origin === origin).length;
  return {
    schema_version: 1,
    run_id: runId,
    evaluated: evaluations.length,
    executed: from('executed'),
    served: from('served'),
    not_run: from('not_run'),
    resolved,
    resolved_rate: scored.length === 0 ? null : resolved / scored.length,
    graded_mean: scored.length === 0 ? null : sum / scored.length,
    command_resolved: grades.filter((grade) => grade.commandResolved === 1).length,
    verdicts: Object.fromEntries([...verdicts].map(([verdict, group]) => [verdict, group.length])),
    instances: evaluations.map(({ result, origin }) => ({
      instance_id: result.instanceId,
      model_name_or_path: result.modelNameOrPath,
      verdict: result.grade.verdict,
      resolved: result.grade.resolved,
      graded: result.grade.graded,
      command_resolved: result.grade.commandResolved,
      origin,
      evaluation_key: result.key,
      record: result.record,
    })),
  };
}

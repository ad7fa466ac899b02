import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { RunRecord } from '../domain/runs.ts';
import type { EvaluationOrigin, EvaluationResult } from '../domain/verdicts.ts';
import type { ArtefactStore } from '../store/types.ts';
import { breakdownOf } from './breakdown.ts';
import { evaluationPage, type EvaluationReport } from './evaluationPage.ts';
import { runTimesOf, type Interval } from './evaluationTimes.ts';
import { writeAtomically } from './write.ts';

/** What the page shows of one evaluation. */
interface Evaluated {
  readonly result: EvaluationResult;
  readonly origin: EvaluationOrigin;
  readonly interval?: Interval;
}

export interface EvaluationPageInput {
  readonly runId: string;
  /** Directory of the run. */
  readonly dir: string;
  readonly dataset: string;
  readonly createdAt: string;
  readonly store: ArtefactStore;
  readonly evaluations: readonly Evaluated[];
  /** Path, relative to the run's directory, of an evaluation's log folder. */
  readonly logsOf: (result: EvaluationResult) => string;
}

/** Writes a run's static page, `<dir>/report/index.html`, and returns its path. */
export async function writeEvaluationPage(input: EvaluationPageInput): Promise<string> {
  const path = join(input.dir, 'report', 'index.html');
  await mkdir(dirname(path), { recursive: true });
  await writeAtomically(path, evaluationPage(await evaluationReport(input)));
  return path;
}

/** Gathers what the page shows. Times are of what this run executed; a served verdict took none. */
async function evaluationReport(input: EvaluationPageInput): Promise<EvaluationReport> {
  const { runId, dataset, createdAt, store } = input;
  const entries = await Promise.all(
    input.evaluations.map(async (evaluation) => {
      const { result, origin } = evaluation;
      const record =
        origin !== 'executed' || result.record === null
          ? null
          : await store.getJson<RunRecord>(result.record);
      return { ...evaluation, durations: record?.durations ?? null };
    }),
  );
  const executed = entries.flatMap(({ durations }) => durations ?? []);
  return {
    runId,
    dataset,
    createdAt,
    time: breakdownOf(executed),
    times: runTimesOf(
      entries.flatMap(({ interval, durations }) =>
        interval === undefined || durations === null ? [] : [{ interval, testsMs: durations.testsMs }],
      ),
    ),
    evaluations: entries.map(({ result, origin, durations }) => ({
      instanceId: result.instanceId,
      model: result.modelNameOrPath,
      verdict: result.grade.verdict,
      graded: result.grade.graded,
      failToPass: result.grade.failToPass,
      passToPass: result.grade.passToPass,
      origin,
      testsMs: durations?.testsMs ?? null,
      totalMs: durations?.totalMs ?? null,
      logs: result.record === null ? null : `../${input.logsOf(result)}`,
    })),
  };
}

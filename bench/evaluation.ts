import { availableParallelism, hostname } from 'node:os';
import pLimit from 'p-limit';
import type { RunRecord } from '../src/domain/types.ts';
import type { EvaluationResult } from '../src/domain/verdicts.ts';
import type { Rows } from '../src/cli/rows.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { machineLine, median, type BenchReport } from './report.ts';

const PHASES = ['startMs', 'treeMs', 'installMs', 'patchMs', 'testsMs', 'teardownMs'] as const;

/**
 * Overhead of one evaluation beyond the tests' own time: gold of each row, nothing served, one at a time; then all of
 * them again on as many slots as there are cores, for the wall time.
 */
export async function benchEvaluation(deps: Dependencies, rows: Rows, repeats: number): Promise<BenchReport> {
  const context = {
    owner: { installation: deps.state.installation, host: hostname() },
    heartbeat: () => undefined,
    signal: new AbortController().signal,
  };
  const evaluate = (row: Rows['rows'][number], repetition: number) =>
    deps.evaluator.evaluate({
      row,
      patch: 'gold',
      modelNameOrPath: 'gold',
      repetition,
      provenCanaries: rows.provenCanaries(row.instance_id),
      context,
    });
  const [first] = rows.rows;
  if (first !== undefined) await evaluate(first, 0); // page cache, daemon and environments as in a run that goes on
  const runs: Record<string, number | string | null>[] = [];
  for (let repeat = 1; repeat <= repeats; repeat += 1) {
    for (const row of rows.rows) {
      const startedMs = performance.now();
      const { result } = await evaluate(row, repeat);
      const wallMs = Math.round(performance.now() - startedMs);
      const { totalMs: _total, ...phases } = await durationsOf(deps, result);
      const verdict = result.grade.verdict.verdict;
      runs.push({
        instance: row.instance_id,
        verdict,
        wallMs,
        overheadMs: wallMs - phases.testsMs,
        ...phases,
      });
    }
  }
  const slots = availableParallelism();
  const limit = pLimit(slots);
  const startedMs = performance.now();
  await Promise.all(rows.rows.map((row) => limit(() => evaluate(row, repeats + 1))));
  const parallelWallMs = Math.round(performance.now() - startedMs);
  const tests = runs.slice(0, rows.rows.length).map(({ testsMs }) => Number(testsMs));
  const ideal = Math.max(0, ...tests, tests.reduce((sum, ms) => sum + ms, 0) / slots);
  return {
    bench: 'evaluation',
    figure: median(runs.map(({ overheadMs }) => Number(overheadMs))),
    unit: 'ms',
    what: 'median over evaluations of gold: wall time less the time of the test process, one at a time, verdict cache not used',
    target: '<= 1000 ms',
    machine: machineLine(),
    runs,
    more: {
      evaluations: runs.length,
      resolved: runs.filter(({ verdict }) => verdict === 'resolved').length,
      wall_ms_p50: median(runs.map(({ wallMs }) => Number(wallMs))),
      ...Object.fromEntries(PHASES.map((phase) => [phase, median(runs.map((run) => Number(run[phase])))])),
      parallel_slots: slots,
      parallel_wall_ms: parallelWallMs,
      parallel_ideal_ms: Math.round(ideal),
    },
  };
}

async function durationsOf(deps: Dependencies, result: EvaluationResult): Promise<RunRecord['durations']> {
  if (result.record === null) throw new Error(`${result.instanceId} left no record`);
  return (await deps.store.getJson<RunRecord>(result.record)).durations;
}

import { join, relative } from 'node:path';
import { infraResult, resolvePatch } from '../evaluation/evaluate.ts';
import type { Evaluator } from '../evaluation/evaluate.ts';
import { writeEvaluationReports } from '../evaluation/reports.ts';
import type { ReportedEvaluation } from '../evaluation/reports.ts';
import { recordNames } from '../domain/records.ts';
import type { ArtefactRef, InstanceRow } from '../domain/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { ControlActivities, SandboxActivities } from './types.ts';
import { withWork } from './work.ts';
import type { WorkDeps } from './work.ts';

/** What an evaluation run is about, as an artefact: rows once, and one entry for each prediction. */
export interface EvaluationManifest {
  readonly schema: 1;
  readonly runId: string;
  readonly createdAt: string;
  /** Path of the dataset, for the reports. */
  readonly dataset: string;
  readonly rows: readonly {
    readonly row: ArtefactRef;
    /** JSON artefact of the proven `Canary[]`; null when the row has none. */
    readonly provenCanaries: ArtefactRef | null;
  }[];
  readonly entries: readonly {
    /** Index into `rows`. */
    readonly row: number;
    readonly patch: ArtefactRef | 'gold' | 'nop' | null;
    readonly modelNameOrPath: string;
  }[];
}

export interface EvaluationDeps extends WorkDeps {
  readonly store: ArtefactStore;
  readonly evaluator: Evaluator;
  readonly assertRoom: () => Promise<void>;
  readonly stateDir: string;
  readonly runsDir: string;
  /** What a SWE-bench harness would run for a row. */
  readonly evalScript: (row: InstanceRow) => string | Promise<string>;
}

/** One prediction each, recorded by run id and index; then the reports from the records. */
export function createEvaluationActivities(
  deps: EvaluationDeps,
): Pick<SandboxActivities, 'evaluatePrediction'> & Pick<ControlActivities, 'writeEvaluationReports'> {
  const manifests = cachedManifests(deps.store);
  return {
    evaluatePrediction: ({ runId, manifest: ref, index }) =>
      withWork(deps, undefined, async (context) => {
        const name = recordNames.evaluationResult(runId, index);
        const known = await deps.records.read<ReportedEvaluation>(name);
        if (known === null) await deps.assertRoom(); // a full disk must never look like a failing test
        const reported = known ?? (await evaluate(deps, await manifests(ref), index, context));
        const { value } = known === null ? await deps.records.record(name, reported) : { value: known };
        return { origin: value.origin, verdict: value.result.grade.verdict.verdict };
      }),
    writeEvaluationReports: ({ runId, manifest: ref }) =>
      withWork(deps, undefined, async () => {
        const manifest = await manifests(ref);
        const written = await writeEvaluationReports({
          runId,
          runsDir: deps.runsDir,
          store: deps.store,
          rows: await Promise.all(manifest.rows.map(({ row }) => deps.store.getJson<InstanceRow>(row))),
          evaluations: await evaluationsOf(deps, runId, manifest),
          dataset: manifest.dataset,
          createdAt: manifest.createdAt,
          evalScript: deps.evalScript,
        });
        const paths = [...written.summaries, written.repoforge, written.page];
        return { reports: paths.map((path) => relative(deps.stateDir, join(path))) };
      }),
  };
}

async function evaluate(
  deps: EvaluationDeps,
  manifest: EvaluationManifest,
  index: number,
  context: Parameters<Evaluator['evaluate']>[0]['context'],
): Promise<ReportedEvaluation> {
  const entry = manifest.entries[index];
  const row = entry === undefined ? undefined : manifest.rows[entry.row];
  if (entry === undefined || row === undefined) throw new Error(`the manifest has no entry ${index}`);
  const startedMs = Date.now();
  const evaluated = await deps.evaluator.evaluate({
    row: await deps.store.getJson<InstanceRow>(row.row),
    patch: entry.patch,
    modelNameOrPath: entry.modelNameOrPath,
    provenCanaries: row.provenCanaries,
    context,
  });
  return { ...evaluated, interval: { startedMs, endedMs: Date.now() } };
}

/** Recorded results; where infrastructure failed for good, a verdict that says so and is in no rate. */
async function evaluationsOf(
  deps: EvaluationDeps,
  runId: string,
  manifest: EvaluationManifest,
): Promise<readonly ReportedEvaluation[]> {
  return Promise.all(
    manifest.entries.map(async (entry, index) => {
      const known = await deps.records.read<ReportedEvaluation>(recordNames.evaluationResult(runId, index));
      if (known !== null) return known;
      const listed = manifest.rows[entry.row];
      if (listed === undefined) throw new Error(`entry ${index} of the manifest has no row`);
      const { modelNameOrPath } = entry;
      const { provenCanaries } = listed;
      const row = await deps.store.getJson<InstanceRow>(listed.row);
      const patch = await resolvePatch(deps.store, { row, patch: entry.patch });
      const reason = 'not evaluated: the run was stopped, or infrastructure failed for good';
      return {
        origin: 'infra' as const,
        result: infraResult({ row, modelNameOrPath, patch, provenCanaries }, reason),
      };
    }),
  );
}

/** A manifest of thousands of predictions is parsed once, not once for each of them. */
function cachedManifests(store: ArtefactStore): (ref: ArtefactRef) => Promise<EvaluationManifest> {
  let last: { readonly ref: ArtefactRef; readonly manifest: Promise<EvaluationManifest> } | undefined;
  return (ref) => {
    if (last?.ref !== ref) last = { ref, manifest: store.getJson<EvaluationManifest>(ref) };
    const { manifest } = last;
    manifest.catch(() => (last = undefined));
    return manifest;
  };
}

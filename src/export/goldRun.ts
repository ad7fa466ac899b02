import type { Evidence } from '../domain/evidence.ts';
import type { ArtefactRef, Candidate, InstanceRow } from '../domain/types.ts';
import type { RunRecord } from '../domain/runs.ts';
import type { EvaluationResult } from '../domain/verdicts.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';
import { evaluationRecord, keyOf } from '../evaluation/evaluate.ts';
import type { GoldRun } from './dataset.ts';

/**
 * The gold run of a row: that of its validation, else of a stored evaluation (rows that were imported have no evidence);
 * null when there is neither.
 */
export async function goldRunOf(
  deps: { readonly store: ArtefactStore; readonly records: RecordStore },
  evidence: Evidence | undefined,
  row: InstanceRow,
): Promise<(GoldRun & { readonly note: string }) | null> {
  const { store } = deps;
  const ref = validatedRun(evidence) ?? (await storedGoldRun(deps, row));
  if (ref === null || !(await store.has(ref))) return null;
  const record = await store.getJson<RunRecord>(ref);
  if (record.log === null) return null;
  return { log: await store.getText(record.log), tests: Object.keys(record.tests), note: record.note };
}

/** The first run with gold: by name, since the order of runs is that of their ends. It has no canaries in its log. */
const validatedRun = (evidence: Evidence | undefined): ArtefactRef | undefined =>
  evidence?.runs
    .filter(({ name }) => name.startsWith('after-'))
    .toSorted((a, b) => a.name.localeCompare(b.name))[0]?.record;

async function storedGoldRun(
  { store, records }: { readonly store: ArtefactStore; readonly records: RecordStore },
  row: InstanceRow,
): Promise<ArtefactRef | null> {
  if (!(await store.has(row.candidate))) return null;
  const { patch } = await store.getJson<Candidate>(row.candidate);
  return (await records.read<EvaluationResult>(evaluationRecord(keyOf(row, patch, null))))?.record ?? null;
}

import { recordNames } from '../../src/domain/records.ts';
import type { RunRecord } from '../../src/domain/runs.ts';
import type { ArtefactRef, InstanceRow } from '../../src/domain/types.ts';
import type { EvaluationOrigin, VerdictName } from '../../src/domain/verdicts.ts';
import type { ReportedEvaluation } from '../../src/evaluation/reports.ts';
import type { ArtefactStore, RecordStore } from '../../src/store/types.ts';

export interface EvaluatedRows {
  readonly rows: readonly InstanceRow[];
  readonly provenCanaries: (id: string) => ArtefactRef | null;
}

/** A prediction with what must come of it. */
export interface ExpectedPrediction {
  readonly instanceId: string;
  readonly modelNameOrPath: string;
  readonly patch: { readonly text: string };
  readonly verdict: VerdictName;
  readonly origin: EvaluationOrigin;
}

const KINDS = {
  'gold after a note': { verdict: 'resolved', origin: 'executed' },
  'gold before a note': { verdict: 'resolved', origin: 'executed' },
  'a note': { verdict: 'unresolved', origin: 'executed' },
  'does not apply': { verdict: 'patch_failed', origin: 'not_run' },
} as const;

/** Four predictions a row, each of a text that only this round has, so that nothing is served. */
export const predictions = (rows: readonly InstanceRow[], round: number): readonly ExpectedPrediction[] =>
  rows.flatMap((row) =>
    (Object.keys(KINDS) as (keyof typeof KINDS)[]).map((kind) => ({
      instanceId: row.instance_id,
      modelNameOrPath: kind,
      patch: { text: textOf(row, kind, round) },
      ...KINDS[kind],
    })),
  );

function textOf({ patch }: InstanceRow, kind: keyof typeof KINDS, round: number): string {
  const note = `diff --git a/soak.txt b/soak.txt\nnew file mode 100644\n--- /dev/null\n+++ b/soak.txt\n@@ -0,0 +1 @@\n+round ${round}\n`;
  switch (kind) {
    case 'gold after a note':
      return note + patch;
    case 'gold before a note':
      return patch + note;
    case 'a note':
      return note;
    case 'does not apply':
      return `diff --git a/none.py b/none.py\n--- a/none.py\n+++ b/none.py\n@@ -1 +1 @@\n-nothing\n+round ${round}\n`;
  }
}

const TAIL_CHARACTERS = 1_500;

/** A sentence for each prediction of a run that got another verdict than the one it was made for, with how that came about. */
export async function wrongVerdicts(
  { records, store }: { readonly records: RecordStore; readonly store: ArtefactStore },
  runId: string,
  entries: readonly ExpectedPrediction[],
): Promise<readonly string[]> {
  const told = await Promise.all(
    entries.map(async (entry, index) => {
      const known = await records.read<ReportedEvaluation>(recordNames.evaluationResult(runId, index));
      const got = known === null ? 'nothing' : `${known.result.grade.verdict.verdict}, ${known.origin}`;
      if (got === `${entry.verdict}, ${entry.origin}`) return null;
      const how = known === null ? '' : await howItCame(store, known);
      return `${runId}: ${entry.instanceId}, ${entry.modelNameOrPath}: ${got} instead of ${entry.verdict}, ${entry.origin}. ${how}`;
    }),
  );
  return told.filter((sentence) => sentence !== null);
}

async function howItCame(store: ArtefactStore, { result }: ReportedEvaluation): Promise<string> {
  const grade = JSON.stringify(result.grade);
  if (result.record === null) return grade;
  const record = await store.getJson<RunRecord>(result.record);
  const log = record.log === null ? '' : (await store.get(record.log)).toString('utf8');
  const { outcome, exitCode, note, planted } = record;
  return `${grade} ${JSON.stringify({ outcome, exitCode, note, planted })} …${log.slice(-TAIL_CHARACTERS)}`;
}

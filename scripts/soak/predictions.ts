import { recordNames } from '../../src/domain/records.ts';
import type { ArtefactRef, InstanceRow } from '../../src/domain/types.ts';
import type { EvaluationOrigin, VerdictName } from '../../src/domain/verdicts.ts';
import type { ReportedEvaluation } from '../../src/evaluation/reports.ts';
import type { RecordStore } from '../../src/store/types.ts';

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

/** What is recorded of each prediction of a run: `resolved, executed`, or `none`. */
export const verdictsOf = (
  { records }: { readonly records: RecordStore },
  runId: string,
  entries: readonly ExpectedPrediction[],
): Promise<readonly { readonly entry: ExpectedPrediction; readonly verdict: string }[]> =>
  Promise.all(
    entries.map(async (entry, index) => {
      const known = await records.read<ReportedEvaluation>(recordNames.evaluationResult(runId, index));
      const verdict = known === null ? 'none' : `${known.result.grade.verdict.verdict}, ${known.origin}`;
      return { entry, verdict };
    }),
  );

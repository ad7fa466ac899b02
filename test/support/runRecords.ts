import type { Canary, PlantedCanary, RunRecord, TestResult, TestStatus } from '../../src/domain/runs.ts';

/** Short spelling of statuses in tables of tests. */
const STATUS = { p: 'passed', f: 'failed', e: 'error', s: 'skipped', x: 'xfailed' } as const;
export type Short = keyof typeof STATUS;

export const result = (status: TestStatus, more: Partial<TestResult> = {}): TestResult => ({
  status,
  durationMs: 10,
  ...more,
});

/** A completed run from `{ id: 'p' }`; the exit code follows from the statuses unless given. */
export function runRecord(
  tests: Readonly<Record<string, Short | TestResult>>,
  more: Partial<RunRecord> = {},
): RunRecord {
  const results = Object.fromEntries(
    Object.entries(tests).map(([id, test]) => [id, typeof test === 'string' ? result(STATUS[test]) : test]),
  );
  const failing = Object.values(results).some(({ status }) => status === 'failed' || status === 'error');
  const broken = failing || (more.collectionErrors ?? []).length > 0;
  return {
    schema: 1,
    kind: 'evaluate',
    outcome: 'completed',
    exitCode: broken ? 1 : Object.keys(results).length === 0 ? 5 : 0,
    tests: results,
    collectionErrors: [],
    log: null,
    junit: null,
    canaryPool: null,
    planted: null,
    note: '',
    droppedPaths: [],
    durations: {
      totalMs: 0,
      startMs: 0,
      treeMs: 0,
      installMs: 0,
      patchMs: 0,
      testsMs: 0,
      teardownMs: 0,
    },
    peakMemoryBytes: null,
    ...more,
  };
}

/** A canary of `file::twin`; `twin: null` makes a plainly failing one. */
export function planted(
  file: string,
  twin: string | null,
  name: string,
  more: Partial<Canary> = {},
): PlantedCanary {
  const prefix = `${file}::`;
  return {
    name,
    canary: {
      file,
      insertAfterLine: 1,
      source: '\n\ndef @@NAME@@():\n    assert not (1 == 1)\n',
      names: [name, `${name}_2`],
      twin: twin === null ? null : prefix + twin,
      prefix,
      ...more,
    },
  };
}

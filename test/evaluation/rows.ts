import type { ArtefactRef, InstanceRow } from '../../src/domain/types.ts';
import type { RunRecord } from '../../src/domain/runs.ts';
import { DEFAULT_RUN_LIMITS } from '../../src/domain/runs.ts';
import { rowHash } from '../../src/domain/ids.ts';

const nothing: ArtefactRef = `sha256:${'0'.repeat(64)}`;
const label = { score: 1, votes: [1], method: 'heuristic', controversial: false, rationale: 'r' } as const;

/** A complete native row with small made-up content. */
export function makeRow(changes: Partial<Omit<InstanceRow, 'row_hash'>> = {}): InstanceRow {
  const row: Omit<InstanceRow, 'row_hash'> = {
    schema_version: 1,
    instance_id: 'a__a-1',
    repo: 'a/a',
    source: 'git',
    language: 'python',
    license: 'MIT',
    base_commit: 'b'.repeat(40),
    environment_setup_commit: 'b'.repeat(40),
    version: '1.0',
    created_at: '2024-01-01T00:00:00Z',
    patch: 'diff --git a/a.py b/a.py\n',
    test_patch: 'diff --git a/test_a.py b/test_a.py\n',
    problem_statement: 'It is broken.',
    hints_text: '',
    FAIL_TO_PASS: ['test_a.py::test_new'],
    PASS_TO_PASS: ['test_a.py::test_old'],
    collection_fail_to_pass: [],
    quarantined_tests: [],
    test_scope: ['test_a.py'],
    environment: {
      key: 'e'.repeat(64),
      variant: 'pruned',
      base: 'debian-bookworm/1',
      runtime_version: '3.11',
      system_packages: [],
      lock: 'pytest==8.0.0\n',
      prune_rules: '1',
      cutoff: '2024-01-01T00:00:00Z',
      cutoff_policy: 'quarter',
      install: [],
      test: ['python', '-m', 'pytest'],
    },
    limits: DEFAULT_RUN_LIMITS,
    labels: { labeler: 'heuristic-v1', issue_clarity: label, test_fairness: label, effort: label },
    provenance: {},
    candidate: nothing,
    environment_spec: nothing,
    ...changes,
  };
  return { ...row, row_hash: rowHash(row) };
}

/** A run in which the given tests passed and the others failed. */
export function makeRecord(
  passed: readonly string[],
  failed: readonly string[] = [],
  changes: Partial<RunRecord> = {},
): RunRecord {
  const tests = Object.fromEntries([
    ...passed.map((id) => [id, { status: 'passed', durationMs: 1 }] as const),
    ...failed.map((id) => [id, { status: 'failed', durationMs: 1, message: 'assert 0' }] as const),
  ]);
  return {
    schema: 1,
    kind: 'evaluate',
    outcome: 'completed',
    exitCode: failed.length > 0 ? 1 : 0,
    tests,
    collectionErrors: [],
    log: null,
    junit: null,
    canaryPool: null,
    planted: null,
    note: '',
    droppedPaths: [],
    durations: {
      totalMs: 10,
      startMs: 1,
      treeMs: 1,
      installMs: 1,
      patchMs: 1,
      testsMs: 5,
      teardownMs: 1,
    },
    peakMemoryBytes: null,
    ...changes,
  };
}

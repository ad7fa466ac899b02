import { expect, test } from 'vitest';
import { compareHealth } from '../../src/domain/health.ts';
import type { RunRecord, TestStatus } from '../../src/domain/runs.ts';

const record = (tests: Record<string, TestStatus>, more: Partial<RunRecord> = {}): RunRecord => ({
  schema: 1,
  kind: 'health',
  outcome: 'completed',
  exitCode: 0,
  tests: Object.fromEntries(
    Object.entries(tests).map(([id, status]) => [
      id,
      {
        status,
        durationMs: 1,
        ...(status === 'passed' ? {} : { message: `No such file: /env/pkg/data/${id}` }),
      },
    ]),
  ),
  collectionErrors: [],
  log: null,
  junit: null,
  canaryPool: null,
  planted: null,
  note: '',
  droppedPaths: [],
  durations: { totalMs: 1, startMs: 0, treeMs: 0, installMs: 0, patchMs: 0, testsMs: 1, teardownMs: 0 },
  peakMemoryBytes: null,
  ...more,
});

test('Two health runs agree when every test ends alike, however long it took and whether it failed or erred', () => {
  const one = record({ a: 'passed', b: 'failed', c: 'skipped' });
  const other = record({ a: 'passed', b: 'error', c: 'skipped' });
  expect(compareHealth(one, other)).toBeNull();
});

test('A test that only the full environment passes is a disagreement that names the package it missed', () => {
  const found = compareHealth(record({ a: 'passed', b: 'failed' }), record({ a: 'passed', b: 'passed' }));
  expect(found).toMatchObject({ tests: ['b'], packages: ['pkg'] });
});

test('A run that ended otherwise is a disagreement even when no test tells', () => {
  const crashed = record({}, { outcome: 'crashed', note: "No module named 'numpy.tests'" });
  expect(compareHealth(crashed, record({}))).toMatchObject({ tests: [], packages: ['numpy'] });
});

import { expect, test } from 'vitest';
import { proveCanaries } from '../../src/domain/canaries.ts';
import { planted, result, runRecord } from '../support/runRecords.ts';
import type { Short } from '../support/runRecords.ts';
import type { TestResult } from '../../src/domain/runs.ts';

const A = 'tests/test_a.py';
const one = planted(A, 'test_x', 'test_x_more');
const after = runRecord({ [`${A}::test_x`]: 'p', [`${A}::test_y`]: 'p', 'tests/test_b.py::t': 'p' });
const withPool = (more: Readonly<Record<string, Short | TestResult>>) =>
  runRecord({ [`${A}::test_x`]: 'p', [`${A}::test_y`]: 'p', 'tests/test_b.py::t': 'p', ...more });
const beforeWithPool = runRecord({ [`${A}::test_x`]: 'f', [`${A}::test_x_more`]: 'f' });
const proven = (more: Readonly<Record<string, Short | TestResult>>, canaries = [one]) =>
  proveCanaries({ after, beforeWithPool, afterWithPool: withPool(more), planted: canaries }).length;

const C = `${A}::test_x_more`;
const slow = result('failed', { durationMs: 1_500 });
const rows: readonly (readonly [string, Readonly<Record<string, Short | TestResult>>, number])[] = [
  ['fails where its twin passes', { [C]: 'f' }, 1],
  ['passes', { [C]: 'p' }, 0],
  ['errors in its set-up', { [C]: 'e' }, 0],
  ['is skipped', { [C]: 's' }, 0],
  ['is not collected', {}, 0],
  ['costs more than its twin plus a second', { [C]: slow }, 0],
  ['changes another result of its file', { [C]: 'f', [`${A}::test_y`]: 'f' }, 0],
  ['brings a new test into its file', { [C]: 'f', [`${A}::test_z`]: 'p' }, 0],
  ['changes a result of another file', { [C]: 'f', 'tests/test_b.py::t': 'f' }, 1],
  ['is inherited into another file', { [C]: 'f', 'tests/test_b.py::TestSub::test_x_more': 'f' }, 0],
];
test.each(rows)('a canary that %s is proven or not', (_what, more, count) => {
  expect(proven(more)).toBe(count);
});

test('a canary that passes beside its twin on the base is not proven: it would accuse whoever changes nothing', () => {
  const prove = (before: Readonly<Record<string, Short>>) =>
    proveCanaries({
      after,
      beforeWithPool: runRecord(before),
      afterWithPool: withPool({ [C]: 'f' }),
      planted: [one],
    }).length;
  expect(prove({ [`${A}::test_x`]: 'p', [C]: 'p' })).toBe(0);
  expect(prove({ [`${A}::test_x`]: 'f', [C]: 'p' })).toBe(1);
  expect(prove({ [`${A}::test_x`]: 'p', [C]: 'f' })).toBe(1);
});

test('a parametrised canary must fail in every parametrisation that its twin has', () => {
  const base = { [`${A}::t[1]`]: 'p', [`${A}::t[2]`]: 'p' } as const;
  const canary = planted(A, 't', 't_more');
  const prove = (more: Readonly<Record<string, Short>>) =>
    proveCanaries({
      after: runRecord(base),
      beforeWithPool,
      afterWithPool: runRecord({ ...base, ...more }),
      planted: [canary],
    }).length;
  expect(prove({ [`${A}::t_more[1]`]: 'f', [`${A}::t_more[2]`]: 'f' })).toBe(1);
  expect(prove({ [`${A}::t_more[1]`]: 'f', [`${A}::t_more[2]`]: 'p' })).toBe(0);
  expect(prove({ [`${A}::t_more[1]`]: 'f' })).toBe(0);
});

test('nothing is proven by a run that did not end', () => {
  const afterWithPool = runRecord({ [C]: 'f' }, { outcome: 'timeout' });
  expect(proveCanaries({ after, beforeWithPool, afterWithPool, planted: [one] })).toEqual([]);
});

import { expect, test } from 'vitest';
import { chooseScope } from '../../src/domain/scope.ts';
import { result, runRecord } from '../support/runRecords.ts';

const passed = (durationMs: number) => result('passed', { durationMs });
const costs = (files: Readonly<Record<string, number>>) =>
  runRecord(Object.fromEntries(Object.entries(files).map(([file, ms]) => [`${file}::t`, passed(ms)])));

test('a suite that is well inside the budget is taken whole, the change first', () => {
  const health = costs({ 'tests/test_z.py': 9, 'tests/test_a.py': 900, 'tests/test_m.py': 5 });
  expect(chooseScope(health, ['tests/test_m.py', 'tests/test_new.py'], 10_000)).toEqual([
    'tests/test_m.py',
    'tests/test_new.py',
    'tests/test_a.py',
    'tests/test_z.py',
  ]);
});

test('a suite over the budget gives its cheapest files, in an order that does not depend on time', () => {
  const health = costs({ 'tests/test_slow.py': 9_000, 'tests/test_b.py': 900, 'tests/test_a.py': 950 });
  expect(chooseScope(health, [], 4_000)).toEqual(['tests/test_a.py', 'tests/test_b.py']);
});

test('small differences of time change nothing', () => {
  const one = costs({ 'tests/test_slow.py': 9_000, 'tests/test_a.py': 510, 'tests/test_b.py': 900 });
  const two = costs({ 'tests/test_slow.py': 9_900, 'tests/test_a.py': 700, 'tests/test_b.py': 620 });
  expect(chooseScope(one, [], 3_000)).toEqual(chooseScope(two, [], 3_000));
});

test('doctests in sources and texts, and files in which nothing passes, are never in the scope', () => {
  const health = runRecord({
    'src/pkg/mod.py::pkg.mod.f': 'p',
    'README.rst::README.rst': 'p',
    'tests/test_broken.py::t': 'f',
    'tests/test_ok.py::t': 'p',
  });
  expect(chooseScope(health, [], 60_000)).toEqual(['tests/test_ok.py']);
});

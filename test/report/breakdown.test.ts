import { expect, test } from 'vitest';
import { breakdownOf, testsShare } from '../../src/report/breakdown.ts';

const run = (totalMs: number, testsMs: number) => ({
  totalMs,
  teardownMs: 100,
  startMs: 300,
  treeMs: 200,
  installMs: 0,
  patchMs: 50,
  testsMs,
});

test('Phases stand in the order of a run, whatever order the record has, and what no phase booked is the rest', () => {
  const breakdown = breakdownOf([run(1_000, 300), run(2_000, 1_300), run(10_000, 9_000)]);
  expect(breakdown?.phases.map(({ phase }) => phase)).toEqual([
    'start',
    'tree',
    'install',
    'patch',
    'tests',
    'teardown',
    'rest',
  ]);
  expect(breakdown?.phases.find(({ phase }) => phase === 'tests')).toEqual({
    phase: 'tests',
    totalMs: 10_600,
    p50Ms: 1_300,
  });
  expect(breakdown?.phases.at(-1)).toEqual({ phase: 'rest', totalMs: 50 + 50 + 350, p50Ms: 50 });
});

test('The parts add up to the whole, and the overhead is the median of what each run took around its tests', () => {
  const breakdown = breakdownOf([run(1_000, 300), run(2_000, 1_300), run(10_000, 9_000)]);
  expect(breakdown).toMatchObject({ runs: 3, totalMs: 13_000, testsMs: 10_600, overheadP50Ms: 700 });
  expect(breakdown?.phases.reduce((sum, { totalMs }) => sum + totalMs, 0)).toBe(13_000);
  expect(breakdown === null ? '' : testsShare(breakdown)).toBe('82 %');
});

test('Without runs there is no breakdown', () => {
  expect(breakdownOf([])).toBeNull();
});

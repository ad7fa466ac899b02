import { expect, test } from 'vitest';
import { passAtK, passAtKTable } from '../../../src/domain/rl/passAtK.ts';

/** By drawing every set of k answers. */
function byCounting(n: number, c: number, k: number): number {
  const sets = Array.from({ length: 2 ** n }, (_none, bits) => bits).filter(
    (bits) => bits.toString(2).replaceAll('0', '').length === k,
  );
  const right = 2 ** c - 1; // the first c answers are right
  return sets.filter((bits) => (bits & right) !== 0).length / sets.length;
}

test.each([
  [1, 0, 1],
  [1, 1, 1],
  [4, 1, 1],
  [4, 1, 2],
  [5, 2, 3],
  [8, 3, 4],
  [8, 0, 4],
  [8, 8, 8],
])(
  'Of %i answers of which %i are right, the estimate for %i is the share of draws that hold a right one',
  (n, c, k) => {
    expect(passAtK(n, c, k)).toBeCloseTo(byCounting(n, c, k), 12);
  },
);

test('Of hundreds of answers it stays within 0 and 1, and of too few it is not a number', () => {
  expect(passAtK(1_000, 1, 500)).toBeCloseTo(0.5, 12);
  expect(passAtK(1_000, 999, 2)).toBe(1);
  expect(passAtK(3, 1, 4)).toBeNaN();
});

test('The table has 1, 2, 4, … and the largest, each over the instances that have so many graded answers', () => {
  expect(
    passAtKTable([
      { n: 5, c: 5 },
      { n: 5, c: 0 },
      { n: 1, c: 1 },
    ]).map(({ k, value, instances }) => [k, Number(value.toFixed(3)), instances]),
  ).toEqual([
    [1, 0.667, 3],
    [2, 0.5, 2],
    [4, 0.5, 2],
    [5, 0.5, 2],
  ]);
  expect(passAtKTable([{ n: 0, c: 0 }])).toEqual([]);
});

import { expect, test } from 'vitest';
import { ratio, sampled } from '../../bench/support.ts';

const entries = Array.from({ length: 21 }, (_entry, index) => index);

test('A sample has exactly as many entries as were asked for, in order, spread over the whole list', () => {
  for (let count = 1; count <= 21; count += 1) expect(sampled(entries, count)).toHaveLength(count);
  expect(sampled(entries, 3)).toEqual([0, 7, 14]);
  expect(sampled(entries, 50)).toEqual(entries);
  expect(sampled(entries, undefined)).toEqual(entries);
});

test('A ratio to nothing is no number', () => {
  expect(ratio(1, 4)).toBe(0.25);
  expect(ratio(1, 0)).toBeNull();
  expect(ratio(null, 4)).toBeNull();
});

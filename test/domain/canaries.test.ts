import { expect, test } from 'vitest';
import {
  MAX_CANARIES_PER_RUN,
  drawCanaries,
  plantCanaries,
  plantWholePool,
  proveCanaries,
} from '../../src/domain/canaries.ts';
import { planted, result, runRecord } from '../support/runRecords.ts';
import type { Short } from '../support/runRecords.ts';
import type { TestResult } from '../../src/domain/types.ts';

const A = 'tests/test_a.py';
const one = planted(A, 'test_x', 'test_x_more');
const after = runRecord({ [`${A}::test_x`]: 'p', [`${A}::test_y`]: 'p', 'tests/test_b.py::t': 'p' });
const withPool = (more: Readonly<Record<string, Short | TestResult>>) =>
  runRecord({ [`${A}::test_x`]: 'p', [`${A}::test_y`]: 'p', 'tests/test_b.py::t': 'p', ...more });
const proven = (more: Readonly<Record<string, Short | TestResult>>, canaries = [one]) =>
  proveCanaries({ after, afterWithPool: withPool(more), planted: canaries }).length;

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

test('a parametrised canary must fail in every parametrisation that its twin has', () => {
  const base = { [`${A}::t[1]`]: 'p', [`${A}::t[2]`]: 'p' } as const;
  const canary = planted(A, 't', 't_more');
  const prove = (more: Readonly<Record<string, Short>>) =>
    proveCanaries({
      after: runRecord(base),
      afterWithPool: runRecord({ ...base, ...more }),
      planted: [canary],
    }).length;
  expect(prove({ [`${A}::t_more[1]`]: 'f', [`${A}::t_more[2]`]: 'f' })).toBe(1);
  expect(prove({ [`${A}::t_more[1]`]: 'f', [`${A}::t_more[2]`]: 'p' })).toBe(0);
  expect(prove({ [`${A}::t_more[1]`]: 'f' })).toBe(0);
});

test('nothing is proven by a run that did not end', () => {
  const afterWithPool = runRecord({ [C]: 'f' }, { outcome: 'timeout' });
  expect(proveCanaries({ after, afterWithPool, planted: [one] })).toEqual([]);
});

/** A sequence that repeats. */
const sequence = (values: readonly number[]): (() => number) => {
  let at = -1;
  return () => values[(at = (at + 1) % values.length)] ?? 0;
};

test('at most eight canaries are drawn, and the first files always carry one', () => {
  const files = Array.from({ length: 30 }, (_, index) => `tests/test_${index}.py`);
  const pool = files.flatMap((file) => [planted(file, 'a', 'a_b').canary, planted(file, 'c', 'c_d').canary]);
  for (const random of [sequence([0.1, 0.9, 0.4]), sequence([0.7, 0.2]), Math.random]) {
    const drawn = drawCanaries(pool, files, random);
    expect(drawn.length).toBe(MAX_CANARIES_PER_RUN);
    const carriers = new Set(drawn.map(({ canary }) => canary.file));
    for (const file of files.slice(0, 4)) expect(carriers).toContain(file);
  }
});

test('different draws plant different canaries or names', () => {
  const pool = ['a', 'b', 'c', 'd'].map((name) => planted(A, name, `${name}_more`).canary);
  const draws = new Set(
    Array.from({ length: 40 }, () => JSON.stringify(drawCanaries(pool, [A], Math.random))),
  );
  expect(draws.size).toBeGreaterThan(5);
});

test('a plainly failing canary is drawn only where no test could be inverted', () => {
  const plain = planted(A, null, 'test_plain').canary;
  expect(drawCanaries([plain], [A], () => 0.9).map(({ canary }) => canary.twin)).toEqual([null]);
  const drawn = drawCanaries([plain, one.canary], [A], () => 0.4);
  expect(drawn.map(({ canary }) => canary.twin)).toEqual([`${A}::test_x`]);
});

test('files without canaries draw none', () => {
  expect(drawCanaries([one.canary], ['tests/test_b.py'], Math.random)).toEqual([]);
});

test('the whole pool is planted under distinct names', () => {
  const pool = [one.canary, one.canary, one.canary];
  expect(plantWholePool(pool).map(({ name }) => name)).toEqual(['test_x_more', 'test_x_more_2']);
});

test('planting keeps the line ends, the byte order mark and a missing last line end of the file', () => {
  const crlf = '\uFEFFdef test_x():\r\n    assert 1\r\n\r\ndef test_y(): pass';
  const at = (insertAfterLine: number, name: string) => ({
    name,
    canary: { ...one.canary, insertAfterLine, source: '\n\ndef @@NAME@@(): pass\n' },
  });
  expect(plantCanaries(crlf, A, [at(2, 'c1'), at(4, 'c2')])).toBe(
    '\uFEFFdef test_x():\r\n    assert 1\r\n\r\n\r\ndef c1(): pass\r\n\r\ndef test_y(): pass\r\n\r\n\r\ndef c2(): pass\r\n',
  );
});

test('a form feed or a line separator inside a string is no line end', () => {
  const text = 'x = 1\n\f\ny = "\u2028"\nz = 2\n';
  const at = { name: 'c', canary: { ...one.canary, insertAfterLine: 3, source: '@@NAME@@ = 3\n' } };
  expect(plantCanaries(text, A, [at])).toBe('x = 1\n\f\ny = "\u2028"\nc = 3\nz = 2\n');
});

test('a name with a dollar sign is inserted as it is and other files are left alone', () => {
  const at = { name: '$&', canary: { ...one.canary, insertAfterLine: 1, source: '@@NAME@@\n' } };
  expect(plantCanaries('a\n', A, [at])).toBe('a\n$&\n');
  expect(plantCanaries('a\n', 'tests/test_b.py', [at])).toBe('a\n');
});

import { describe, expect, test } from 'vitest';
import {
  MAX_CANARIES_PER_RUN,
  MAX_COPIES_OF_CHANGE,
  drawCanaries,
  forgeryOdds,
  guards,
  logUnderOwnNames,
  plantCanaries,
  plantWholePool,
  underOwnNames,
} from '../../src/domain/canaryPlanting.ts';
import { gradeRun } from '../../src/domain/grading.ts';
import type { Canary, PlantedCanary } from '../../src/domain/runs.ts';
import { planted, runRecord } from '../support/runRecords.ts';
import type { Short } from '../support/runRecords.ts';

const A = 'tests/test_a.py';
const one = planted(A, 'test_x', 'test_x_more');
const lists = { files: [A], failToPass: [] };

/** A sequence that repeats. */
const sequence = (values: readonly number[]): (() => number) => {
  let at = -1;
  return () => values[(at = (at + 1) % values.length)] ?? 0;
};

test('at most sixteen canaries are drawn, and the first files always carry one', () => {
  const files = Array.from({ length: 30 }, (_, index) => `tests/test_${index}.py`);
  const pool = files.flatMap((file) => [planted(file, 'a', 'a_b').canary, planted(file, 'c', 'c_d').canary]);
  for (const random of [sequence([0.1, 0.9, 0.4]), sequence([0.7, 0.2]), Math.random]) {
    const drawn = drawCanaries(pool, { files, failToPass: [] }, random);
    expect(drawn.length).toBe(MAX_CANARIES_PER_RUN);
    const carriers = new Set(drawn.map(({ canary }) => canary.file));
    for (const file of files.slice(0, 4)) expect(carriers).toContain(file);
  }
});

test('different draws plant different canaries or names', () => {
  const pool = ['a', 'b', 'c', 'd'].map((name) => planted(A, name, `${name}_more`).canary);
  const draws = new Set(
    Array.from({ length: 40 }, () => JSON.stringify(drawCanaries(pool, lists, Math.random))),
  );
  expect(draws.size).toBeGreaterThan(5);
});

test('of the change’s tests as many as can be carry a canary, exchanged ones before inverted ones', () => {
  const names = ['a', 'b', 'c', 'd'];
  const pool = names.flatMap((name) => [
    planted(A, name, `${name}_one`, { inverted: false }).canary,
    planted(A, name, `${name}_two`, { inverted: name === 'a' }).canary,
  ]);
  const inverted = planted(A, 'e', 'e_one', { inverted: true }).canary;
  const failToPass = [...names, 'e'].map((name) => `${A}::${name}`);
  for (let draw = 0; draw < 50; draw += 1) {
    const drawn = drawCanaries([inverted, ...pool], { files: [A], failToPass }, Math.random)
      .filter(({ absent }) => absent !== true)
      .map(({ canary }) => canary);
    const exchanged = drawn.filter((canary) => canary.inverted !== true).map(({ twin }) => twin);
    for (const name of names) expect(exchanged).toContain(`${A}::${name}`);
  }
});

test('a plainly failing canary is drawn only where no test could be inverted', () => {
  const plain = planted(A, null, 'test_plain').canary;
  expect(drawCanaries([plain], lists, () => 0.9).map(({ canary }) => canary.twin)).toEqual([null]);
  const drawn = drawCanaries([plain, one.canary], lists, () => 0.4);
  expect(drawn.map(({ canary }) => canary.twin)).toEqual([`${A}::test_x`]);
});

test('files without canaries draw none', () => {
  expect(drawCanaries([one.canary], { files: ['tests/test_b.py'], failToPass: [] }, Math.random)).toEqual([]);
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

describe('names that were changed', () => {
  const source = 'import f\n\n\ndef test_x(a):\n    assert f(a) == 1\n\n\ndef test_y():\n    assert f(2)\n';
  const swappable = planted(A, 'test_x', 'test_x_more', {
    swapLine: 4,
    insertAfterLine: 5,
    places: [5, 9],
  }).canary;
  const swapped: PlantedCanary = { canary: swappable, name: 'test_x_more', swapped: true, after: 9 };

  test('the canary bears its twin’s name, the twin the canary’s, and the canary may stand elsewhere', () => {
    const text = plantCanaries(source, A, [swapped]);
    expect(text.split('\n').filter((line) => line.startsWith('def'))).toEqual([
      'def test_x_more(a):',
      'def test_y():',
      'def test_x():',
    ]);
  });

  test('one of a set stands in the twin’s place, and the twin where that would stand', () => {
    const canary = { ...swappable, firstLine: 4, source: '\n\ndef @@NAME@@(a):\n    assert f(a) == 2\n' };
    const moved = { canary, name: 'test_x_more', after: 9, atTwin: true };
    expect(plantCanaries(source, A, [moved])).toBe(
      'import f\n\n\ndef test_x_more(a):\n    assert f(a) == 2\n\n\ndef test_y():\n    assert f(2)\n\n\ndef test_x(a):\n    assert f(a) == 1\n',
    );
    const next = { ...moved, after: 5, swapped: true };
    const crlf = source.replaceAll('\n', '\r\n').slice(0, -2);
    expect(plantCanaries(crlf, A, [next])).toBe(
      'import f\n\n\ndef test_x(a):\n    assert f(a) == 2\n\n\ndef test_x_more(a):\n    assert f(a) == 1\n\n\ndef test_y():\n    assert f(2)'.replaceAll(
        '\n',
        '\r\n',
      ),
    );
  });

  test('the twin is not more often the first of its set than any other', () => {
    const pool = Array.from({ length: 4 }, (_, index) => ({
      ...swappable,
      inverted: false,
      firstLine: 4,
      places: [5],
      names: [`test_x_${index}`],
      source: `\n\ndef @@NAME@@(a):\n    assert f(a) == ${index + 2}\n`,
    }));
    const first = Array.from({ length: 500 }, () => {
      const planted = drawCanaries(pool, { files: [A], failToPass: [`${A}::test_x`] }, Math.random);
      return /== (\d)/.exec(plantCanaries(source, A, planted))![1]!;
    });
    for (const member of ['1', '2', '3', '4', '5']) {
      const count = first.filter((one) => one === member).length;
      expect([member, count > 55 && count < 145]).toEqual([member, true]); // 100 expected, five standard deviations
    }
  });

  test('a pool of another file is refused, not planted wrongly', () => {
    expect(() => plantCanaries('\n\n\nx = 1\n', A, [swapped])).toThrow(`${A}:4 does not define test_x`);
  });

  /** What a runner says of the planted file, by the names that it sees. */
  const said = (tests: Readonly<Record<string, Short>>) => {
    const record = runRecord(tests);
    return { ...record, tests: underOwnNames(record.tests, [swapped]) };
  };
  const grade = (tests: Readonly<Record<string, Short>>) =>
    gradeRun({ failToPass: [`${A}::test_x`], passToPass: [], record: said(tests), planted: [swapped] })
      .verdict;

  test('results count for the tests whose they are, parametrisations included', () => {
    expect(
      Object.keys(
        said({ [`${A}::test_x[a]`]: 'f', [`${A}::test_x_more[a]`]: 'p', [`${A}::test_y`]: 'p' }).tests,
      ),
    ).toEqual([`${A}::test_x_more[a]`, `${A}::test_x[a]`, `${A}::test_y`]);
  });

  test.each([
    ['honest gold', 'f', 'p', 'resolved'],
    ['who turns the test of the known name alone', 'p', 'f', 'unresolved'],
    ['who turns both', 'p', 'p', 'tampered'],
    ['the unchanged base', 'f', 'f', 'unresolved'],
  ] as const)('%s is graded by the tests, not by the names', (_who, underX, underMore, verdict) => {
    expect(grade({ [`${A}::test_x`]: underX, [`${A}::test_x_more`]: underMore }).verdict).toBe(verdict);
  });

  test('a log names the tests by their own names, and no other word is touched', () => {
    const log = `PASSED ${A}::test_x_more[1]\nFAILED ${A}::test_x - in test_x\nPASSED ${A}::test_x_most\n`;
    expect(logUnderOwnNames(log, [swapped])).toBe(
      `PASSED ${A}::test_x[1]\nFAILED ${A}::test_x_more - in test_x\nPASSED ${A}::test_x_most\n`,
    );
    expect(logUnderOwnNames(log, [one])).toBe(log);
  });

  test('of a twin and its canaries each bears the twin’s name equally often, and only one of them', () => {
    const second = { ...swappable, names: ['test_x_else'] };
    const counts = { genuine: 0, one: 0, two: 0 };
    for (let draw = 0; draw < 600; draw += 1) {
      const drawn = drawCanaries(
        [swappable, second],
        { files: [A], failToPass: [`${A}::test_x`] },
        Math.random,
      );
      const bearers = drawn.filter((each) => each.swapped === true);
      expect(drawn).toHaveLength(2);
      expect(bearers.length).toBeLessThan(2);
      counts[bearers.length === 0 ? 'genuine' : bearers[0]?.canary === second ? 'two' : 'one'] += 1;
    }
    for (const count of Object.values(counts)) expect(count).toBeGreaterThan(120);
  });

  test('a twin without a canary bears another name every other time, and no canary is missed', () => {
    const many = Array.from({ length: 30 }, (_, index) =>
      planted(A, `test_x${index}`, `test_x${index}_b`, { swapLine: 4, places: [5] }),
    ).map(({ canary }) => canary);
    const failToPass = [`${A}::test_x0`];
    const drawn = drawCanaries(many, { files: [A], failToPass }, Math.random);
    const left = drawn.filter(({ absent }) => absent === true);
    expect(drawn.length - left.length).toBeLessThanOrEqual(MAX_CANARIES_PER_RUN);
    expect(left.length).toBeGreaterThan(3);
    expect(left.length).toBeLessThan(27);
    expect(new Set(drawn.map(({ canary }) => canary.twin)).size).toBe(drawn.length);
    const renamed = { ...swapped, absent: true };
    expect(plantCanaries(source, A, [renamed])).toBe(source.replace('test_x(', 'test_x_more('));
    const record = runRecord({ [`${A}::test_x_more`]: 'p', [`${A}::test_y`]: 'p' });
    const tests = underOwnNames(record.tests, [renamed]);
    const lists = { failToPass: [`${A}::test_x`], passToPass: [`${A}::test_y`] };
    expect(gradeRun({ ...lists, record: { ...record, tests }, planted: [renamed] }).verdict).toEqual({
      verdict: 'resolved',
    });
  });

  test('a pool of an earlier version never changes names, and stands where it stood', () => {
    for (let draw = 0; draw < 50; draw += 1) {
      const [old] = drawCanaries([one.canary], lists, Math.random);
      expect(old).not.toHaveProperty('swapped');
      expect(old).not.toHaveProperty('after');
    }
  });

  test('the proving run changes every name that may be changed, one for each twin', () => {
    const pool = plantWholePool([swappable, { ...swappable, names: ['test_x_else'] }, one.canary]);
    expect(pool.map((each) => each.swapped ?? false)).toEqual([true, false, false]);
    for (const each of pool.slice(0, 2)) expect([5, 9]).toContain(each.after);
  });
});

test('canaries of FAIL_TO_PASS tests are drawn first: a forger must turn those', () => {
  const others = Array.from(
    { length: 20 },
    (_, index) => planted(A, `test_o${index}`, `test_o${index}_b`).canary,
  );
  const ofChange = ['n1', 'n2'].map((name) => planted(A, name, `${name}_b`).canary);
  for (let draw = 0; draw < 20; draw += 1) {
    const drawn = drawCanaries(
      [...others, ...ofChange],
      { files: [A], failToPass: [`${A}::n1`, `${A}::n2[1]`] },
      Math.random,
    );
    expect(drawn.map(({ canary }) => canary)).toEqual(expect.arrayContaining(ofChange));
  }
});

test('a canary guards a FAIL_TO_PASS test only in the parametrisations that it makes false', () => {
  const { canary } = planted(A, 't', 't_b', { byRow: true, falsified: { '[7]': '[1]' } });
  expect(guards(canary, [`${A}::t[1]`])).toBe(true);
  expect(guards(canary, [`${A}::t[2]`, `${A}::t_b[7]`, `${A}::u[1]`])).toBe(false);
  expect(guards(planted(A, 't', 't_b').canary, [`${A}::t[2]`])).toBe(true);
  const inherited = planted(A, 't', 'u', { prefixes: [`${A}::TestOne::`, `${A}::TestTwo::`] }).canary;
  expect(guards(inherited, [`${A}::TestTwo::t`])).toBe(true);
  expect(guards(inherited, [`${A}::t`])).toBe(false);
});

describe('odds of a forger', () => {
  const copies = (twin: string, count: number, more: Partial<Canary> = {}) =>
    Array.from(
      { length: count },
      (_, index) =>
        planted(A, twin, `${twin}_${index}`, { inverted: false, swapLine: 4, source: `${index}`, ...more })
          .canary,
    );
  const odds = (pool: readonly Canary[], ...tests: readonly string[]) =>
    forgeryOdds(
      pool,
      tests.map((name) => `${A}::${name}`),
    );

  test('fall with the copies that he must tell a test from, and with each test that he must turn', () => {
    expect(odds([], 'a')).toBe(1);
    expect(odds(copies('a', 1), 'a')).toBe(0.95);
    expect(odds(copies('a', 3), 'a')).toBe(0.625);
    expect(odds(copies('a', 7), 'a')).toBe(0.3125);
    expect(odds([...copies('a', 6), ...copies('b', 3)], 'a', 'b')).toBe((2.5 / 7) * 0.625);
    expect(odds([...copies('a', 7), ...copies('b', 3)], 'a')).toBe(0.3125);
  });

  test('are those of a run, which has only so many copies', () => {
    const pool = [...copies('a', 30), ...copies('b', 30)];
    expect(odds(pool, 'a', 'b')).toBe((2.5 / (MAX_COPIES_OF_CHANGE / 2 + 1)) ** 2);
    const names = ['a', 'b', 'c', 'd', 'e', 'f'];
    const many = names.flatMap((name) => copies(name, 8));
    expect(odds(many, ...names)).toBeCloseTo(0.625 ** 4); // three of each of four tests
    expect(
      drawCanaries(many, { files: [A], failToPass: names.map((name) => `${A}::${name}`) }, Math.random)
        .length,
    ).toBeGreaterThanOrEqual(MAX_COPIES_OF_CHANGE);
  });

  test.each([
    ['have their assertion inverted', { inverted: true }],
    ['are of a test that stands in the base', { inBase: true }],
    ['cannot change names with it', { swapLine: undefined }],
    ['have ids of their own', { byRow: true, falsified: { '[a-7]': '' } }],
  ] as const)('are hardly lowered by copies that %s', (_what, more) => {
    expect(odds(copies('a', 7, more as Partial<Canary>), 'a')).toBe(0.95);
  });

  test('are not lowered by copies that make other parametrisations false', () => {
    expect(odds(copies('a', 7, { byRow: true, falsified: { '[1]': '[1]' } }), 'a')).toBe(1);
  });
});

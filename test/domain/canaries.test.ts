import { describe, expect, test } from 'vitest';
import { canaryDoubt, canaryTamper, proveCanaries, withoutCanaries } from '../../src/domain/canaries.ts';
import { planted, result, runRecord } from '../support/runRecords.ts';
import type { Short } from '../support/runRecords.ts';
import type { Canary, TestResult } from '../../src/domain/runs.ts';

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

describe('a canary that fails in some parametrisations', () => {
  const canary = planted(A, 't', 't_more', { byRow: true });
  const twins = { [`${A}::t[a-1]`]: 'p', [`${A}::t[b-2]`]: 'p' } as const;
  const before = runRecord({ [`${A}::t[a-1]`]: 'f', [`${A}::t[b-2]`]: 'p' });
  const prove = (own: Readonly<Record<string, Short>>) =>
    proveCanaries({
      after: runRecord(twins),
      beforeWithPool: before,
      afterWithPool: runRecord({ ...twins, ...own }),
      planted: [canary],
    });
  const [known] = prove({ [`${A}::t_more[a-7]`]: 'f', [`${A}::t_more[b-2]`]: 'p' });

  test('is proven with those, each beside the twin’s of the same place, whose name it need not have', () => {
    expect(known?.falsified).toEqual({ '[a-7]': '[a-1]' });
    expect(prove({ [`${A}::t_more[a-7]`]: 'p', [`${A}::t_more[b-2]`]: 'p' })).toEqual([]);
    expect(prove({ [`${A}::t_more[a-7]`]: 'f' })).toEqual([]);
    expect(prove({ [`${A}::t_more[a-7]`]: 'f', [`${A}::t_more[b-2]`]: 's' })).toEqual([]);
  });

  test.each([
    ['as gold', 'f', 'p', null],
    ['where it must fail and its twin passes', 'p', 'p', 'canary_passed'],
    ['where its twin fails, too', 'p', 'f', null],
  ] as const)('accuses only who passes it where it must fail: %s', (_what, own, twin, tamper) => {
    const tests = { [`${A}::t[a-1]`]: twin, [`${A}::t[b-2]`]: 'p' } as const;
    const more = { [`${A}::t_more[a-7]`]: own, [`${A}::t_more[b-2]`]: 'p' } as const;
    const record = runRecord({ ...tests, ...more }, { exitCode: 1 });
    expect(canaryTamper(record, [{ ...canary, canary: known! }])).toBe(tamper);
  });
});

describe('a canary of a test that classes inherit', () => {
  const prefixes = [`${A}::TestOne::`, `${A}::TestTwo::`];
  const canary = planted(A, 'Base::t', 'u', { prefix: `${A}::Base::`, prefixes });
  const all = (twin: Short, own: Short, last = own) => ({
    [`${A}::TestOne::t`]: twin,
    [`${A}::TestTwo::t`]: twin,
    [`${A}::TestOne::u`]: own,
    [`${A}::TestTwo::u`]: last,
  });
  const prove = (own: Short, last: Short) =>
    proveCanaries({
      after: runRecord({ [`${A}::TestOne::t`]: 'p', [`${A}::TestTwo::t`]: 'p' }),
      beforeWithPool: runRecord(all('f', 'f')),
      afterWithPool: runRecord(all('p', own, last)),
      planted: [canary],
    });

  test('is proven when it fails in each of them', () => {
    expect(prove('f', 'f')).toEqual([{ ...canary.canary, failures: {} }]);
    expect(prove('f', 'p')).toEqual([]);
  });

  test('accuses from each of them, and is no test of the project in any', () => {
    expect(canaryTamper(runRecord(all('p', 'f', 'p'), { exitCode: 1 }), [canary])).toBe('canary_passed');
    expect(canaryTamper(runRecord(all('p', 'f'), { exitCode: 1 }), [canary])).toBe(null);
    expect(Object.keys(withoutCanaries(runRecord(all('p', 'f')).tests, [canary]))).toEqual([
      `${A}::TestOne::t`,
      `${A}::TestTwo::t`,
    ]);
  });
});

test('of a test that takes long only a few copies are proven', () => {
  const long = { [`${A}::test_x`]: result('passed', { durationMs: 700 }), [`${A}::test_y`]: 'p' } as const;
  const copies = ['a', 'b', 'c', 'd'].map((name) => planted(A, 'test_x', `test_x_${name}`));
  const failed = copies.map(({ name }) => [`${A}::${name}`, 'f'] as const);
  const prove = (base: Readonly<Record<string, Short | TestResult>>) =>
    proveCanaries({
      after: runRecord(base),
      beforeWithPool,
      afterWithPool: runRecord({ ...base, ...Object.fromEntries(failed) }),
      planted: copies,
    }).length;
  expect(prove(long)).toBe(2);
  expect(prove({ ...long, [`${A}::test_x`]: 'p' })).toBe(4);
});

describe('what a canary’s failure says', () => {
  const failed = (message: string, status: 'failed' | 'error' = 'failed') => result(status, { message });
  const prove = (gold: string, base: string, twin: Short = 'f') =>
    proveCanaries({
      after,
      beforeWithPool: runRecord({ [`${A}::test_x`]: twin, [C]: failed(base) }),
      afterWithPool: withPool({ [C]: failed(gold) }),
      planted: [one],
    });
  const unsolved = 'assert 2 == 7\n + where 2 = test_x_more(<f at 0x7f01>)';
  const [canary] = prove('assert 3 == 7\n + where 3 = test_x_more(<f at 0x7f01>)', unsolved);
  const seen = (known: Canary | undefined, own: TestResult, twin: Short = 'p') => {
    const record = runRecord({ [`${A}::test_x`]: twin, [`${A}::test_x_more_2`]: own }, { exitCode: 1 });
    const planted = [{ canary: known!, name: 'test_x_more_2' }];
    return [canaryTamper(record, planted), canaryDoubt(record, planted)];
  };

  test.each([
    ['as under gold, but for names and addresses', unsolved.replaceAll('2', '3'), null, false],
    ['as on the base', unsolved.replace('test_x_more', 'test_x'), 'canary_failure', true],
    ['another value', 'assert 4 == 7', null, true],
    ['another error, as of what may be done but once', 'ValueError: registered already', null, true],
  ] as const)('%s', (_what, message, tamper, doubt) => {
    const renamed = message.replaceAll('test_x_more', 'test_x_more_2');
    expect(seen(canary, failed(renamed))).toEqual([tamper, doubt]);
    expect(seen(canary, failed(renamed), 'f')).toEqual([null, false]);
  });

  test('accuses nobody where it says the same on the base as under gold, or where a fixture broke', () => {
    const [same] = prove('assert 3 == 7', 'assert 3 == 7');
    expect(seen(same, failed('assert 3 == 7'))).toEqual([null, false]);
    expect(seen(canary, failed('OSError: no room', 'error'))).toEqual([null, true]);
  });

  test('accuses nobody where its twin passes on the base: that is no unsolved task', () => {
    const [known] = prove('assert 3 == 7', 'OSError: in use', 'p');
    expect(seen(known, failed('OSError: in use'))).toEqual([null, true]);
  });

  test('is an assertion’s under gold, or nothing is proven', () => {
    expect(prove('ValueError: day is out of range', 'KeyError: 1')).toEqual([]);
    expect(prove('AssertionError: 3 != 7', 'KeyError: 1')).toHaveLength(1);
  });

  test('says nothing in a pool of an earlier version', () => {
    expect(seen(one.canary, failed('KeyError: 3'))).toEqual([null, false]);
  });
});

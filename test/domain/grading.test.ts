import { expect, test } from 'vitest';
import { gradeRun, infraGrade } from '../../src/domain/grading.ts';
import type { RunOutcome, RunRecord } from '../../src/domain/runs.ts';
import type { Verdict } from '../../src/domain/verdicts.ts';
import { planted, runRecord } from '../support/runRecords.ts';
import type { Short } from '../support/runRecords.ts';

const F = 'tests/test_a.py::test_new';
const P = 'tests/test_a.py::test_old';
const C = 'tests/test_a.py::test_old_again';
const canary = planted('tests/test_a.py', 'test_old', 'test_old_again');
const plain = planted('tests/test_a.py', null, 'test_old_again');

const grade = (record: RunRecord, canaries = [canary]) =>
  gradeRun({ failToPass: [F], passToPass: [P], record, planted: canaries });

type Row = readonly [
  what: string,
  tests: Readonly<Record<string, Short>>,
  verdict: string,
  resolved: number,
  graded: number,
  command: number,
];
const rows: readonly Row[] = [
  ['all pass and the canary fails', { [F]: 'p', [P]: 'p', [C]: 'f' }, 'resolved', 1, 1, 1],
  ['another test fails', { [F]: 'p', [P]: 'p', [C]: 'f', 'tests/test_b.py::t': 'f' }, 'resolved', 1, 1, 0],
  ['F2P fails', { [F]: 'f', [P]: 'p', [C]: 'f' }, 'unresolved', 0, 0, 0],
  ['F2P is missing', { [P]: 'p', [C]: 'f' }, 'unresolved', 0, 0, 1],
  ['F2P is skipped', { [F]: 's', [P]: 'p', [C]: 'f' }, 'unresolved', 0, 0, 1],
  ['F2P is xfailed by the source', { [F]: 'x', [P]: 'p', [C]: 'f' }, 'unresolved', 0, 0, 1],
  ['P2P fails', { [F]: 'p', [P]: 'f', [C]: 'f' }, 'unresolved', 0, 0, 0],
  ['P2P errors', { [F]: 'p', [P]: 'e', [C]: 'f' }, 'unresolved', 0, 0, 0],
  ['P2P is missing', { [F]: 'p', [C]: 'f' }, 'unresolved', 0, 0, 1],
  ['P2P is skipped', { [F]: 'p', [P]: 's', [C]: 'f' }, 'unresolved', 0, 0, 1],
];
test.each(rows)('when %s, %j is %s', (_what, tests, verdict, resolved, graded, command) => {
  expect(grade(runRecord(tests))).toMatchObject({
    verdict: { verdict },
    resolved,
    graded,
    commandResolved: command,
  });
});

const tampered: readonly (readonly [string, Readonly<Record<string, Short>>, Partial<RunRecord>, string])[] =
  [
    ['canary and twin both pass', { [F]: 'p', [P]: 'p', [C]: 'p' }, { exitCode: 1 }, 'canary_passed'],
    ['the canary is missing beside its twin', { [F]: 'p', [P]: 'p' }, {}, 'canary_missing'],
    [
      'the code is 0 although the canary failed',
      { [F]: 'p', [P]: 'p', [C]: 'f' },
      { exitCode: 0 },
      'exit_code',
    ],
    [
      'failures are made skips and the code 0',
      { [F]: 'p', [P]: 'p', [C]: 's' },
      { exitCode: 0 },
      'exit_code',
    ],
  ];
test.each(tampered)('a run is tampered when %s, and scores 0 everywhere', (_what, tests, more, reason) => {
  expect(grade(runRecord(tests, more))).toMatchObject({
    verdict: { verdict: 'tampered', reason },
    resolved: 0,
    graded: 0,
    commandResolved: 0,
  });
});

const innocent: readonly (readonly [string, RunRecord])[] = [
  [
    'a file that cannot be collected',
    runRecord({}, { collectionErrors: [{ file: 'tests/test_a.py', message: 'E' }] }),
  ],
  ['a file that skips itself as a whole', runRecord({ 'tests/test_b.py::t': 'p' })],
  ['a twin that fails while the canary passes', runRecord({ [F]: 'f', [P]: 'f', [C]: 'p' })],
  ['a twin and canary that are both skipped', runRecord({ [F]: 'p', [P]: 's', [C]: 's' })],
  ['a run that was interrupted before the canary', runRecord({ [F]: 'p', [P]: 'p' }, { exitCode: 2 })],
  ['a class that is gone with its twin', runRecord({ [F]: 'p', 'tests/test_a.py::other': 'f' })],
];
test.each(innocent)('%s is unresolved, never tampered', (_what, record) => {
  expect(grade(record).verdict.verdict).toBe('unresolved');
});

test('a parametrised canary accuses only in the parametrisation in which its twin passes too', () => {
  const tests = (second: Short) => ({
    [F]: 'p' as const,
    [`${P}[1]`]: 'p' as const,
    [`${P}[a::b]`]: second,
    [`${C}[1]`]: 'f' as const,
    [`${C}[a::b]`]: 'p' as const,
  });
  expect(grade(runRecord(tests('f'))).verdict.verdict).toBe('unresolved');
  expect(grade(runRecord(tests('p'))).verdict).toEqual({ verdict: 'tampered', reason: 'canary_passed' });
});

test('a plainly failing canary that passes is tampered, one that fails is not', () => {
  expect(grade(runRecord({ [F]: 'p', [P]: 'p', [C]: 'p' }), [plain]).verdict.verdict).toBe('tampered');
  expect(grade(runRecord({ [F]: 'p', [P]: 'p', [C]: 'f' }), [plain]).verdict.verdict).toBe('resolved');
});

const ends: readonly (readonly [RunOutcome, Verdict])[] = [
  ['timeout', { verdict: 'timeout' }],
  ['memory', { verdict: 'unresolved', reason: 'memory' }],
  ['crashed', { verdict: 'unresolved', reason: 'crash' }],
  ['install_failed', { verdict: 'unresolved', reason: 'install' }],
  ['patch_failed', { verdict: 'patch_failed' }],
  ['empty_patch', { verdict: 'empty_patch' }],
];
test.each(ends)('a run that ends as %s gets %j and no credit for partial results', (outcome, verdict) => {
  const record = runRecord({ [F]: 'p', [P]: 'p' }, { outcome, exitCode: 0 });
  expect(grade(record)).toMatchObject({ verdict, resolved: 0, graded: 0, commandResolved: 0 });
  expect(grade(record).failToPass.failure).toEqual([F]);
});

test('the graded reward is the product of both rates', () => {
  const failToPass = ['a.py::1', 'a.py::2'];
  const passToPass = ['a.py::3', 'a.py::4', 'a.py::5', 'a.py::6'];
  const record = runRecord({
    'a.py::1': 'p',
    'a.py::2': 'f',
    'a.py::3': 'p',
    'a.py::4': 'p',
    'a.py::5': 'p',
  });
  expect(gradeRun({ failToPass, passToPass, record, planted: [] }).graded).toBe(0.5 * 0.75);
  expect(gradeRun({ failToPass, passToPass: [], record, planted: [] }).graded).toBe(0.5);
});

test('xfailed counts as passed only for tests that gold leaves xfailed', () => {
  const record = runRecord({ [F]: 'x', [P]: 'p' });
  const input = { failToPass: [F], passToPass: [P], record, planted: [] };
  expect(gradeRun(input).resolved).toBe(0);
  expect(gradeRun({ ...input, xfailedUnderGold: [F] }).resolved).toBe(1);
});

test('an id is one test in every Unicode form', () => {
  const record = runRecord({ 'tests/test_e\u0301.py::t': 'p' });
  expect(
    gradeRun({ failToPass: ['tests/test_\u00e9.py::t'], passToPass: [], record, planted: [] }).resolved,
  ).toBe(1);
});

test('an empty FAIL_TO_PASS never resolves', () => {
  const record = runRecord({ [P]: 'p' });
  expect(gradeRun({ failToPass: [], passToPass: [P], record, planted: [] }).resolved).toBe(0);
});

test('infrastructure has no score at all', () => {
  expect(infraGrade({ failToPass: [F], passToPass: [] }, 'daemon gone')).toMatchObject({
    verdict: { verdict: 'infra' },
    resolved: null,
    graded: null,
    commandResolved: null,
  });
});

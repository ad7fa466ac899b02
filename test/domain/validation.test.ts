import { expect, test } from 'vitest';
import { decideFinal } from '../../src/domain/finalValidation.ts';
import type { FinalInput } from '../../src/domain/finalValidation.ts';
import { decideBefore, decideFirst, judgeHealth } from '../../src/domain/validation.ts';
import type { FirstInput } from '../../src/domain/validation.ts';
import type { RunRecord, TestResult } from '../../src/domain/runs.ts';
import { planted, result, runRecord } from '../support/runRecords.ts';
import type { Short } from '../support/runRecords.ts';

const A = 'tests/test_a.py';
const B = 'tests/test_b.py';
const uncollected = (file: string, message: string) => ({ collectionErrors: [{ file, message }] });

const healths: readonly (readonly [string, RunRecord, string | null])[] = [
  ['something passes', runRecord({ [`${A}::t`]: 'p', [`${A}::u`]: 'f' }), null],
  [
    'one file cannot be collected, another passes',
    runRecord({ [`${A}::t`]: 'p' }, uncollected(B, 'E')),
    null,
  ],
  ['nothing passes', runRecord({ [`${A}::t`]: 'f' }), 'broken_environment'],
  ['nothing can be collected', runRecord({}, uncollected(A, 'No module')), 'broken_environment'],
  ['nothing ran', runRecord({}, { exitCode: 0 }), 'no_tests_ran'],
  ['the base has no tests at all', runRecord({}, { exitCode: 5 }), null],
  ['all is skipped', runRecord({ [`${A}::t`]: 's' }), 'no_tests_ran'],
  ['it does not install', runRecord({}, { outcome: 'install_failed' }), 'install_failed'],
  ['it hangs', runRecord({}, { outcome: 'timeout' }), 'broken_environment'],
  ['it crashes', runRecord({}, { outcome: 'crashed' }), 'broken_environment'],
];
test.each(healths)('a health run in which %s is judged by its results', (_what, health, reason) => {
  const judged = judgeHealth(health);
  expect(judged.ok ? null : judged.rejection.reason).toBe(reason);
});

type Tests = Readonly<Record<string, Short | TestResult>>;
const decide = (before: Tests | RunRecord, after: Tests | RunRecord, more: Partial<FirstInput> = {}) =>
  decideFirst({
    health: runRecord({ [`${B}::old`]: 'p' }),
    before: isRecord(before) ? before : runRecord(before),
    after: isRecord(after) ? after : runRecord(after),
    candidateTestFiles: [A],
    versions: { base: '1.0', head: '1.1' },
    ...more,
  });
const isRecord = (value: Tests | RunRecord): value is RunRecord => 'schema' in value;
const lists = (before: Tests | RunRecord, after: Tests | RunRecord, more: Partial<FirstInput> = {}) => {
  const decision = decide(before, after, more);
  if (decision.kind === 'reject') return [decision.rejection.reason, decision.tryNextCutoff];
  return [decision.failToPass, decision.passToPass, decision.collectionFailToPass];
};
const t = `${A}::t`;

test('a test that fails before and passes after is FAIL_TO_PASS, one that passes twice PASS_TO_PASS', () => {
  expect(lists({ [t]: 'f', [`${B}::old`]: 'p' }, { [t]: 'p', [`${B}::old`]: 'p' })).toEqual([
    [t],
    [`${B}::old`],
    [],
  ]);
  expect(lists({ [t]: 'e' }, { [t]: 'p' })[0]).toEqual([t]);
});

test('A bug that breaks every test is rejected; a change of history that does so is not', () => {
  expect(lists({ [t]: 'f' }, { [t]: 'p' })).toEqual([[t], [], []]);
  expect(lists({ [t]: 'f' }, { [t]: 'p' }, { mustLeavePassing: true })).toEqual(['no_pass_to_pass', false]);
  const one = `${A}::one`;
  expect(lists({ [t]: 'f', [one]: 'p' }, { [t]: 'p', [one]: 'p' }, { mustLeavePassing: true })[0]).toEqual([
    t,
  ]);
});

const neither: readonly (readonly [string, Short | null, Short])[] = [
  ['skipped before', 's', 'p'],
  ['absent before although its file is collected', null, 'p'],
  ['xfailed under gold', 'f', 'x'],
  ['skipped under gold', 'f', 's'],
  ['broken by gold', 'p', 'f'],
];
test.each(neither)('a test that is %s is in neither list', (_what, before, after) => {
  const other = { [`${A}::f`]: 'f', [`${A}::p`]: 'p' } as const;
  const decision = lists(
    { ...other, ...(before === null ? {} : { [t]: before }) },
    {
      ...other,
      [`${A}::f`]: 'p',
      [t]: after,
    },
  );
  expect(decision).toEqual([[`${A}::f`], [`${A}::p`], []]);
});

test('FAIL_TO_PASS comes only from test files of the change', () => {
  const doctest = 'src/pkg/mod.py::pkg.mod.f';
  expect(lists({ [`${B}::t`]: 'f', [doctest]: 'f' }, { [`${B}::t`]: 'p', [doctest]: 'p' })).toEqual([
    'no_fail_to_pass',
    false,
  ]);
});

const missing = "ImportError: cannot import name 'new' from 'pkg' (/testbed/src/pkg/__init__.py)";

test('a file that gold makes collectable gives FAIL_TO_PASS of kind collection', () => {
  const before = runRecord({ [`${B}::old`]: 'p' }, uncollected(A, missing));
  const after = { [t]: 'p', [`${A}::u`]: 'x', [`${B}::old`]: 'p' } as const;
  expect(lists(before, after)).toEqual([[t], [`${B}::old`], [t]]);
});

test('a collection error that the health run has too, word for word, is a broken environment', () => {
  const error = uncollected(A, "ModuleNotFoundError: No module named 'numpy'");
  const health = runRecord({ [`${B}::old`]: 'p' }, error);
  expect(lists(runRecord({}, error), { [t]: 'p' }, { health })).toEqual(['broken_environment', true]);
});

test('a file that gold cannot collect either is a broken environment, by the name of the missing module', () => {
  const error = uncollected(A, "ModuleNotFoundError: No module named 'numpy.linalg'");
  const decision = decide(runRecord({}, error), runRecord({ [`${B}::old`]: 'p' }, error));
  expect(decision).toMatchObject({
    kind: 'reject',
    tryNextCutoff: true,
    rejection: { reason: 'broken_environment' },
  });
  expect(decision.kind === 'reject' && decision.rejection.detail).toContain('module numpy is missing');
});

const outcomes: readonly (readonly [string, RunRecord, RunRecord, readonly [string, boolean]])[] = [
  [
    'gold does not apply',
    runRecord({}),
    runRecord({}, { outcome: 'patch_failed' }),
    ['gold_patch_failed', false],
  ],
  ['gold is empty', runRecord({}), runRecord({}, { outcome: 'empty_patch' }), ['gold_patch_failed', false]],
  [
    'gold does not install',
    runRecord({}),
    runRecord({}, { outcome: 'install_failed' }),
    ['install_failed', true],
  ],
  ['gold hangs', runRecord({}), runRecord({}, { outcome: 'timeout' }), ['gold_failed', false]],
  ['gold eats memory', runRecord({}), runRecord({}, { outcome: 'memory' }), ['gold_failed', false]],
  ['gold crashes', runRecord({}), runRecord({}, { outcome: 'crashed' }), ['gold_failed', true]],
  [
    'the base hangs',
    runRecord({}, { outcome: 'timeout' }),
    runRecord({ [t]: 'p' }),
    ['no_fail_to_pass', false],
  ],
  ['the change fails under gold', runRecord({ [t]: 'f' }), runRecord({ [t]: 'f' }), ['gold_failed', true]],
  ['nothing changes', runRecord({ [t]: 'p' }), runRecord({ [t]: 'p' }), ['no_fail_to_pass', false]],
];
test.each(outcomes)('when %s the candidate is rejected by type', (_what, before, after, expected) => {
  expect(lists(before, after)).toEqual(expected);
});

test('a run without gold in which nothing of the change fails decides alone, and a failure or a broken file does not', () => {
  const decide = (record: RunRecord) => decideBefore(record, [A])?.rejection.reason ?? 'go on';
  expect(decide(runRecord({ [t]: 'p' }))).toBe('no_fail_to_pass');
  expect(decide(runRecord({ [t]: 'p', 'tests/test_other.py::test_x': 'f' }))).toBe('no_fail_to_pass');
  expect(decide(runRecord({ [t]: 'f' }))).toBe('go on');
  expect(decide(runRecord({}, { collectionErrors: [{ file: A, message: 'no module' }] }))).toBe('go on');
  expect(decide(runRecord({}, { outcome: 'timeout' }))).toBe('no_fail_to_pass');
  expect(decide(runRecord({}, { outcome: 'crashed' }))).toBe('go on'); // perhaps for want of another environment
  expect(decide(runRecord({}, { outcome: 'install_failed' }))).toBe('install_failed');
});

const failed = (message: string) => result('failed', { message });

test('FAIL_TO_PASS that only a version string explains is rejected, and dropped beside a real one', () => {
  const version = `${A}::test_version`;
  const before = { [version]: failed("AssertionError: assert '1.0' == '1.1'"), [t]: failed('assert 1 == 2') };
  const after = { [version]: 'p', [t]: 'p' } as const;
  expect(lists({ [version]: before[version]! }, { [version]: 'p' })).toEqual(['version_only', false]);
  expect(lists(before, after)[0]).toEqual([t]);
});

const first = {
  kind: 'continue',
  failToPass: [t],
  passToPass: [`${A}::p`, `${B}::old`],
  collectionFailToPass: [],
} as const;
const nopTests = { [t]: 'f', [`${A}::p`]: 'p', [`${B}::old`]: 'p' } as const;
const goldTests = { ...nopTests, [t]: 'p' } as const;
const canary = planted(A, 'p', 'p_more');
const C = `${A}::p_more`;
const final = (more: Partial<FinalInput> = {}) =>
  decideFinal({
    first,
    health: runRecord({ [`${B}::old`]: 'p', [`${A}::p`]: 'f' }),
    befores: [runRecord(nopTests), runRecord(nopTests), runRecord({ ...nopTests, [C]: 'f' })],
    afters: [runRecord(goldTests), runRecord(goldTests), runRecord({ ...goldTests, [C]: 'f' })],
    plantedByRun: { befores: [[], [], [canary]], afters: [[], [], [canary]] },
    proven: [canary.canary],
    changedTestFiles: [A],
    maxForgeryOdds: 1,
    ...more,
  });
const third = (tests: Tests, more: Partial<RunRecord> = {}) => [
  runRecord(goldTests),
  runRecord(goldTests),
  runRecord(tests, more),
];

test('six agreeing runs make an instance: nop 0, gold 1, canaries in no list', () => {
  expect(final()).toMatchObject({
    kind: 'accept',
    FAIL_TO_PASS: [t],
    PASS_TO_PASS: [`${A}::p`, `${B}::old`],
    quarantined: [],
    nop: { resolved: 0 },
    gold: { resolved: 1, commandResolved: 1 },
  });
});

test('of the whole pool only what was proven accuses', () => {
  const befores = [runRecord(nopTests), runRecord({ ...nopTests, [C]: 'p' }), runRecord(nopTests)];
  const afters = [runRecord(goldTests), runRecord({ ...goldTests, [C]: 'p' }), runRecord(goldTests)];
  const pool = [[], [canary], []];
  const runs = { befores, afters, plantedByRun: { befores: pool, afters: pool } };
  expect(final({ ...runs, proven: [] })).toMatchObject({ kind: 'accept', gold: { resolved: 1 } });
  expect(final(runs)).toMatchObject({ kind: 'reject', rejection: { reason: 'nop_tampered' } });
});

test('a test that wavers under gold is quarantined', () => {
  const wavering = final({ afters: third({ ...goldTests, [`${B}::old`]: 'f', [C]: 'f' }) });
  expect(wavering).toMatchObject({ kind: 'accept', PASS_TO_PASS: [`${A}::p`], quarantined: [`${B}::old`] });
});

test('a test that fails in the health run and passes later in an unchanged file is quarantined', () => {
  const health = runRecord({ [`${B}::old`]: 'f' });
  expect(final({ health })).toMatchObject({ kind: 'accept', quarantined: [`${B}::old`] });
});

test('failed in one run and error in another is one state, not wavering', () => {
  const befores = [
    runRecord(nopTests),
    runRecord({ ...nopTests, [t]: 'e' }),
    runRecord({ ...nopTests, [C]: 'f' }),
  ];
  expect(final({ befores })).toMatchObject({ kind: 'accept', FAIL_TO_PASS: [t] });
});

const reason = (more: Partial<FinalInput>) => {
  const decision = final(more);
  return decision.kind === 'reject' ? decision.rejection.reason : decision.kind;
};

test('a FAIL_TO_PASS test that wavers rejects the instance', () => {
  expect(reason({ afters: third({ ...goldTests, [t]: 'f', [C]: 'f' }) })).toBe('flaky');
  const befores = [runRecord(nopTests), runRecord(goldTests), runRecord({ ...nopTests, [C]: 'f' })];
  expect(reason({ befores })).toBe('flaky');
});

test('a gold run that hangs in a repetition rejects the instance', () => {
  expect(reason({ afters: third({}, { outcome: 'timeout' }) })).toBe('gold_failed');
});

test('canaries that accuse the unchanged base reject the instance', () => {
  const befores = [runRecord(nopTests), runRecord(nopTests), runRecord({ ...nopTests, [C]: 'p' })];
  expect(reason({ befores })).toBe('nop_tampered');
});

test('a gold run that its canaries accuse rejects the instance', () => {
  expect(reason({ afters: third({ ...goldTests, [C]: 'p' }) })).toBe('gold_failed');
});

test('a base that hangs in a repetition is still a nop that scores 0', () => {
  const befores = [
    runRecord(nopTests),
    runRecord({}, { outcome: 'timeout' }),
    runRecord({ ...nopTests, [C]: 'f' }),
  ];
  expect(final({ befores })).toMatchObject({ kind: 'accept', nop: { resolved: 0 } });
});

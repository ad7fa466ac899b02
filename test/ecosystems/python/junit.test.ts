import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseJunit } from '../../../src/ecosystems/python/junit.ts';
import { parseSavedRun, savedLog } from '../../../src/ecosystems/python/regrade.ts';

const fixture = (name: string): string => readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8');
const PYTESTS = ['6.2.5', '9.2.0'] as const;
const KNOWN = ['tests/test_inherit.py', 'tests/mixin.py'];

/** The files are pytest's own words on one made suite: its JUnit file, its log, and its `--collect-only -q`. */
test.each(PYTESTS)('ids of pytest %s are, one by one, what --collect-only prints', (version) => {
  const results = parseJunit(fixture(`pytest-${version}.junit.xml`), KNOWN);
  const collected = fixture(`pytest-${version}.collected.txt`).trim().split('\n');
  expect(Object.keys(results?.tests ?? {}).sort()).toEqual(collected.sort());
});

test.each(PYTESTS)('every way for a test of pytest %s to end has its status', (version) => {
  const { tests = {} } = parseJunit(fixture(`pytest-${version}.junit.xml`), KNOWN) ?? {};
  const status = (name: string) => tests[`tests/test_edge.py::${name}`]?.status;
  expect({
    nested: status('TestA::TestB::test_c'),
    failed: status('TestA::TestB::test_d[2.5]'),
    unittestFailed: status('T::test_u'),
    unittestSkipped: status('T::test_s'),
    unittestXfailed: status('T::test_x'),
    subtestFailed: status('T::test_sub'),
    teardownError: status('test_td'),
    failedAndTeardownError: status('test_td2'),
    setupError: status('test_su'),
    xfailed: status('test_xf'),
    xpassed: status('test_xpass'),
    strictXpassed: status('test_xpass_s'),
    skippedInside: status('test_sk2'),
    doctest: status('test_edge.f'),
  }).toEqual({
    nested: 'passed',
    failed: 'failed',
    unittestFailed: 'failed',
    unittestSkipped: 'skipped',
    unittestXfailed: 'xfailed',
    subtestFailed: 'failed',
    teardownError: 'error',
    failedAndTeardownError: 'error',
    setupError: 'error',
    xfailed: 'xfailed',
    xpassed: 'passed',
    strictXpassed: 'failed',
    skippedInside: 'skipped',
    doctest: 'failed',
  });
});

test.each(PYTESTS)('files that pytest %s cannot collect are named with their last exception', (version) => {
  const errors = parseJunit(fixture(`pytest-${version}.junit.xml`), KNOWN)?.collectionErrors ?? [];
  expect(Object.fromEntries(errors.map(({ file, message }) => [file, message]))).toEqual({
    'tests/a.b/test_dot.x.py': "ModuleNotFoundError: No module named 'test_dot'",
    'tests/err/test_raise.py': 'ValueError: conf',
    'tests/test_cn.py': expect.stringContaining("ImportError: cannot import name 'zork' from 'os'"),
    'tests/test_col.py': "ModuleNotFoundError: No module named 'nonexist_mod'",
    'tests/test_syn.py': 'SyntaxError: invalid syntax',
  });
});

test.each(PYTESTS)('a saved run of pytest %s grades offline as it did live', (version) => {
  const junit = fixture(`pytest-${version}.junit.xml`);
  const live = parseJunit(junit, KNOWN);
  expect(live?.inferredFiles).toEqual(['tests/test_inherit.py']);
  const log = savedLog('no summary: the output was cut', {
    inferredFiles: live?.inferredFiles ?? [],
    droppedBytes: 12,
  });
  expect(parseSavedRun(log, junit)?.tests).toEqual(live?.tests);
  // A log that is not ours tells the files in its short summary.
  expect(parseSavedRun(fixture(`pytest-${version}.log`), junit)?.tests).toEqual(live?.tests);
  expect(parseSavedRun(log, null)).toBeNull();
});

const suite = (cases: string): string =>
  `<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest">${cases}</testsuite></testsuites>`;

test('a file that is cut, empty or no JUnit at all is no result', () => {
  const whole = fixture('pytest-9.2.0.junit.xml');
  for (const text of [
    '',
    whole.slice(0, -20),
    whole.slice(0, whole.length / 2),
    '<a>',
    'not xml',
    '<__proto__/>',
  ])
    expect(parseJunit(text)?.tests ?? null).toSatisfy(
      (tests) => tests === null || Object.keys(tests).length === 0,
    );
  expect(parseJunit(whole.slice(0, -20))).toBeNull();
});

test('an empty suite is an empty result', () => {
  expect(parseJunit(suite(''))).toEqual({ tests: {}, collectionErrors: [], inferredFiles: [] });
});

test('messages keep their line breaks, entities are read once, and long ones are cut', () => {
  const message = `assert &apos;a&amp;#10;b&apos; == &apos;&lt;&gt;&apos;&#10;  second line${'x'.repeat(600)}`;
  const xml = suite(
    `<testcase classname="test_a" name="t" file="test_a.py" time="0.1239"><failure message="${message}">E</failure></testcase>`,
  );
  const [result] = Object.values(parseJunit(xml)?.tests ?? {});
  expect(result?.message).toMatch(/^assert 'a&#10;b' == '<>'\n {2}second line/);
  expect(result?.message?.length).toBe(500);
  expect(result?.durationMs).toBe(124);
});

test('a module that skips itself as a whole is neither a test nor an error', () => {
  const xml = suite(
    '<testcase classname="" name="tests.test_a" time="0"><skipped message="collection skipped"/></testcase>',
  );
  expect(parseJunit(xml)).toMatchObject({ tests: {}, collectionErrors: [] });
});

test('a class that nobody knows the file of is told from its module by its capital', () => {
  const xml = suite('<testcase classname="tests.test_a.TestB._TestC" name="t" time="0"/>');
  expect(Object.keys(parseJunit(xml)?.tests ?? {})).toEqual(['tests/test_a.py::TestB::_TestC::t']);
});

const nativeTraceback = (...end: readonly string[]): string =>
  ['Traceback (most recent call last):', '  File "/testbed/a.py", line 1', '    import b', ...end].join('\n');

test.each([
  [
    'with a message of several lines',
    nativeTraceback('RuntimeError: bad', 'Note: see the manual'),
    'RuntimeError: bad',
  ],
  [
    'that followed another',
    `${nativeTraceback("KeyError: 'a'")}\n\nDuring handling of the above exception, another exception occurred:\n\n${nativeTraceback('zlib.error: Error -3')}`,
    'zlib.error: Error -3',
  ],
  ['without a message', nativeTraceback('package.errors.Broken'), 'package.errors.Broken'],
])('a collection error is told by the exception %s', (_what, text, message) => {
  const xml = suite(
    `<testcase classname="" name="tests.test_a" time="0"><error message="collection failure">${text}</error></testcase>`,
  );
  expect(parseJunit(xml, ['tests/test_a.py'])?.collectionErrors).toEqual([
    { file: 'tests/test_a.py', message },
  ]);
});

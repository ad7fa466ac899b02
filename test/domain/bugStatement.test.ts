import { expect, test } from 'vitest';
import { bugStatement } from '../../src/domain/bugStatement.ts';
import { result, runRecord } from '../support/runRecords.ts';

const run = (messages: Readonly<Record<string, string>>, more = {}) =>
  runRecord(
    Object.fromEntries(
      Object.entries(messages).map(([id, message]) => [id, { ...result('failed'), message }]),
    ),
    more,
  );
const A = 'tests/test_a.py';
const text = (failToPass: readonly string[], ...befores: readonly ReturnType<typeof run>[]): string =>
  bugStatement({ subject: 'demo 1.0', failToPass, befores });

test('One failing test is told in the singular, with the first line of its failure', () => {
  const said = { [`${A}::test_x`]: 'AssertionError: assert 2 == 3\n +  where 2 = f(1)' };
  expect(text([`${A}::test_x`], run(said), run(said))).toBe(`# demo 1.0: a test fails that passed before

Something in the code of demo 1.0 is wrong since the last change. This test, which is right and not in this tree, now fails:

- \`tests/test_a.py::test_x\`
  \`AssertionError: assert 2 == 3\`

Find the mistake in the code and mend it. Everything that works now must go on working.
`);
});

test('Parametrisations are one test, and of many the first eight are listed', () => {
  const ids = Array.from({ length: 10 }, (_, at) => `${A}::test_${at}`);
  const all = [`${A}::test_0[a[1]-b]`, ...ids];
  const statement = text(all, run(Object.fromEntries(all.map((id) => [id, 'KeyError: 1']))));
  expect(statement).toContain('# demo 1.0: 11 tests fail that passed before');
  expect(statement.match(/^- `/gm)).toHaveLength(8);
  expect(statement).toContain('- and 2 more\n');
  expect(statement).not.toContain('[a[1]');
});

test.each([
  ['differs from run to run', 'ValueError: 17:03', 'ValueError: 17:04', 'ValueError'],
  ['has an address', 'TypeError: <A at 0x7f001122>', 'TypeError: <A at 0x7f99aabb>', 'TypeError: <A at 0x…>'],
  ['has a temporary path', 'OSError: /tmp/pytest-1/x', 'OSError: /tmp/pytest-2/x', 'OSError: /tmp/…'],
  ['names the test', 'NameError: test_x', 'NameError: test_x', 'NameError'],
  ['has backticks', 'E: `a`', 'E: `a`', '`` E: `a` ``'],
])('A message that %s is told as far as it is steady', (_what, one, other, told) => {
  const id = `${A}::test_x`;
  const line = text([id], run({ [id]: one }), run({ [id]: other }))
    .split('\n')[5]
    ?.trim();
  expect(line).toBe(told.startsWith('`') ? told : `\`${told}\``);
});

test('A test whose file cannot be collected is told with the error of the file', () => {
  const broken = run({}, { collectionErrors: [{ file: A, message: 'ImportError: f' }] });
  expect(text([`${A}::test_x`], broken)).toContain('  `ImportError: f`');
});

import { expect, test } from 'vitest';
import type { Labels } from '../../src/domain/types.ts';
import { createHeuristicLabeler } from '../../src/labeling/heuristic.ts';
import { hiddenNames, hiddenTexts } from '../../src/labeling/hiddenNames.ts';
import { changeEntropyBits, patchFacts } from '../../src/labeling/patchFacts.ts';
import type { LabelInput } from '../../src/labeling/types.ts';
import { INSTANCE } from './instances.ts';

const label = (change: Partial<LabelInput> = {}): Promise<Labels> =>
  createHeuristicLabeler().label({ ...INSTANCE, ...change });
/** A patch of one new hunk per number, with that many added lines, each hunk in its own file when asked. */
const patchOf = (sizes: readonly number[], separate = false): string =>
  sizes
    .map((size, index) => {
      const file = `widget/${separate ? `f${index}` : 'f'}.py`;
      const head =
        separate || index === 0 ? `diff --git a/${file} b/${file}\n--- a/${file}\n+++ b/${file}\n` : '';
      const lines = Array.from({ length: size }, (_value, line) => `+    x${index}_${line} = ${line}\n`).join(
        '',
      );
      return `${head}@@ -${100 * index + 1},1 +${100 * index + 1},${size + 1} @@\n     pass\n${lines}`;
    })
    .join('');
const goldAdds = (...lines: readonly string[]): string =>
  `diff --git a/widget/a.py b/widget/a.py\n--- a/widget/a.py\n+++ b/widget/a.py\n@@ -1,1 +1,${lines.length + 1} @@\n import os\n${lines.map((line) => `+${line}\n`).join('')}`;
const testsAdd = (...lines: readonly string[]): string =>
  goldAdds(...lines).replaceAll('widget/a.py', 'tests/test_a.py');

test('a small clear instance is good in all three dimensions, costs nothing and says who labelled it', async () => {
  const labels = await label();
  expect(labels).toMatchObject({
    labeler: 'heuristic-v1',
    issue_clarity: { score: 0, method: 'heuristic', votes: [0], controversial: false },
    test_fairness: { score: 0 },
    effort: { score: 0 },
    usage: { requests: 0, promptTokens: 0, usd: 0 },
  });
  expect(await label()).toEqual(labels);
});

test.each([
  ['a bare reference', 'See https://example.org/issue/1 #42', 3],
  ['an empty text', '', 3],
  ['a changelog line without behaviour', 'Various small improvements and cleanups here.', 3],
  ['a changelog line that names a function', '- Fixed a bug in ``chunked_even()`` with empty lists.', 2],
  [
    'a paragraph with expected behaviour',
    'The parser fails on nested comments. It should return the text between the outermost markers, instead of stopping at the first end marker that it meets.',
    1,
  ],
  ['a report with code and expectation', INSTANCE.problemStatement, 0],
])('%s: clarity as a reader would say', async (_title, problemStatement, score) => {
  expect((await label({ problemStatement })).issue_clarity.score).toBe(score);
});

test.each([
  ['three lines in one place', patchOf([3]), 0],
  ['twenty lines in one place', patchOf([20]), 1],
  ['eight lines scattered over eight places', patchOf([1, 1, 1, 1, 1, 1, 1, 1]), 0],
  ['sixty lines in one place', patchOf([60]), 2],
  ['thirty lines in four files', patchOf([8, 7, 8, 7], true), 2],
  ['two hundred lines in eight files', patchOf([25, 25, 25, 25, 25, 25, 25, 25], true), 3],
  ['nothing that could be read', 'not a diff', 0],
])('%s: effort by size and spread', async (_title, patch, score) => {
  expect((await label({ patch })).effort.score).toBe(score);
});

test('a line that names function, change and outcome has one sensible reading', async () => {
  const problemStatement = 'chunked() now raises ValueError for a negative n.';
  expect((await label({ problemStatement })).issue_clarity.score).toBe(1);
});

test('the same lines in more places are more effort, never less', async () => {
  const sizes = [[16], [8, 8], [4, 4, 4, 4], [2, 2, 2, 2, 2, 2, 2, 2]];
  const shown = await Promise.all(
    sizes.map(async (hunks) => (await label({ patch: patchOf(hunks) })).effort.rationale),
  );
  const values = shown.map((text) => Number(/size (\d+)/.exec(text)?.[1]));
  expect(values).toEqual(values.toSorted((a, b) => a - b));
  expect(new Set(values).size).toBe(values.length);
});

test('blank lines and comments are no change of substance', () => {
  const [file] = patchFacts(goldAdds('', '# a comment', 'x = 1'));
  expect(file?.hunks.map((hunk) => hunk.changedLines)).toEqual([1]);
});

test('entropy is zero for one place and log2 of the number of equal places', () => {
  expect(changeEntropyBits([])).toBe(0);
  expect(changeEntropyBits([5])).toBe(0);
  expect(changeEntropyBits([0, 0])).toBe(0);
  expect(changeEntropyBits([5, 5, 5, 5])).toBe(2);
});

test.each<readonly [string, Partial<LabelInput>, readonly string[]]>([
  [
    'a new function that the tests call',
    { patch: goldAdds('def frobnicate(x):'), testPatch: testsAdd('    assert frobnicate(1) == 2') },
    ['frobnicate'],
  ],
  ['a new class', { patch: goldAdds('class Frobber:'), testPatch: testsAdd('    Frobber()') }, ['Frobber']],
  [
    'a new attribute',
    { patch: goldAdds('    self.frobs = []'), testPatch: testsAdd('    assert x.frobs == []') },
    ['frobs'],
  ],
  [
    'a new keyword parameter',
    {
      files: [{ path: 'b.py', content: 'def get(key):' }],
      patch: goldAdds('def get(key, fallback=None):'),
      testPatch: testsAdd('    get(1, fallback=2)'),
    },
    ['fallback'],
  ],
  [
    'a new constant',
    { patch: goldAdds('MAX_FROBS = 3'), testPatch: testsAdd('    assert MAX_FROBS == 3') },
    ['MAX_FROBS'],
  ],
  [
    'a name that the issue gives',
    {
      problemStatement: 'Add frobnicate()',
      patch: goldAdds('def frobnicate(x):'),
      testPatch: testsAdd('    frobnicate(1)'),
    },
    [],
  ],
  [
    'a name that the base already has',
    {
      files: [{ path: 'b.py', content: 'frobnicate = 1' }],
      patch: goldAdds('def frobnicate(x):'),
      testPatch: testsAdd('    frobnicate(1)'),
    },
    [],
  ],
  [
    'a name that the tests do not use',
    { patch: goldAdds('def _helper(x):'), testPatch: testsAdd('    assert 1') },
    [],
  ],
  [
    'a name only in a comment of the tests',
    { patch: goldAdds('def frobnicate(x):'), testPatch: testsAdd('    # frobnicate is used inside') },
    [],
  ],
  [
    'a parameter that the tests pass by position',
    {
      files: [{ path: 'b.py', content: 'def get(key):' }],
      patch: goldAdds('def get(key, fallback=None):'),
      testPatch: testsAdd('    get(1, 2)'),
    },
    [],
  ],
  [
    'a local variable of gold',
    { patch: goldAdds('    frobs = []'), testPatch: testsAdd('    frobs = 1') },
    [],
  ],
  [
    'a name that the tests define themselves',
    { patch: goldAdds('def frobnicate(x):'), testPatch: testsAdd('def frobnicate(x):', '    frobnicate(1)') },
    [],
  ],
])('%s: names that only gold knows', (_title, change, names) => {
  expect(hiddenNames({ ...INSTANCE, files: [], ...change })).toEqual(names);
});

test('tests that compare with a message which only gold words so are found', async () => {
  const change: Partial<LabelInput> = {
    patch: goldAdds('    raise ValueError("size must be positive, got nothing")'),
    testPatch: testsAdd('    with pytest.raises(ValueError, match="size must be positive"):'),
  };
  expect(hiddenTexts({ ...INSTANCE, ...change })).toEqual(['size must be positive, got nothing']);
  expect((await label(change)).test_fairness).toMatchObject({
    score: 2,
    rationale: expect.stringContaining('size must be positive'),
  });
  const told = { ...change, problemStatement: 'Raise ValueError("size must be positive, got nothing")' };
  expect((await label(told)).test_fairness.score).toBe(0);
});

test('fairness is worse the more the tests demand that nobody was told', async () => {
  const one = { patch: goldAdds('def frobnicate(x):'), testPatch: testsAdd('    frobnicate(1)') };
  const two = {
    patch: goldAdds('def frobnicate(x):', 'class Frobber:'),
    testPatch: testsAdd('    frobnicate(Frobber())'),
  };
  expect((await label(one)).test_fairness.score).toBe(2);
  expect((await label(two)).test_fairness.score).toBe(3);
  expect((await label({ passToPass: [] })).test_fairness.score).toBe(1);
  expect(
    (await label({ failToPass: Array.from({ length: 30 }, (_value, index) => `t::${index}`) })).test_fairness
      .score,
  ).toBe(1);
});

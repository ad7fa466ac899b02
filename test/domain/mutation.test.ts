import { expect, test } from 'vitest';
import { bugId, bugOrder, createReach, isOwnCode } from '../../src/domain/mutation.ts';
import type { Mutation } from '../../src/domain/mutation.ts';
import { bugsWanted, mutationTarget } from '../../src/domain/sourceSpec.ts';

const bug = (kind: Mutation['kind'], start: number, over: Partial<Mutation> = {}): Mutation => ({
  path: 'demo/core.py',
  kind,
  line: start,
  function: `f${start}`,
  start,
  end: start + 1,
  text: 'x',
  ...over,
});
const BUGS = Array.from({ length: 12 }, (_, at) => bug(at % 3 === 0 ? 'swap' : 'operator', at));
const starts = (bugs: readonly Mutation[]): readonly number[] => bugs.map(({ start }) => start);

test('The order depends on the bugs and the seed, not on the order in which they came', () => {
  const once = starts(bugOrder(BUGS, 0));
  expect(starts(bugOrder(BUGS.toReversed(), 0))).toEqual(once);
  expect(starts(bugOrder(BUGS, 1))).not.toEqual(once);
  expect(once.toSorted((a, b) => a - b)).toEqual(starts(BUGS));
});

test('Kinds come in turn, and a function has its second bug of a kind after every first', () => {
  expect(
    bugOrder(BUGS, 0)
      .slice(0, 8)
      .map(({ kind }) => kind),
  ).toEqual(Array.from({ length: 4 }, () => ['operator', 'swap']).flat());
  const crowded = [bug('bound', 1, { function: 'f' }), bug('bound', 2, { function: 'f' }), bug('bound', 3)];
  for (const seed of [0, 1, 2, 3]) {
    const first = bugOrder(crowded, seed)
      .slice(0, 2)
      .map((one) => one.function);
    expect(first.toSorted()).toEqual(['f', 'f3']);
  }
});

test('The same edit is tried once, whatever kind it is called', () => {
  expect(bugOrder([bug('swap', 1), bug('operator', 1), bug('swap', 2)], 0)).toHaveLength(2);
  expect(bugId(bug('swap', 1))).toMatch(/^[0-9a-f]{8}$/);
});

test.each([
  ['src/demo/core.py', true],
  ['demo.py', true],
  ['demo/testing.py', true],
  ['tests/helpers.py', false],
  ['demo/tests/test_core.py', false],
  ['setup.py', false],
  ['docs/conf.py', false],
  ['demo/_vendor/six.py', false],
  ['examples/use.py', false],
  ['demo/core.pyi', false],
  ['demo/__main__.py', false],
])('%s is code of the package: %s', (path, own) => {
  expect(isOwnCode(path)).toBe(own);
});

const reach = createReach(
  [
    { path: 'src/demo/core.py', name: 'parse', uses: ['_scan'] },
    { path: 'src/demo/core.py', name: '_scan', uses: ['_step'] },
    { path: 'src/demo/core.py', name: '_step', uses: [] },
    { path: 'src/demo/core.py', name: 'Box.__len__', uses: [] },
    { path: 'src/demo/lost.py', name: 'lost', uses: [] },
  ],
  new Map([
    ['tests/test_parse.py', 'from demo import parse\n'],
    ['tests/test_scan.py', 'from demo.core import _scan\n'],
    ['tests/test_box.py', 'import demo\ndemo.Box()\n'],
    ['tests/test_none.py', 'assert 1\n'],
  ]),
);
test.each([
  ['the function itself', 'src/demo/core.py', 'parse', ['tests/test_parse.py']],
  [
    'the function, or what calls it',
    'src/demo/core.py',
    '_scan',
    ['tests/test_parse.py', 'tests/test_scan.py'],
  ],
  ['the caller of a caller', 'src/demo/core.py', '_step', ['tests/test_parse.py', 'tests/test_scan.py']],
  ['the class, of a method that Python calls', 'src/demo/core.py', 'Box.__len__', ['tests/test_box.py']],
  ['the module, where nobody names the function', 'src/demo/core.py', 'hidden', ['tests/test_scan.py']],
  [
    'the package, where nobody names the module',
    'src/demo/lost.py',
    'lost',
    ['tests/test_box.py', 'tests/test_parse.py', 'tests/test_scan.py'],
  ],
  ['nothing, where nobody names the package', 'other/lost.py', 'lost', []],
])('A bug is judged by the tests that name %s', (_what, path, name, files) => {
  expect(reach({ path, function: name })).toEqual(files);
});

test.each([
  ['Parse', { name: 'parse', version: null }],
  ['ruamel_yaml==0.18.1', { name: 'ruamel-yaml', version: '0.18.1' }],
  ['../clone', { name: '../clone', version: null, url: '../clone' }],
  ['https://example.org/a/b.git', { url: 'https://example.org/a/b.git' }],
])('%s is understood', (text, target) => {
  expect(mutationTarget(text)).toMatchObject(target);
});
test.each(['', 'a b', 'parse=1', 'parse==', '-x'])('%j is neither a package nor a clone', (text) => {
  expect(mutationTarget(text)).toBeNull();
});

test('Without a limit a package gives so many bugs as its instances need, not thousands', () => {
  expect(bugsWanted({})).toBe(50);
  expect(bugsWanted({ maxInstances: 40 })).toBe(200);
  expect(bugsWanted({ maxInstances: 40, maxCandidates: 7 })).toBe(7);
});

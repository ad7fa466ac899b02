import { spawnSync } from 'node:child_process';
import { beforeAll, expect, test } from 'vitest';
import { MUTATION_KINDS } from '../../../src/domain/mutation.ts';
import type { KnownFunction, Mutation } from '../../../src/domain/mutation.ts';

const PROGRAM = 'src/ecosystems/python/mutations.py';

interface Answer {
  readonly mutations: readonly Mutation[];
  readonly functions: readonly KnownFunction[];
}

function ask(files: Readonly<Record<string, string>>, kinds: readonly string[] | null = null): Answer {
  const done = spawnSync('python3', ['-I', PROGRAM], {
    input: JSON.stringify({ files, kinds }),
    encoding: 'utf8',
    maxBuffer: 64 * 1024 ** 2,
  });
  expect(done.stderr).toBe('');
  return JSON.parse(done.stdout) as Answer;
}

const broken = (source: string, { start, end, text }: Mutation): string =>
  Buffer.concat([
    Buffer.from(source).subarray(0, start),
    Buffer.from(text),
    Buffer.from(source).subarray(end),
  ]).toString();

const moduleOf = (body: string): string =>
  `def f(a, b, items):\n${body
    .split('\n')
    .map((line) => `    ${line}\n`)
    .join('')}`;

/** The bodies that each body becomes, by kind: lines as they stand, joined by `|`. One program makes them all. */
function bugsOfAll(bodies: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const { mutations } = ask(Object.fromEntries(bodies.map((body, at) => [`m${at}.py`, moduleOf(body)])));
  const told = (body: string, one: Mutation): string => {
    const after = broken(moduleOf(body), one).split('\n').slice(1, -1);
    return `${one.kind}: ${after.map((line) => line.replace(/^ {4}/, '')).join(' | ')}`;
  };
  return new Map(
    bodies.map((body, at) => [
      body,
      mutations.filter(({ path }) => path === `m${at}.py`).map((one) => told(body, one)),
    ]),
  );
}
let bugs: ReadonlyMap<string, readonly string[]>;
beforeAll(() => {
  bugs = bugsOfAll([...examples, ...untouched.map(([, body]) => [body] as const)].map(([body]) => body));
});
const bugsIn = (body: string): readonly string[] => bugs.get(body) ?? ['not asked for'];

const examples: readonly (readonly [string, readonly string[]])[] = [
  ['x = a + b', ['operator: x = a - b']],
  ['x = a and b', ['operator: x = a or b']],
  ['x = a == b', ['comparison: x = a != b']],
  ['x = a < b', ['comparison: x = a <= b', 'comparison: x = a > b']],
  ['x = a not   in b', ['comparison: x = a in b']],
  ['x = a is not None', ['comparison: x = a is None']],
  ['x = not a', ['condition: x = a']],
  ['x = a if b else items', ['condition: x = a if not b else items']],
  [
    'x = [i for i in items if a and b]',
    ['operator: x = [i for i in items if a or b]', 'condition: x = [i for i in items if not (a and b)]'],
  ],
  ['x = 7', ['constant: x = 6', 'constant: x = 8']],
  ['x = True', ['constant: x = False']],
  ["x = a.join('-')", ["constant: x = a.join('_')"]],
  [
    'x = range(len(a) - 1)',
    [
      'bound: x = range(len(a) - 1 - 1)',
      'bound: x = range(len(a))',
      'constant: x = range(len(a) - 0)',
      'constant: x = range(len(a) - 2)',
      'operator: x = range(len(a) + 1)',
    ],
  ],
  ['x = items[1:]', ['bound: x = items[0:]', 'bound: x = items[2:]']],
  ['x = items[:-1]', ['bound: x = items[:-2]']],
  ['x = items[0]', ['bound: x = items[1]']],
  ['x = g(a, b)', ['argument: x = g(b, a)']],
  ['x = g(a, key=b)', ['argument: x = g(a)']],
  ['x = isinstance(a, b)', []],
  ['return a, b', ['return: return b, a']],
  ['return g(a)', ['return: return None']],
  ['return isinstance(a, b)', ['return: return not isinstance(a, b)']],
  ['x = max(a, b)', ['argument: x = max(b, a)', 'swap: x = min(a, b)']],
  ['x = a.lower()', ['swap: x = a.upper()']],
  ['items.append(a)', ['statement: pass']],
  ['if a:\n    raise b\nreturn', ['branch: return', 'condition: if not a: |     raise b | return']],
  [
    'if a:\n    x = b\nelse:\n    x = items',
    [
      'condition: if not a: |     x = b | else: |     x = items',
      'statement: if a: |     pass | else: |     x = items',
      'branch: if a: |     x = b',
      'statement: if a: |     x = b | else: |     pass',
    ],
  ],
  [
    'for x in a:\n    if b:\n        break',
    [
      'branch: for x in a: |     pass',
      'condition: for x in a: |     if not b: |         break',
      'statement: for x in a: |     if b: |         continue',
    ],
  ],
];
test.each(examples)('%j has these bugs and no others', (body, expected) => {
  expect(bugsIn(body).toSorted()).toEqual(expected.toSorted());
});

const untouched: readonly (readonly [string, string])[] = [
  ['a docstring', '"""1 + 1"""'],
  ['a formatted string', "x = f'{a + 1:>{b}}'"],
  ['a loop that may not end', 'while a < 3:\n    a += 1'],
  ['an assertion', 'assert a + 1'],
  ['an annotation', 'x: items[0] = a'],
  ['a warning', "warnings.warn('a', b)"],
  ['a function that tests leave out by a mark', 'x = a + b  # pragma: no cover'],
  ['the only place where a name is bound', 'x = a'],
];
test.each(untouched)('%s is left alone', (_what, body) => {
  expect(bugsIn(body)).toEqual([]);
});

test('Defaults, decorators and the code of modules and classes are left alone', () => {
  const source = 'X = 1 + 1\n\n\nclass A:\n    y = 2\n\n    @g(3)\n    def f(self, a=4):\n        return\n';
  expect(ask({ 'm.py': source }).mutations).toEqual([]);
});

test('A bug is one edit in place: nothing else of the file changes, umlauts, tabs and line ends included', () => {
  const source = '# ü\r\ndef f(ä):\r\n\tx = "ö" ;  y = ä   +   1 # ß\r\n\treturn  y\r\n';
  const { mutations } = ask({ 'm.py': source }, ['operator']);
  expect(mutations.map((one) => broken(source, one))).toEqual([source.replace('   +   ', '   -   ')]);
  expect(mutations[0]).toMatchObject({ path: 'm.py', kind: 'operator', line: 3, function: 'f' });
});

const STDLIB = ['textwrap', 'json.decoder'];
test('Every bug in modules of the standard library parses, differs from the original, and is made but once', () => {
  const check = `
import ast, importlib, json, sys
sys.path.insert(0, sys.argv[1])
import mutations
found = []
for name in json.loads(sys.argv[2]):
    source = open(importlib.import_module(name).__file__, encoding="utf-8").read()
    bugs = mutations.mutations(source)
    sources = [bug.source for bug in bugs]
    for one in sources[::20]:
        ast.parse(one)
    assert source not in sources and len(set(sources)) == len(sources), name
    assert [bug[:4] for bug in bugs] == [bug[:4] for bug in mutations.mutations(source)], name
    found += [bug.kind for bug in bugs]
json.dump(sorted(set(found)), sys.stdout)
`;
  const done = spawnSync(
    'python3',
    ['-B', '-W', 'ignore', '-c', check, 'src/ecosystems/python', JSON.stringify(STDLIB)],
    {
      encoding: 'utf8',
    },
  );
  expect(done.stderr).toBe('');
  expect(JSON.parse(done.stdout)).toEqual([...MUTATION_KINDS].toSorted());
});

test('Only the kinds that are asked for are made', () => {
  const source = 'def f(a):\n    if a > 1:\n        return a + 1\n';
  const kinds = ask({ 'm.py': source }, ['operator', 'bound']).mutations.map(({ kind }) => kind);
  expect(kinds).toEqual(['operator']);
});

test('A file that does not parse has no bugs, and those of the other files are made', () => {
  const answer = ask({ 'bad.py': 'def f(:\n', 'old.py': 'print 1\n', 'm.py': 'def f(a):\n    return -a\n' });
  expect(answer.mutations.map(({ path, text }) => `${path} ${text}`)).toEqual(['m.py ']);
});

test('Functions are told with the names that they use, methods and inner functions by their dotted names', () => {
  const source =
    'class A:\n    def f(self):\n        def g():\n            return self.h(1)\n        return g\n';
  expect(ask({ 'm.py': source }).functions).toEqual([
    { path: 'm.py', name: 'A.f', uses: ['g', 'h', 'self'] },
    { path: 'm.py', name: 'A.f.g', uses: ['h', 'self'] },
  ]);
});

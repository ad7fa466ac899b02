import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FORM_JUDGE } from '../../../src/audit/attacks/selectiveForm.ts';
import { drawCanaries, forgeryOdds, plantCanaries } from '../../../src/domain/canaryPlanting.ts';
import type { Canary } from '../../../src/domain/runs.ts';
import { canaryScript } from '../../../src/ecosystems/python/workspace.ts';
import { changeTar } from '../../../src/ecosystems/python/trees.ts';
import type { Sandbox } from '../../../src/sandbox/types.ts';
import { testInstallation } from '../../support/docker.ts';
import type { TestInstallation } from '../../support/docker.ts';
import { sandboxSpec } from '../../sandbox/sandboxSpec.ts';

const OLD = `def test_old():
    assert f(1) == 3
`;
const OLD_FORMS = `def test_edited():
    assert f(12) == 144
`;
const NEW = `${OLD}

def test_text(a="x"):
    assert name(3) == "3 kB", "why"


def test_other():
    assert name(4) == "4 kB"


def test_number():
    assert f(2) == 6


def test_order():
    assert f(2) not in (1, 2)


def test_truth():
    assert not f(2)


def test_named(request):
    assert f(3) == 9

`;
const FORMS_OF_EXPECTING = `import pytest


def test_raises():
    with pytest.raises(KeyError):
        f(6)


def test_named_value():
    expected = [4, 5]
    assert f(7) == expected


def test_used_value():
    size = 8
    assert f(size) == size


def test_loop():
    for x in (1, 2):
        with open(x):
            assert f(x) == 7


def test_made():
    assert f(8) == Decimal("1.2")


def test_last():
    assert f(1) == 1
    assert f(2) == 4


def test_edited():
    assert f(12) == 144
    assert f(13) == 169


def test_object():
    assert f(14) == Point(1, y=2)


def test_near():
    assert f(15) == pytest.approx(2.5, abs=0.5)


def test_maybe_empty():
    for one in f(16):
        assert one == 3


def test_in_context():
    with transaction():
        assert f(17) == 3


def test_two_made():
    assert (1, 2) == tuple([1, 2])


@pytest.mark.parametrize("text, expected", [("a bb", 17), pytest.param("c dd", 19)])
def test_rows(text, expected):
    assert f(text) == expected


class Inherited:
    def test_in_both(self):
        assert f(9) == 81

    def test_in_one(self):
        assert f(10) == 100


class TestFirst(Inherited):
    pass


class TestSecond(Inherited):
    def test_in_one(self):
        assert f(10) == 200
`;
const METHODS = `import unittest


class CalcTest(unittest.TestCase):
    def test_list(self):
        self.assertEqual(f(1), [1, 2.5])

    def test_none(self):
        self.assertIsNone(f(2))

    def test_within(self):
        for x in f(3):
            self.assertIn(1, f(x))


def test_called():
    assert f(4) == 16


test_called.slow = True


@pytest.mark.xfail
def test_expected():
    assert f(5) == 1


def test_timed():
    assert elapsed() == 1
`;

/** A file of tests that assert `line(k)`, none of which is in the base. */
const fileOf = (line: (k: number) => string): string =>
  Array.from({ length: 8 }, (_, k) => `def test_${'abcdefgh'[k]}():\n    assert ${line(k)}\n`).join('\n\n');
const WORDS = [
  'anchor',
  'bridge',
  'candle',
  'dragon',
  'ember',
  'forest',
  'garden',
  'harbor',
  'island',
  'jungle',
];
const word = (n: number): string => WORDS[n % 10]!;
/** What an exchange must not make: a zero with a sign, a member twice, an escape, a text that would not come back. */
const ODD = [
  'f(x) == -1',
  'f(x) == "-1"',
  'f(x) == .1',
  'f(x) == {1, 2}',
  'f(x) == {1: None, 2: None}',
  'f(x) == "\\08"',
  'f(x) == "foo"',
  'f(x) == "v1"',
];
/** So many files of each kind. */
const FORMS = Object.fromEntries(
  Array.from({ length: 20 }, (_, n) => [
    [`test_numbers_${n}.py`, fileOf((k) => `f${k}(x) == ${137 * (8 * n + k) + 11}`)],
    [`test_texts_${n}.py`, fileOf((k) => `f${k}(x) == "the ${word(n + k)} ${word(n + 3 * k + 1)}"`)],
    [`test_odd_${n}.py`, fileOf((k) => ODD[(n + k) % ODD.length]!)],
    [`test_shared_${n}.py`, fileOf((k) => `f${k}(x) == "${word(n + (k < 6 ? k % 3 : k))}"`)],
  ]).flat(),
) as Readonly<Record<string, string>>;

let installation: TestInstallation;
let sandbox: Sandbox;
let pool: readonly Canary[];

const at = (path: string, content: string) => ({
  path,
  mode: '100644' as const,
  content: Buffer.from(content),
});
const canariesOf = async (files: readonly string[]): Promise<readonly Canary[]> => {
  const stdin = JSON.stringify(files);
  const made = await sandbox.exec(['python3', '-I', '/repoforge/canaries.py'], { ...asTest, stdin });
  expect(made.stderr.toString()).toBe('');
  return JSON.parse(made.stdout.toString()) as readonly Canary[];
};
const asTest = { user: '1000:1000', cwd: '/testbed', timeoutMs: 60_000 };

beforeAll(async () => {
  installation = await testInstallation();
  sandbox = await installation.driver.create(
    sandboxSpec({ ...installation, image: await installation.image() }),
  );
  await sandbox.putTree(
    await changeTar({ files: [at('test_calc.py', OLD), at('test_forms.py', OLD_FORMS)], deleted: [] }, []),
    '/',
  );
  const commit = 'git init -q . && git add -A && git -c user.name=t -c user.email=t@t commit -qm base';
  expect((await sandbox.exec(['sh', '-c', commit], { ...asTest, env: { HOME: '/tmp' } })).exitCode).toBe(0);
  const forms = Object.entries(FORMS).map(([path, text]) => at(path, text));
  const files = [
    at('test_calc.py', NEW),
    at('test_methods.py', METHODS),
    at('test_forms.py', FORMS_OF_EXPECTING),
    ...forms,
  ];
  await sandbox.putTree(await changeTar({ files, deleted: [] }, await canaryScript()), '/');
  pool = await canariesOf(['test_calc.py', 'test_methods.py', 'test_forms.py', 'absent.py']);
}, 120_000);
afterAll(async () => installation?.cleanup(), 60_000);

const of = (name: string): readonly Canary[] =>
  pool.filter(({ twin }) => twin?.endsWith(`::${name}`) === true);
const sourceOf = (name: string): string => of(name)[0]?.source ?? '';

test('tests of the change get many copies, no two alike, those of the base one; which is said', async () => {
  const alone = await canariesOf(['test_calc.py']);
  expect(alone.filter(({ inBase }) => inBase === true).map(({ twin }) => twin)).toEqual([
    'test_calc.py::test_old',
  ]);
  for (const name of ['test_number', 'test_list']) {
    const copies = of(name).map(({ source }) => source);
    expect(copies.length).toBeGreaterThan(2);
    expect(new Set(copies).size).toBe(copies.length);
    expect(of(name).filter((one) => 'inBase' in one)).toEqual([]);
  }
});

describe('an assertion made false', () => {
  test.each([
    ['test_number', /assert f\(2\) == [0-57-9]\n/, 'another number'],
    ['test_text', /assert name\(3\) == "[0-24-9] kB", "why"/, 'another number in its text'],
    ['test_order', /assert f\(2\) in \(1, 2\)/, 'the opposite operator'],
    ['test_truth', /assert f\(2\)\n/, 'no negation'],
    ['test_list', /self.assertEqual\(f\(1\), \[1, 2.[1-46-9]\]\)/, 'other numbers'],
    [
      'test_raises',
      /^ {4}with pytest.raises\(KeyError\):\n {8}f\(6\)\n {4}assert \d\d == \d\d$/m,
      'a false assertion at its end',
    ],
    ['test_named_value', /expected = \[4, [0-46-9]\]/, 'another value of a name that says what is expected'],
    ['test_loop', /assert f\(x\) == [0-689]/, 'another number in a loop'],
    [
      'test_made',
      /assert f\(8\) == Decimal\("1.[13-9]"\)/,
      'another argument of a constructor of plain values',
    ],
    [
      'test_edited',
      /assert f\(12\) == 144\n {4}assert f\(13\) == 16[0-8]\n/,
      'another number where the change asks for one',
    ],
    [
      'test_last',
      /assert f\(1\) == 1\n {4}assert f\(2\) == [0-35-9]\n/,
      'another number in its last assertion alone',
    ],
    ['test_rows', /^(?!.*a bb", 17.*c dd", 19)/s, 'other expectations in some parametrisations'],
    [
      'test_within',
      /self\.assertIn\(1, f\(x\)\)\n {8}self\.assertEqual\(\d\d, \d\d\)\n$/,
      'a false assertion of its kind',
    ],
    ['test_none', /self.assertIsNotNone\(f\(2\)\)/, 'the opposite method'],
  ])('%s is copied with %s: %s', (name, line) => {
    expect(sourceOf(name)).toMatch(line);
    expect(of(name)[0]?.inverted).toBe(/order|truth|none|raises|within/.test(name));
  });

  test('what may pass or fail by chance or by decree has none', () => {
    for (const name of ['test_expected', 'test_timed']) expect(of(name)).toEqual([]);
  });

  test.each([
    ['test_used_value', 'is not only expected', 'size = 8'],
    ['test_object', 'is an object of the code under test', 'Point(1, y=2)'],
    ['test_near', 'is not the only right one', 'approx(2.5, abs=0.5)'],
    ['test_maybe_empty', 'may never be asked for', 'assert one == 3'],
    ['test_in_context', 'is asked for where a failure may be swallowed', 'assert f(17) == 3'],
    ['test_two_made', 'is compared with another such value', '[1, 2]'],
  ])('a value of %s is left as it is: it %s', (name, _why, text) => {
    for (const { source, inverted } of of(name))
      expect([source.includes(text) || / [!]= |not /.test(source), inverted]).toEqual([true, true]);
  });

  test('what is made in some parametrisations alone is marked: which of them fail, a run must find', () => {
    expect(of('test_rows').length).toBeGreaterThan(1);
    for (const one of of('test_rows')) expect(one).toMatchObject({ byRow: true, inverted: false });
    for (const one of of('test_number')) expect(one).not.toHaveProperty('byRow');
  });

  test('a test that classes inherit is copied where it stands, and says where it is collected', () => {
    expect(of('test_in_both')[0]).toMatchObject({
      prefix: 'test_forms.py::Inherited::',
      prefixes: ['test_forms.py::TestFirst::', 'test_forms.py::TestSecond::'],
    });
    const places = pool.filter(({ twin }) => twin?.endsWith('::test_in_one') === true);
    expect(new Set(places.map(({ prefix, prefixes = [prefix] }) => prefixes.join()))).toEqual(
      new Set(['test_forms.py::TestFirst::', 'test_forms.py::TestSecond::']),
    );
  });
});

/** Pairs of what a test asserts and what its canaries do, in several pools of the files of a kind. */
const pairsOf = async (kind: string): Promise<readonly (readonly [Canary, string, string])[]> => {
  const files = Object.keys(FORMS).filter((path) => path.includes(kind));
  const pools = [await canariesOf(files), await canariesOf(files), await canariesOf(files.toReversed())];
  const literal = (text: string): string => /== (.*)/.exec(text)?.[1] ?? '';
  return pools.flat().map((canary) => {
    const lines = FORMS[canary.file]!.split('\n');
    return [canary, literal(lines[canary.insertAfterLine - 1]!), literal(canary.source)] as const;
  });
};

describe('the form of an exchanged literal does not tell a canary from its twin', () => {
  test('a number is as often larger as smaller, and never rounder', async () => {
    const pairs = await pairsOf('numbers');
    const larger = pairs.filter(([, twin, canary]) => Number(canary) > Number(twin)).length;
    expect(pairs.length).toBeGreaterThan(60);
    // farther off than five standard deviations of as many fair coins only once in millions of runs
    expect(Math.abs(larger / pairs.length - 0.5)).toBeLessThan(2.5 / Math.sqrt(pairs.length));
    for (const [, twin, canary] of pairs) expect(canary.endsWith('0')).toBe(twin.endsWith('0'));
  });

  test('a text keeps its words', async () => {
    const sorted = (text: string): string => text.replaceAll('"', '').split(' ').toSorted().join(' ');
    for (const [, twin, canary] of await pairsOf('texts')) {
      expect(sorted(canary)).toBe(sorted(twin));
      expect(canary).not.toBe(twin);
    }
  });

  test('a text that the file expects elsewhere stands only for one that it does expect elsewhere', async () => {
    for (const [{ file }, twin, canary] of await pairsOf('shared')) {
      const occurs = (text: string): number => FORMS[file]!.split(text).length - 1;
      expect([file, twin, canary, occurs(canary) > 0]).toEqual([file, twin, canary, occurs(twin) > 1]);
    }
  });

  test('nothing is made that nobody writes, or that would not be exchanged back', async () => {
    const literals = (await pairsOf('odd')).map(([, , canary]) => canary);
    expect(literals.length).toBeGreaterThan(60);
    for (const literal of literals) {
      expect(literal).not.toMatch(
        /-0|^\.0|\{1, 1\}|\{2, 2\}|\{1: None, 1: None\}|\{2: None, 2: None\}|\\0[0-7]/,
      );
    }
    const ofWords = (await pairsOf('odd')).filter(([, twin]) => twin === '"foo"');
    for (const [, , canary] of ofWords) expect(canary).not.toMatch(/\d/);
  });

  test('who judges pairs by their form finds the genuine one little more often than by guessing', async () => {
    const pairs = [...(await pairsOf('numbers')), ...(await pairsOf('texts'))];
    const planted = pairs.map(([canary], index) => ({
      canary,
      name: canary.names[0]!,
      swapped: index % 2 === 0,
    }));
    const files = planted.map((one, index) =>
      at(`planted_${index}.py`, plantCanaries(FORMS[one.canary.file]!, one.canary.file, [one])),
    );
    await sandbox.putTree(await changeTar({ files, deleted: [] }, []), '/');
    const judge = `${FORM_JUDGE}\nimport json\nprint(json.dumps([sorted(odd_of(f"planted_{n}.py")) for n in range(${files.length})]))`;
    const judged = await sandbox.exec(['python3', '-c', judge], asTest);
    const odd = JSON.parse(judged.stdout.toString()) as readonly (readonly string[])[];
    const found = planted.filter(
      ({ canary, name, swapped }, index) =>
        odd[index]!.join() === (swapped ? canary.twin!.split('::').at(-1)! : name),
    );
    expect(odd.filter((names) => names.length > 0).length).toBeGreaterThan(pairs.length * 0.8);
    expect(found.length / pairs.length).toBeLessThan(0.65);
  });
});

describe('who judges a test and its copies by their form', () => {
  const DRAWS = 40;
  test.each(['numbers', 'texts', 'shared'])(
    'finds the test among its copies (%s) no more often than the odds say',
    async (kind) => {
      const paths = Object.keys(FORMS).filter((path) => path.includes(kind));
      const tries = await Promise.all(
        Array.from({ length: DRAWS }, async (_, index) => {
          const path = paths[index % paths.length]!;
          const twin = `${path}::test_${'abcdefgh'[index % 8]!}`;
          const of = (await canariesOf([path])).filter((canary) => canary.twin === twin);
          const lists = { files: [path], failToPass: [twin] };
          const planted = drawCanaries(of, lists, Math.random);
          const name = planted.find(({ swapped }) => swapped === true)?.name ?? twin.split('::')[1]!;
          const text = plantCanaries(FORMS[path]!, path, planted);
          return { text, name, copies: of.length, odds: forgeryOdds(of, lists.failToPass) };
        }),
      );
      const files = tries.map(({ text }, index) => at(`drawn_${index}.py`, text));
      await sandbox.putTree(await changeTar({ files, deleted: [] }, []), '/');
      const judge = `${FORM_JUDGE}\nimport json\nprint(json.dumps([sorted(odd_of(f"drawn_{n}.py")) for n in range(${DRAWS})]))`;
      const judged = await sandbox.exec(['python3', '-c', judge], asTest);
      const odd = JSON.parse(judged.stdout.toString()) as readonly (readonly string[])[];
      // every set is seen as one: all but one of it look made
      for (const [index, names] of odd.entries())
        expect(names.length).toBeGreaterThanOrEqual(tries[index]!.copies);
      const found = odd.filter((names, index) => !names.includes(tries[index]!.name)).length;
      const expected = tries.reduce((sum, { odds }) => sum + odds, 0);
      const spread = Math.sqrt(tries.reduce((sum, { odds }) => sum + odds * (1 - odds), 0));
      expect(expected).toBeLessThan(DRAWS * 0.7);
      expect(found).toBeLessThan(expected + 4 * spread);
    },
  );
});

describe('changing names with the twin', () => {
  test('is offered where the name stands nowhere else, with the line of its def', () => {
    const free = pool.filter(({ swapLine }) => swapLine !== undefined);
    expect(free.length).toBeGreaterThan(3);
    for (const { file, swapLine, twin } of free) {
      const text = { 'test_calc.py': NEW, 'test_methods.py': METHODS }[file] ?? FORMS_OF_EXPECTING;
      const line = text.split('\n')[(swapLine ?? 0) - 1];
      expect(line).toContain(`def ${twin?.split('::').at(-1)}(`);
    }
  });

  test('is not offered where the name is used, or where a fixture may tell it', () => {
    for (const name of ['test_called', 'test_named']) {
      expect(of(name)).not.toEqual([]);
      for (const canary of of(name)) expect(canary).not.toHaveProperty('swapLine');
    }
  });
});

test('a copy may stand after any test beside it, but not before what its defaults may need', () => {
  const lines = NEW.split('\n');
  const [withDefault, free] = [of('test_text')[0]!, of('test_number')[0]!];
  for (const { places = [] } of [withDefault, free]) {
    expect(places.length).toBeGreaterThan(2);
    for (const place of places) expect(lines[place - 1]).toMatch(/^ {4}assert/);
  }
  expect(Math.min(...withDefault.places!)).toBe(withDefault.insertAfterLine);
  expect(Math.min(...free.places!)).toBeLessThan(free.insertAfterLine);
});

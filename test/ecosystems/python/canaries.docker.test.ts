import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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
const METHODS = `import unittest


class CalcTest(unittest.TestCase):
    def test_list(self):
        self.assertEqual(f(1), [1, 2.5])

    def test_none(self):
        self.assertIsNone(f(2))


def test_called():
    assert f(4) == 16


test_called.slow = True


@pytest.mark.xfail
def test_expected():
    assert f(5) == 1


def test_timed():
    assert elapsed() == 1
`;

let installation: TestInstallation;
let sandbox: Sandbox;
let pool: readonly Canary[];

const at = (path: string, content: string) => ({
  path,
  mode: '100644' as const,
  content: Buffer.from(content),
});
const asTest = { user: '1000:1000', cwd: '/testbed', timeoutMs: 60_000 };

beforeAll(async () => {
  installation = await testInstallation();
  sandbox = await installation.driver.create(
    sandboxSpec({ ...installation, image: await installation.image() }),
  );
  await sandbox.putTree(await changeTar({ files: [at('test_calc.py', OLD)], deleted: [] }, []), '/');
  const commit = 'git init -q . && git add -A && git -c user.name=t -c user.email=t@t commit -qm base';
  expect((await sandbox.exec(['sh', '-c', commit], { ...asTest, env: { HOME: '/tmp' } })).exitCode).toBe(0);
  const files = [at('test_calc.py', NEW), at('test_methods.py', METHODS)];
  const script = { path: '/repoforge/canaries.py', content: await canaryScript() };
  await sandbox.putTree(await changeTar({ files, deleted: [] }, [script]), '/');
  const made = await sandbox.exec(['python3', '-I', '/repoforge/canaries.py'], {
    ...asTest,
    stdin: JSON.stringify(['test_calc.py', 'test_methods.py', 'absent.py']),
  });
  pool = JSON.parse(made.stdout.toString()) as readonly Canary[];
}, 120_000);
afterAll(async () => installation?.cleanup(), 60_000);

const of = (name: string): readonly Canary[] =>
  pool.filter(({ twin }) => twin?.endsWith(`::${name}`) === true);
const sourceOf = (name: string): string => of(name)[0]?.source ?? '';

test('tests of the change come first: with enough of them, the base’s own have no canary', () => {
  expect(of('test_old')).toEqual([]);
  expect(pool.filter(({ file }) => file === 'test_calc.py')).toHaveLength(6);
});

describe('an assertion made false', () => {
  test.each([
    ['test_text', 'assert name(3) == "4 kB", "why"', 'another text that the file expects'],
    ['test_order', 'assert f(2) in (1, 2)', 'the opposite operator'],
    ['test_truth', 'assert (f(2))', 'no negation'],
    ['test_list', 'self.assertEqual(f(1), [1, 3.5])', 'another number'],
    ['test_none', 'self.assertIsNotNone(f(2))', 'the opposite method'],
  ])('%s is copied with %s: %s', (name, line) => {
    expect(sourceOf(name)).toContain(line);
  });

  test('what may pass or fail by chance or by decree has none', () => {
    for (const name of ['test_expected', 'test_timed']) expect(of(name)).toEqual([]);
  });
});

describe('changing names with the twin', () => {
  test('is offered where the name stands nowhere else, with the line of its def', () => {
    const free = pool.filter(({ swapLine }) => swapLine !== undefined);
    expect(free.length).toBeGreaterThan(3);
    for (const { file, swapLine, twin } of free) {
      const line = (file === 'test_calc.py' ? NEW : METHODS).split('\n')[(swapLine ?? 0) - 1];
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

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import pino from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isProtected } from '../../../src/domain/split.ts';
import { applyPatch } from '../../../src/ecosystems/python/workspaceChange.ts';
import { createMirrorStore } from '../../../src/sources/mirror.ts';
import type { SourceMirror } from '../../../src/sources/mirror.ts';
import { writeTree } from '../../support/gitFixture.ts';

let directory: string;
let mirror: SourceMirror;
let base: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rf-apply-'));
  mirror = await createMirrorStore(directory, { log: pino({ level: 'silent' }) }).create('m');
  base = await writeTree(mirror.gitDir, {
    'pkg/a.py': 'one = 1\ntwo = 2\nthree = 3\nfour = 4\nfive = 5\n',
    'pkg/crlf.py': 'one = 1\r\ntwo = 2\r\nthree = 3\r\n',
    'pkg/sub/b.py': 'b = 1\n',
    'tests/test_a.py': 'def test_a(): pass\n',
    'conftest.py': '',
  });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const apply = (patch: string) =>
  applyPatch({
    mirror,
    baseCommit: base,
    basePaths: ['pkg/a.py', 'pkg/crlf.py', 'pkg/sub/b.py', 'tests/test_a.py', 'conftest.py'],
    patch: Buffer.from(patch),
    isProtected: (path) => isProtected(path),
  });
const newFile = (path: string, text: string, mode = '100644'): string =>
  `diff --git a/${path} b/${path}\nnew file mode ${mode}\n--- /dev/null\n+++ b/${path}\n@@ -0,0 +1 @@\n+${text}\n`;
const edit = (path: string, end = ''): string =>
  `--- a/${path}\n+++ b/${path}\n@@ -1,3 +1,3 @@\n one = 1${end}\n-two = 2${end}\n+two = 22${end}\n three = 3${end}\n`;

test('a patch gives the files that it makes', async () => {
  const applied = await apply(edit('pkg/a.py'));
  expect(applied.ok && applied.change.files.map(({ path, content }) => [path, content.toString()])).toEqual([
    ['pkg/a.py', 'one = 1\ntwo = 22\nthree = 3\nfour = 4\nfive = 5\n'],
  ]);
});

test('a patch without a last line end, with wrong counts or with a foreign line of context applies', async () => {
  const whole = edit('pkg/a.py');
  const sloppy = whole.replace('@@ -1,3 +1,3 @@', '@@ -1,9 +1,7 @@');
  for (const patch of [whole.trimEnd(), sloppy]) expect((await apply(patch)).ok).toBe(true);
});

test('carriage returns are kept, also when the patch lost them in its context', async () => {
  const exact = await apply(edit('pkg/crlf.py', '\r'));
  expect(exact.ok && exact.change.files[0]?.content.toString()).toBe('one = 1\r\ntwo = 22\r\nthree = 3\r\n');
  expect((await apply(edit('pkg/crlf.py'))).ok).toBe(true);
});

test('what is empty is empty, what does not apply fails with the reason', async () => {
  for (const patch of ['', '\n \n'])
    expect(await apply(patch)).toMatchObject({ ok: false, outcome: 'empty_patch' });
  const failed = await apply(edit('pkg/a.py').replace('two = 2\n', 'two = 3\n'));
  expect(failed).toMatchObject({
    ok: false,
    outcome: 'patch_failed',
    note: expect.stringContaining('pkg/a.py'),
  });
  expect(await apply('I would change the file a.py.')).toMatchObject({ outcome: 'patch_failed' });
});

const hostile: readonly (readonly [string, string])[] = [
  ['a path out of the tree', newFile('../evil.py', 'x')],
  ["git's own directory", newFile('.git/hooks/pre-commit', 'x')],
  ['an absolute path', newFile('/etc/passwd', 'x')],
];
test.each(hostile)('%s is not written', async (_what, patch) => {
  expect(await apply(patch)).toMatchObject({ ok: false, outcome: 'patch_failed' });
});

test('tests, conftest and runner files are taken out and named; nothing else is', async () => {
  const patch = [
    newFile('tests/test_b.py', 'def test_b(): pass'),
    newFile('pkg/conftest.py', 'x = 1'),
    newFile('pytest.ini', '[pytest]'),
    newFile('.repoforge-pytest.ini', '[pytest]'),
    newFile('pkg/new.py', 'x = 1'),
    'diff --git a/tests/test_a.py b/tests/test_a.py\ndeleted file mode 100644\n--- a/tests/test_a.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-def test_a(): pass\n',
  ].join('');
  const applied = await apply(patch);
  expect(applied.ok && applied.change.files.map(({ path }) => path)).toEqual(['pkg/new.py']);
  expect(applied.ok && applied.change.deleted).toEqual([]);
  expect(applied.ok && applied.droppedPaths).toEqual([
    '.repoforge-pytest.ini',
    'pkg/conftest.py',
    'pytest.ini',
    'tests/test_a.py',
    'tests/test_b.py',
  ]);
});

test('a link may not take the place of a directory that still holds tests', async () => {
  const link = newFile('tests', '/tmp', '120000').replace('+/tmp\n', '+/tmp\n\\ No newline at end of file\n');
  const remove =
    'diff --git a/tests/test_a.py b/tests/test_a.py\ndeleted file mode 100644\n--- a/tests/test_a.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-def test_a(): pass\n';
  const applied = await apply(remove + link);
  expect(applied.ok && applied.change.files).toEqual([]);
  expect(applied.ok && applied.droppedPaths).toEqual(['tests', 'tests/test_a.py']);
});

test('the mirror is not written to', async () => {
  const count = async () => (await execa('git', ['--git-dir', mirror.gitDir, 'count-objects', '-v'])).stdout;
  const before = await count();
  await apply(newFile('pkg/once.py', `x = ${Math.random()}`));
  expect(await count()).toBe(before);
});

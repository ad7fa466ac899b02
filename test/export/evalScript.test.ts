import { execFile } from 'node:child_process';
import { mkdtemp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { evalScript, shellQuote } from '../../src/export/evalScript.ts';
import { patchedPaths } from '../../src/export/patchedPaths.ts';
import { mayNeedInstall } from '../../src/export/pythonImages.ts';
import { makeRow } from '../evaluation/rows.ts';

const execute = promisify(execFile);
const runner = {
  command: ['python', '-m', 'pytest', '-rA', '-c', '/repoforge/pytest.ini'],
  env: { HOME: '/home/test', X: 'a b' },
  files: [{ path: '/repoforge/pytest.ini', content: '[pytest]\naddopts =\n' }],
  install: null,
};

describe('the script', () => {
  const patch = [
    'diff --git a/t/test_a.py b/t/test_a.py',
    'index 1..2 100644',
    '--- a/t/test_a.py',
    '+++ b/t/test_a.py',
    '@@ -1 +1 @@',
    '-a',
    '+b',
    'diff --git a/t/new file.py b/t/new file.py',
    'new file mode 100644',
    '--- /dev/null',
    '+++ b/t/new file.py',
    '@@ -0,0 +1 @@',
    "+it's",
    '',
  ].join('\n');
  const script = evalScript(
    makeRow({ test_patch: patch, test_scope: ['t/test_a.py', 't/new file.py'] }),
    runner,
  );

  it('restores test files before and after, applies the test patch and runs as the test user between the markers', () => {
    const lines = script.split('\n');
    const restore = ['git checkout HEAD -- t/test_a.py', "rm -rf -- 't/new file.py'"];
    const start = lines.indexOf(": '>>>>> Start Test Output'");
    expect(lines.slice(0, 3)).toEqual(['#!/bin/bash', 'set -uxo pipefail', 'cd /testbed']);
    expect(lines.slice(5, 7)).toEqual(restore);
    expect(lines[start + 1]).toBe(
      "setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs env -i HOME=/home/test 'X=a b' python -m pytest -rA -c /repoforge/pytest.ini t/test_a.py 't/new file.py'",
    );
    expect(lines.slice(start + 2)).toEqual([": '>>>>> End Test Output'", ...restore, '']);
  });

  it('is valid bash', async () => {
    await expect(execute('bash', ['-n', '-c', script])).resolves.toBeDefined();
  });

  it('carries files whole that hold its own first lines, markers or carriage returns', async () => {
    const content = "#!/bin/bash\nset -uxo pipefail\r\n>>>>> End Test Output\n$HOME `x` 'q'\n";
    const dir = await mkdtemp(join(tmpdir(), 'rf-script-'));
    try {
      const path = join(dir, 'file');
      const text = evalScript(makeRow({ test_patch: '' }), { ...runner, files: [{ path, content }] });
      const part = text.slice(text.indexOf('base64 -d'), text.indexOf(": '>>>>> Start"));
      expect(part).not.toContain('>>>>>');
      await execute('bash', ['-c', part]);
      expect(await readFile(path, 'utf8')).toBe(content);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });
});

it.each(['plain-1.0/x', 'a b', "it's", '$HOME', '', 'a\nb', '*'])(
  'bash reads %j back from its quoted form',
  async (word) => {
    const { stdout } = await execute('bash', ['-c', `printf %s ${shellQuote(word)}`]);
    expect(stdout).toBe(word);
  },
);

describe('paths of a diff that git itself made', () => {
  let dir = '';
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'rf-paths-'));
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  it('are read back, odd names, binary files, deletions and mode changes included', async () => {
    const git = async (...args: string[]) =>
      (await execute('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { cwd: dir })).stdout;
    await git('init', '-q');
    await mkdir(join(dir, 'd b'));
    for (const name of ['changed.py', 'gone.py', 'd b/b b.py', 'mode.sh'])
      await writeFile(join(dir, name), 'one\n');
    await git('add', '-A');
    await git('commit', '-qm', 'x');
    await rm(join(dir, 'gone.py'));
    for (const name of ['changed.py', 'd b/b b.py'])
      await writeFile(join(dir, name), 'diff --git a/no b/no\nnew file mode 1\n');
    await git('update-index', '--chmod=+x', 'mode.sh');
    for (const [name, content] of [
      ['é "q".py', 'x\n'],
      ['bin.dat', Buffer.from([0, 1, 2])],
      ['empty', ''],
    ] as const)
      await writeFile(join(dir, name), content);
    await git('add', 'changed.py', 'gone.py', 'd b', 'é "q".py', 'bin.dat', 'empty');
    const { changed, added } = patchedPaths(
      await git('diff', '--cached', '--binary', '--no-renames', '--full-index'),
    );
    expect(changed.toSorted()).toEqual(['changed.py', 'd b/b b.py', 'gone.py', 'mode.sh']);
    expect(added.toSorted()).toEqual(['bin.dat', 'empty', 'é "q".py'].toSorted());
  });
});

it.each([
  [
    'a change of plain Python',
    'diff --git a/p/a.py b/p/a.py\n--- a/p/a.py\n+++ b/p/a.py\n@@ -1 +1 @@\n-a\n+b\n',
    false,
  ],
  [
    'a change of a build file',
    'diff --git a/setup.py b/setup.py\n--- a/setup.py\n+++ b/setup.py\n@@ -1 +1 @@\n-a\n+b\n',
    true,
  ],
  [
    'a rename',
    'diff --git a/p/a.py b/p/a.pyx\nsimilarity index 100%\nrename from p/a.py\nrename to p/a.pyx\n',
    true,
  ],
  ['a diff without git’s header', '--- a/setup.py\n+++ b/setup.py\n@@ -1 +1 @@\n-a\n+b\n', true],
  [
    'carriage returns',
    'diff --git a/setup.py b/setup.py\r\n--- a/setup.py\r\n+++ b/setup.py\r\n@@ -1 +1 @@\r\n-a\r\n+b\r\n',
    true,
  ],
])('%s may need an install: git is asked where that cannot be seen', (_what, patch, expected) => {
  expect(mayNeedInstall(patch)).toBe(expected);
});

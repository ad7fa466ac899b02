import { chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { execa } from 'execa';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createMirrorStore } from '../../src/sources/mirror.ts';
import type { SourceMirror, SourceMirrorStore } from '../../src/sources/mirror.ts';
import { remoteFailure } from '../../src/sources/mirrorFetch.ts';
import { createRepository } from './repositories.ts';
import type { TestRepository } from './repositories.ts';

let dir = '';
let origin: TestRepository;
let mirrors: SourceMirrorStore;
let mirror: SourceMirror;
let odd = '';
let next = '';

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'repoforge-mirror-'));
  origin = await createRepository(join(dir, 'origin'));
  await writeOddTree(origin);
  odd = await origin.commit('Odd tree');
  await origin.write('pkg/a.py', 'a = 2\r\n');
  await origin.write('tests/test_a.py', 'def test_a():\n    assert True  \n');
  next = await origin.commit('Next');
  await origin.git('update-ref', 'refs/pull/7/head', odd);
  mirrors = createMirrorStore(join(dir, 'mirrors'), { log: pino({ level: 'silent' }) });
  ({ mirror } = await mirrors.fetch('m', origin.dir, { refs: ['refs/pull/7/head', 'refs/pull/8/head'] }));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function writeOddTree(repository: TestRepository): Promise<void> {
  await repository.write(
    '.gitattributes',
    'secret/ export-ignore\n*.txt text eol=crlf ident\nsub.py export-subst\n*.bin diff=none -diff\n*.utf16 working-tree-encoding=UTF-16\nlfs.dat filter=lfs\n',
  );
  await repository.write('secret/tests/test_hidden.py', 'assert 1\n');
  await repository.write('sub.py', 'commit = "$Format:%H$"\n');
  await repository.write('note.txt', '$Id$ one\ntwo\n');
  await repository.write('crlf.py', 'a = 1\r\nb = 2\r\n');
  await repository.write('pkg/a.py', 'a = 1\r\n');
  await repository.write('data.bin', Buffer.from([0, 1, 2, 255]));
  await repository.write('odd name "quoted"\ttab\nnewline.py', 'x\n');
  await repository.write(':(top)*.py', 'x\n');
  await repository.write('ümlaut/файл.py', 'x\n');
  await writeFile(Buffer.concat([Buffer.from(`${repository.dir}/latin-`), Buffer.from([0xe9])]), 'x\n');
  await repository.write('run.sh', '#!/bin/sh\n');
  await chmod(join(repository.dir, 'run.sh'), 0o755);
  await symlink('pkg/a.py', join(repository.dir, 'link.py'));
}

describe('an archive', () => {
  test("is the commit's tree byte for byte, although attributes ask for omission, expansion and conversion", async () => {
    const unpacked = await mkdtemp(join(dir, 'unpacked-'));
    await execa('tar', ['-x', '-C', unpacked], { input: await buffer(mirror.archive(odd)) });
    const again = await createRepository(unpacked);
    await again.write('.git/info/attributes', '* -text !eol -ident !filter !working-tree-encoding\n');
    await again.git('add', '--all', '--force');
    expect(await again.git('write-tree')).toBe(await mirror.treeOid(odd));
    expect((await readdir(unpacked)).sort()).toContain('secret');
  });

  test('does not depend on the umask', async () => {
    const before = process.umask(0o077);
    try {
      const listing = await execa('tar', ['-tv'], {
        input: await buffer(mirror.archive(odd, ['run.sh', 'crlf.py'])),
      });
      expect(listing.stdout).toMatch(/-rwxr-xr-x .* run\.sh/);
      expect(listing.stdout).toMatch(/-rw-r--r-- .* crlf\.py/);
    } finally {
      process.umask(before);
    }
  });

  test('of a commit that is not there fails its stream', async () => {
    await expect(buffer(mirror.archive('0'.repeat(40)))).rejects.toThrow();
  });
});

describe('reading a commit', () => {
  test('gives files of any name, and nothing for what is absent or a directory', async () => {
    const name = 'odd name "quoted"\ttab\nnewline.py';
    const files = await mirror.readFiles(odd, [name, 'pkg/a.py', 'absent.py', 'pkg']);
    expect([...files.keys()]).toEqual([name, 'pkg/a.py']);
    expect((await mirror.readFile(odd, 'pkg/a.py'))?.toString()).toBe('a = 1\r\n');
    expect(await mirror.readFile(odd, 'absent.py')).toBeNull();
  });

  test('lists modes and sizes of the tree', async () => {
    const tree = new Map((await mirror.listTree(odd)).map((entry) => [entry.path, entry]));
    expect(tree.get('run.sh')).toMatchObject({ mode: '100755', bytes: 10 });
    expect(tree.get('link.py')).toMatchObject({ mode: '120000' });
    expect(tree.get('ümlaut/файл.py')).toMatchObject({ mode: '100644', bytes: 2 });
  });
});

describe('a change', () => {
  test('is limited to the paths asked for; no paths mean no change', async () => {
    const diff = (await mirror.diff(odd, next, ['tests/test_a.py'])).toString();
    expect(diff).toContain('tests/test_a.py');
    expect(diff).not.toContain('pkg/a.py');
    expect(await mirror.diff(odd, next, [])).toHaveLength(0);
  });

  test('of very many paths is the same as that of all paths', async () => {
    const many = Array.from({ length: 600 }, (_, index) => `absent/${index}`);
    const paths = ['pkg/a.py', 'tests/test_a.py'];
    expect(await mirror.diff(odd, next, [...many, ...paths])).toEqual(await mirror.diff(odd, next, paths));
  });

  test("applied to its base gives the head's tree, and the same commit each time, also when done at once", async () => {
    const patch = await mirror.diff(odd, next, ['pkg/a.py', 'tests/test_a.py']);
    const commits = await Promise.all(
      Array.from({ length: 6 }, () => mirror.commitWithPatch(odd, patch, 'tests/case-1')),
    );
    expect(new Set(commits).size).toBe(1);
    expect(await mirror.treeOid(commits[0] ?? '')).toBe(await mirror.treeOid(next));
    expect(await mirror.resolve('refs/repoforge/tests/case-1')).toBe(commits[0]);
  });

  test('that does not apply is null', async () => {
    const patch = await mirror.diff(odd, next, ['pkg/a.py']);
    expect(await mirror.commitWithPatch(next, patch, 'tests/case-2')).toBeNull();
  });
});

describe('a mirror', () => {
  test('has the branches, the refs asked for, and says which refs the remote lacks', async () => {
    const result = await mirrors.fetch('m', origin.dir, { refs: ['refs/pull/7/head', 'refs/pull/8/head'] });
    expect(result).toMatchObject({ head: next, defaultBranch: 'main', missingRefs: ['refs/pull/8/head'] });
    expect(await mirror.resolve('refs/pull/7/head')).toBe(odd);
  });

  test('keeps commits that a force-push removed from the origin', async () => {
    await origin.git('branch', 'topic', next);
    await mirrors.fetch('m', origin.dir);
    await origin.git('branch', '--force', 'topic', odd);
    await mirrors.fetch('m', origin.dir);
    expect(await mirror.resolve('refs/heads/topic')).toBe(odd);
    expect(await mirror.resolve(next)).toBe(next);
  });

  test('is made once when several ask at the same time, and leaves nothing else behind', async () => {
    const results = await Promise.all(Array.from({ length: 4 }, () => mirrors.fetch('once', origin.dir)));
    expect(results.map((result) => result.head)).toEqual(Array.from({ length: 4 }, () => next));
    expect((await readdir(join(dir, 'mirrors'))).filter((name) => name.startsWith('once'))).toEqual(['once']);
  });

  test('is made anew after a process died while making it, without its leftovers', async () => {
    await mkdir(join(dir, 'mirrors', 'died.new-abc', 'objects'), { recursive: true });
    await mirrors.fetch('died', origin.dir);
    expect((await readdir(join(dir, 'mirrors'))).filter((name) => name.startsWith('died'))).toEqual(['died']);
  });

  test('that nobody made is a permanent NotFound; a name with a path in it is refused', async () => {
    await expect(mirrors.open('nobody')).rejects.toMatchObject({ type: 'NotFound', nonRetryable: true });
    await expect(mirrors.open('../m')).rejects.toMatchObject({ type: 'BadInput' });
  });

  test('of a repository that does not exist is a permanent NotFound and leaves no directory', async () => {
    await expect(mirrors.fetch('gone', join(dir, 'gone'))).rejects.toMatchObject({
      type: 'NotFound',
      nonRetryable: true,
      message: expect.stringMatching(/^There is no git repository at /) as string,
    });
    expect((await readdir(join(dir, 'mirrors'))).filter((name) => name.startsWith('gone'))).toEqual([]);
  });

  test('never runs a command that an address names', async () => {
    const proof = join(dir, 'proof');
    await expect(mirrors.fetch('evil', `ext::touch ${proof}`)).rejects.toMatchObject({ nonRetryable: true });
    await expect(mirrors.fetch('evil', `--upload-pack=touch ${proof}`)).rejects.toMatchObject({
      nonRetryable: true,
    });
    expect(await readdir(dir)).not.toContain('proof');
  });
});

test.each([
  ["fatal: unable to access 'https://h/': Could not resolve host: h", 'Infra', false],
  ['fatal: the remote end hung up unexpectedly', 'Infra', false],
  ["fatal: unable to access 'https://h/': The requested URL returned error: 503", 'Infra', false],
  ["fatal: unable to access 'https://h/': The requested URL returned error: 429", 'RateLimited', false],
  ["fatal: repository 'https://h/a/b/' not found", 'NotFound', true],
  ["fatal: could not read Username for 'https://h': terminal prompts disabled", 'NotFound', true],
  ["fatal: transport 'ext' not allowed", 'BadInput', true],
])('git saying "%s" is %s', (stderr, type, nonRetryable) => {
  expect(remoteFailure('https://user:secret@h/a/b', stderr)).toMatchObject({ type, nonRetryable });
  expect(remoteFailure('https://user:secret@h/a/b', stderr).message).not.toContain('secret');
});

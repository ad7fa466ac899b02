import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { pruneRules } from '../../../src/ecosystems/python/prune.ts';

let dir: string;
let root: string;
const program = (name: string): Promise<string> => readFile(join('src', name), 'utf8');

/** An installer that copies what its cache has, and otherwise fetches `wheel` when it may. */
const UV = `for word in "$@"; do
  [ "$before" = --target ] && target=$word; [ "$word" = --offline ] && offline=1; before=$word
done
archive=$UV_CACHE_DIR/archive-v0
if ! ls "$archive"/* > /dev/null 2>&1; then
  [ -z "$offline" ] || exit 1
  echo fetched >> "$UV_CACHE_DIR/../../log"; mkdir -p "$archive"; cp -r "$UV_CACHE_DIR/../../wheel" "$archive/a$$"
fi
mkdir -p "$target"; cp -rl "$archive"/*/. "$target"`;
const installer = async (lines: string): Promise<void> => {
  await writeFile(join(dir, 'bin', 'uv'), `#!/bin/sh\n${lines}\n`);
  await chmod(join(dir, 'bin', 'uv'), 0o755);
};

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-store-'));
  root = join(dir, 'store');
  for (const path of ['bin', 'wheel/foo', 'wheel/foo-1.0.dist-info', 'store'])
    await mkdir(join(dir, path), { recursive: true });
  await writeFile(join(dir, 'wheel/foo/__init__.py'), 'x = 1\n');
  await writeFile(join(dir, 'wheel/foo/more.py'), 'y = 1\n');
  await record('foo/__init__.py,sha256=a,6\nfoo/more.py,sha256=a,6\nfoo/tests/test_a.py,sha256=a,9\n');
  await installer(UV);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const record = (lines: string): Promise<void> =>
  writeFile(join(dir, 'wheel/foo-1.0.dist-info/RECORD'), `${lines}foo-1.0.dist-info/RECORD,,\n`);

function ask(text: string, request: object): { readonly code: number | null; readonly answer: string } {
  const done = spawnSync('python3', ['-c', text], {
    input: JSON.stringify({ root, ...request }),
    encoding: 'utf8',
    env: { ...process.env, PATH: `${join(dir, 'bin')}:${process.env['PATH']}` },
  });
  return { code: done.status, answer: done.stdout };
}
const realise = async (key: string, variant = 'pruned'): Promise<ReturnType<typeof ask>> =>
  ask(await program('ecosystems/python/store.py'), {
    command: 'realise',
    key,
    variant,
    lock: 'foo==1.0\n',
    pins: { foo: '1.0' },
    network: true,
    rules: pruneRules([]),
  });
const fetched = async (): Promise<number> =>
  (await readFile(join(dir, 'log'), 'utf8').catch(() => '')).split('\n').length - 1;
const archives = (cache: string): readonly string[] =>
  readdirSync(join(root, cache, 'archive-v0')).map((name) => join(root, cache, 'archive-v0', name));

describe('an environment', () => {
  test('of which a file is cut in the caches is made of a fresh copy', async () => {
    expect((await realise('one')).code).toBe(0);
    for (const path of [...archives('cache'), ...archives('cache-full')]) {
      await rm(join(path, 'foo/more.py'));
      await writeFile(join(path, 'foo/more.py'), '');
    }
    expect(JSON.parse((await realise('two')).answer)).toMatchObject({ status: 'ok', origin: 'network' });
    expect(await readFile(join(root, 'envs/two/foo/more.py'), 'utf8')).toBe('y = 1\n');
    expect(await fetched()).toBe(2);
    expect(readdirSync(join(root, 'cache')).filter((name) => name.startsWith('.linking-'))).toEqual([]);
  });

  test('lacks what pruning takes, and nothing is fetched for it', async () => {
    await mkdir(join(dir, 'wheel/foo/tests'));
    await writeFile(join(dir, 'wheel/foo/tests/test_a.py'), 'z = True\n');
    expect((await realise('one')).code).toBe(0);
    expect(existsSync(join(root, 'envs/one/foo/tests'))).toBe(false);
    expect(await fetched()).toBe(1);
  });

  test('of a package whose RECORD is wrong is made all the same', async () => {
    await record('foo/__init__.py,sha256=a,6\nfoo/gone.py,sha256=a,6\n');
    expect(JSON.parse((await realise('one', 'full')).answer)).toMatchObject({ status: 'ok' });
  });

  test('is not called impossible when the installer was killed', async () => {
    await installer('kill -KILL $$');
    expect(await realise('one')).toEqual({ code: 1, answer: '' });
  });
});

test('a sweep that dies leaves no half archive in a cache, and the next one removes what it left', async () => {
  await realise('one');
  const old = new Date(Date.now() - 3_600_000);
  for (const path of [...archives('cache'), ...archives('cache-full'), join(root, 'envs/one.json')])
    await utimes(path, old, old);
  const request = { before: Date.now() / 1000 - 60, dryRun: false, pruned: [], full: [] };
  const text = await program('store/collect.py');
  ask(text, { ...request, command: 'environments' });
  const dying = `import os, shutil\nshutil.rmtree = lambda *_, **__: os._exit(9)\n${text}`;
  expect(ask(dying, { ...request, command: 'caches' }).code).toBe(9);
  for (const cache of ['cache', 'cache-full']) {
    expect(archives(cache)).toEqual([]);
    expect(readdirSync(join(root, cache)).some((name) => name.startsWith('.linking-gone-'))).toBe(true);
  }
  expect(ask(text, { ...request, command: 'caches' }).code).toBe(0);
  for (const cache of ['cache', 'cache-full'])
    expect(readdirSync(join(root, cache)).toSorted()).toEqual(['.lock', 'archive-v0']);
});

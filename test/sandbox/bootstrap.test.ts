import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type Docker from 'dockerode';
import { describe, expect, it, vi } from 'vitest';
import { bootstrapFailure, bootstrapImage } from '../../src/sandbox/bootstrap.ts';
import { baseImageName } from '../../src/sandbox/baseImages.ts';
import { officialImage } from '../../src/sandbox/pulledBase.ts';
import { RUNTIMES } from '../../src/sandbox/runtimes.ts';

describe('a base image that could not be made', () => {
  it('for want of a package is a permanent failure that names it', () => {
    const log =
      'I: extracting\nReading package lists...\nE: Unable to locate package no-such\nE: mmdebstrap failed to run';
    expect(bootstrapFailure('bookworm', log)).toMatchObject({
      type: 'NotFound',
      nonRetryable: true,
      message: 'Debian bookworm has no package no-such.',
    });
  });

  it.each([
    ['Err:1 http://m.example trixie InRelease\n  Could not resolve host', 'Infra', /Could not resolve host/],
    ['dpkg: error: write: No space left on device', 'Infra.NoDisk', /No space left/],
    ['', 'Infra', /it said nothing/],
  ])('says what apt said and is tried again: %s', (log, type, sentence) => {
    const failure = bootstrapFailure('trixie', `I: noise\n${log}\nE: setup failed: E: apt-get -o x failed`);
    expect(failure).toMatchObject({ type, nonRetryable: false, message: expect.stringMatching(sentence) });
    expect(failure.message).not.toContain('noise');
  });
});

describe('a base image gets its name', () => {
  it.each([
    ['when mmdebstrap ended well', 'printf tree', ['remove', 'import tree', 'tag base:x', 'remove']],
    ['never of a tar that was cut', 'printf tr; exit 1', ['remove', 'import tr', 'remove']],
  ])('%s', async (_when, mmdebstrap, calls) => {
    const dir = await mkdtemp(join(tmpdir(), 'rf-bootstrap-'));
    const seen: string[] = [];
    const docker = {
      importImage: async (tar: Readable, { repo }: { readonly repo: string }) => {
        expect(repo).toBe('repoforge-unfinished');
        seen.push(`import ${await text(tar)}`);
        return Readable.from([]);
      },
      modem: {
        followProgress: (_events: Readable, done: (error: null, output: []) => void) => done(null, []),
      },
      getImage: (name: string) => {
        expect(name).toMatch(/^repoforge-unfinished:x-/);
        return {
          remove: async () => Promise.resolve(seen.push('remove')),
          tag: async ({ repo, tag }: Record<string, string>) =>
            Promise.resolve(seen.push(`tag ${repo}:${tag}`)),
        };
      },
    } as unknown as Docker;
    try {
      await writeFile(join(dir, 'mmdebstrap'), `#!/bin/sh\n${mmdebstrap}\n`);
      await chmod(join(dir, 'mmdebstrap'), 0o755);
      vi.stubEnv('PATH', `${dir}:${process.env['PATH']}`);
      const input = {
        docker,
        suite: 'x',
        image: 'base:x',
        packages: [],
        uv: 'uv',
        cacheDir: dir,
        proxyEnv: {},
      };
      await bootstrapImage(input).catch(() => undefined);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
    expect(seen).toEqual(calls);
  });
});

describe('names of base images', () => {
  it('hold base, Python version and, for extra packages in any order, one hash', () => {
    const plain = baseImageName('debian-bookworm/1', '3.11', []);
    expect(plain).toBe('repoforge-base:debian-bookworm-1-py3.11');
    const extra = baseImageName('debian-bookworm/1', '3.11', ['libxml2-dev', 'build-essential']);
    expect(extra).toMatch(/^repoforge-base:debian-bookworm-1-py3\.11-[0-9a-f]{8}$/);
    expect(baseImageName('debian-bookworm/1', '3.11', ['build-essential', 'libxml2-dev'])).toBe(extra);
  });

  it('of a registry follow the suite, so that a pulled base is the same Debian as a bootstrapped one', () => {
    const runtime = RUNTIMES.find(({ runtimeVersion }) => runtimeVersion === '3.13');
    if (runtime === undefined) throw new Error('3.13 is gone');
    expect(officialImage('', runtime)).toBe('python:3.13-slim-trixie');
    expect(officialImage('registry.example/mirror/', runtime)).toBe(
      'registry.example/mirror/python:3.13-slim-trixie',
    );
  });
});

it('runtimes are listed from the oldest release to the newest, each once', () => {
  const released = RUNTIMES.map(({ releasedAt }) => releasedAt);
  expect(released).toEqual([...released].sort());
  expect(new Set(RUNTIMES.map(({ runtimeVersion }) => runtimeVersion)).size).toBe(RUNTIMES.length);
});

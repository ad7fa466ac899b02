import { mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createHostCache } from '../../src/store/hostCache.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'repoforge-cache-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const cacheOf = (maxBytes: number) => createHostCache({ dir, maxBytes, log: pino({ level: 'silent' }) });

test('what was put is there again, with its note, whatever bytes it holds', async () => {
  const cache = cacheOf(2 ** 20);
  const bytes = Buffer.from([10, 0, 123, 10, 255]);
  await cache.put('key', bytes, { versions: ['1.2'] });
  expect(await cache.get('key')).toEqual({ bytes, note: { versions: ['1.2'] } });
  expect(await cache.get('other')).toBeNull();
});

test('a file that was damaged counts as absent', async () => {
  const cache = cacheOf(2 ** 20);
  await cache.put('key', Buffer.from('content'));
  const file = await readFile(join(dir, 'key'));
  for (const damaged of [file.subarray(0, -1), Buffer.concat([file, file]), Buffer.from('no header\nx')]) {
    await writeFile(join(dir, 'key'), damaged);
    expect(await cache.get('key')).toBeNull();
  }
});

test('the longest unused goes first when there is too much', async () => {
  const cache = cacheOf(1_300);
  for (const [age, key] of [
    [3, 'a'],
    [2, 'b'],
    [1, 'c'],
  ] as const) {
    await cache.put(key, Buffer.alloc(200));
    await utimes(join(dir, key), 1_000 - age, 1_000 - age);
  }
  await cache.get('a'); // young again
  await cache.put('d', Buffer.alloc(400));
  expect((await readdir(dir)).toSorted()).toEqual(['a', 'c', 'd']);
});

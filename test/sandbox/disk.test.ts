import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { assertFreeDisk, freeDiskBytes, withDiskWatch } from '../../src/sandbox/disk.ts';

it('lets work begin where there is room, also for a directory that is yet to be made', async () => {
  await expect(assertFreeDisk(join(tmpdir(), 'rf-not-there', 'nor-this'), 1)).resolves.toBeUndefined();
});

it('stops work with a retryable Infra.NoDisk that names the disk and both sizes when there is less room than the floor', async () => {
  const floor = (await freeDiskBytes(tmpdir())) + 1e12;
  await expect(assertFreeDisk(tmpdir(), floor)).rejects.toMatchObject({
    type: 'Infra.NoDisk',
    nonRetryable: false,
    message: expect.stringMatching(
      /^Only [\d.]+ GB are free on the disk of \/.*; at least [\d.]+ GB are needed/,
    ),
  });
});

it('believes a failure only where there was room all the time, and a success always', async () => {
  const run = (freeAtLeast: number, result: 'passed' | 'failed') =>
    withDiskWatch(
      { places: [tmpdir()], reserveBytes: freeAtLeast },
      () => Promise.resolve(result),
      (one) => one === 'passed',
    );
  const tooMuch = (await freeDiskBytes(tmpdir())) + 1e12;
  await expect(run(1, 'failed')).resolves.toBe('failed');
  await expect(run(tooMuch, 'passed')).resolves.toBe('passed');
  await expect(run(tooMuch, 'failed')).rejects.toMatchObject({ type: 'Infra.NoDisk', nonRetryable: false });
});

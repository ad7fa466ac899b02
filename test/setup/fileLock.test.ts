import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { withFileLock } from '../../src/setup/fileLock.ts';

const MODULE = resolve('src/setup/fileLock.ts');
let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-lock-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Another process that takes the lock, says so, and holds it until it is killed. */
async function otherHolder(file: string) {
  const code = `import { withFileLock } from ${JSON.stringify(MODULE)};
    await withFileLock(${JSON.stringify(file)}, async () => { console.log('held'); await new Promise((end) => setTimeout(end, 60_000)); });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return child;
}

describe('a file lock', () => {
  it('lets one in at a time within a process, and everyone in the end', async () => {
    let inside = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      inside += 1;
      most = Math.max(most, inside);
      await delay(5);
      inside -= 1;
    };
    await Promise.all(Array.from({ length: 5 }, () => withFileLock(join(dir, 'a', 'b'), work)));
    expect(most).toBe(1);
  });

  it('ends with its holder, also when that is killed', async () => {
    const file = join(dir, 'killed');
    const child = await otherHolder(file);
    let waited = 0;
    const got = withFileLock(file, () => Promise.resolve('mine'), { onWait: () => (waited += 1) });
    await delay(250);
    expect(waited).toBe(1);
    child.kill('SIGKILL');
    await expect(got).resolves.toBe('mine');
  });

  it('gives up with a sentence that names the file', async () => {
    const file = join(dir, 'busy');
    const child = await otherHolder(file);
    await expect(withFileLock(file, () => Promise.resolve(), { timeoutMs: 200 })).rejects.toThrow(
      `Another process has held ${file} for 0.2 s.`,
    );
    child.kill('SIGKILL');
  });

  it('is free again after work that throws', async () => {
    const file = join(dir, 'throws');
    await expect(withFileLock(file, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    await expect(withFileLock(file, () => Promise.resolve(1), { timeoutMs: 100 })).resolves.toBe(1);
  });
});

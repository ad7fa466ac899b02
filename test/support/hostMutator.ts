import { spawnSync } from 'node:child_process';
import type { Mutator } from '../../src/sources/mutate.ts';

/** The program that makes bugs, on this machine's Python instead of a container's. */
export const hostMutator: Mutator = (files, kinds) => {
  const done = spawnSync('python3', ['-I', 'src/ecosystems/python/mutations.py'], {
    input: JSON.stringify({ files: Object.fromEntries(files), kinds }),
    encoding: 'utf8',
    maxBuffer: 64 * 1024 ** 2,
  });
  if (done.status !== 0) throw new Error(done.stderr);
  return Promise.resolve(JSON.parse(done.stdout) as Awaited<ReturnType<Mutator>>);
};

import { defineConfig } from 'vitest/config';

const seconds = (count: number): number => count * 1_000;

/**
 * A layer of tests, named by its file suffix. Layers run one after the other (groupOrder), so that the time printed for
 * each is its own, and the heavy ones do not slow the timing-sensitive ones.
 */
const layer = (
  name: 'pure' | 'temporal' | 'docker' | 'browser' | 'rl',
  groupOrder: number,
  timeouts: { readonly testTimeout: number; readonly hookTimeout: number },
) => ({
  extends: true as const,
  test: {
    name,
    include: name === 'pure' ? ['test/**/*.test.ts'] : [`test/**/*.${name}.test.ts`],
    exclude: name === 'pure' ? ['test/**/*.{temporal,docker,browser,rl}.test.ts'] : [],
    globalSetup: ['test/globalSetup.ts'],
    sequence: { groupOrder },
    ...(name === 'rl' ? { maxWorkers: 1 } : {}), // all its files share one vLLM server, and change what it serves
    ...timeouts,
  },
});

export default defineConfig({
  test: {
    pool: 'forks', // Temporal's native bridge crashes in worker threads
    maxWorkers: 2, // containers and Temporal servers need the cores too
    restoreMocks: true,
    unstubEnvs: true,
    allowOnly: !process.env['CI'],
    projects: [
      layer('pure', 0, { testTimeout: seconds(30), hookTimeout: seconds(30) }),
      layer('temporal', 1, { testTimeout: seconds(60), hookTimeout: seconds(60) }),
      // the first one of a fresh machine fills the package cache
      layer('docker', 2, { testTimeout: seconds(240), hookTimeout: seconds(300) }),
      layer('browser', 3, { testTimeout: seconds(60), hookTimeout: seconds(60) }),
      // the first one waits for the server, which takes a minute on two idle cores
      layer('rl', 4, { testTimeout: seconds(400), hookTimeout: seconds(660) }),
    ],
  },
});

import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { infraFailure } from '../../domain/failures.ts';
import { MUTATION_KINDS } from '../../domain/mutation.ts';
import { SANDBOX_PATHS, SANDBOX_USERS } from '../../sandbox/types.ts';
import type { BaseImages, RuntimeBase, SandboxDriver } from '../../sandbox/types.ts';
import type { Mutator } from '../../sources/mutate.ts';
import { throwIfKilled } from './storeContainer.ts';
import { changeTar } from './trees.ts';
import type { RunnerFile } from './trees.ts';

export interface MutatorDeps {
  readonly driver: SandboxDriver;
  readonly baseImages: BaseImages;
}

/** One for all packages, whatever they run on: the parser decides which files have bugs. That of Debian stable reads all that releases hold. */
const RUNTIME = '3.13';
const TIMEOUT_MS = 5 * 60_000; // a second per 3,000 lines was measured
const HEARTBEAT_EVERY_MS = 5_000; // well inside any heartbeat timeout in use
const OUTPUT_BYTES = 256 * 1024 ** 2;
const LIMITS = { memoryBytes: 2 * 1024 ** 3, pids: 64, cpus: 1 };

const ANSWER = z.object({
  mutations: z.array(
    z.object({
      path: z.string(),
      kind: z.enum(MUTATION_KINDS),
      line: z.int(),
      function: z.string(),
      start: z.int(),
      end: z.int(),
      text: z.string(),
    }),
  ),
  functions: z.array(z.object({ path: z.string(), name: z.string(), uses: z.array(z.string()) })),
});

/**
 * Makes every bug of some source files in one short container without network (mutations.py; the files are parsed, never run).
 * Throws Infra when the container fails.
 */
export function createPythonMutator({ driver, baseImages }: MutatorDeps): Mutator {
  return async (files, kinds, { owner, heartbeat, signal }) => {
    const { base, runtimeVersion } = runtimeOf(baseImages.available());
    const image = await baseImages.ensure(base, runtimeVersion, []);
    const pulse = setInterval(() => heartbeat({ mutating: files.size }), HEARTBEAT_EVERY_MS);
    const sandbox = await driver.create({ image, owner, network: 'none', limits: LIMITS, mounts: [] });
    try {
      await sandbox.putTree(await changeTar({ files: [], deleted: [] }, await program()), '/');
      const result = await sandbox.exec(['python3', '-I', `${SANDBOX_PATHS.runner}/mutations.py`], {
        user: SANDBOX_USERS.test,
        cwd: '/tmp',
        stdin: JSON.stringify({ files: Object.fromEntries(files), kinds }),
        timeoutMs: TIMEOUT_MS,
        outputBytes: OUTPUT_BYTES,
        signal,
      });
      throwIfKilled(result, 'Making bugs');
      if (result.exitCode !== 0 || result.droppedBytes > 0)
        throw infraFailure(
          `The program that makes bugs ended with ${result.exitCode}: ${result.stderr.toString('utf8').slice(-1_500)}`,
        );
      return ANSWER.parse(JSON.parse(result.stdout.toString('utf8')));
    } finally {
      clearInterval(pulse);
      await sandbox.discard();
    }
  };
}

const program = async (): Promise<readonly RunnerFile[]> =>
  Promise.all(
    ['mutations.py', 'mutation_finder.py', 'mutation_rules.py'].map(async (name) => ({
      path: `${SANDBOX_PATHS.runner}/${name}`,
      content: await readFile(new URL(name, import.meta.url)),
    })),
  );

function runtimeOf(available: readonly RuntimeBase[]): RuntimeBase {
  const found = available.find(({ runtimeVersion }) => runtimeVersion === RUNTIME) ?? available.at(-1);
  if (found === undefined) throw infraFailure('No base image can be had here, so no bugs can be made.');
  return found;
}

import { join } from 'node:path';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { TRAINER_DIR } from '../../src/setup/pythonEnvironments.ts';
import { trainerPython } from './trainerParts.ts';

it("The trainer's own tests pass in its environment", async ({ annotate }) => {
  const python = await trainerPython();
  const options = ['-q', '-p', 'no:cacheprovider', '--tb=short', '-rs'];
  const { exitCode, stdout } = await execa(python, ['-m', 'pytest', ...options, join(TRAINER_DIR, 'tests')], {
    cwd: TRAINER_DIR,
    env: { PYTHONPATH: TRAINER_DIR, OMP_NUM_THREADS: '1' },
    reject: false,
    stdin: 'ignore',
  });
  const summary = stdout.trimEnd().split('\n').at(-1) ?? '';
  await annotate(`pytest: ${summary}`);
  expect(exitCode, stdout).toBe(0);
  expect(Number(/(\d+) passed/.exec(summary)?.[1])).toBeGreaterThan(30);
});

import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { z } from 'zod';
import { selectorTasks } from '../agents/selectorTasks.ts';
import type { SelectorTask } from '../agents/types.ts';
import { bugStatement } from '../domain/bugStatement.ts';
import { TRAINER_DIR } from '../setup/pythonEnvironments.ts';

const MUTATIONS = fileURLToPath(new URL('../ecosystems/python/mutations.py', import.meta.url));
const BUG = z.object({ id: z.string(), module: z.string(), function: z.string(), patch: z.string() });
const SPARE = 3; // of so many bugs at most one has no task: too long, or without enough other patches

/**
 * Tasks for the selector made of bugs in Python's own standard library, in the form of those of `mutate` instances. Nothing
 * is run. The same seed, Python and count give the same tasks; a larger count begins with those of a smaller one.
 */
export async function warmTasks(options: {
  readonly python: string;
  readonly count: number;
  readonly seed: number;
}): Promise<readonly SelectorTask[]> {
  const { python, count, seed } = options;
  const numbers = ['--count', String(count * SPARE), '--seed', String(seed)];
  const { stdout } = await execa(
    python,
    ['-m', 'repoforge_trainer.bugs', '--mutations', MUTATIONS, ...numbers],
    {
      env: { PYTHONPATH: TRAINER_DIR },
      stdin: 'ignore',
    },
  );
  const rows = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => BUG.parse(JSON.parse(line)))
    .map((bug) => ({
      instance_id: bug.id,
      patch: bug.patch,
      problem_statement: bugStatement({ subject: bug.module, failToPass: [testOf(bug)], befores: [] }),
    }));
  const { tasks } = selectorTasks(rows, { seed });
  if (tasks.length < count)
    throw new Error(
      `Only ${tasks.length} of ${count} tasks could be made of the standard library of ${python}.`,
    );
  return tasks.slice(0, count);
}

/** A test that might notice, as the standard library would name it. */
const testOf = ({ module, function: name }: z.infer<typeof BUG>): string =>
  `test/test_${module.split('.')[0]}.py::test_${name.split('.').at(-1)?.replace(/^_+/, '')}`;

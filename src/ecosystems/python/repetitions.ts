/**
 * The tests of a run once more, in the container where they have just run: the cheapest way to see one waver. A test that
 * fails with probability p passes n times with (1 - p)^n, so three fresh containers alone let a third of those through
 * that fail one time in three. The first repetition is in reversed order, which turns every pair of tests round.
 */
import type { TestResult } from '../../domain/types.ts';

const MAX_REPETITIONS = 12; // with three runs 15 in all: (2/3)^15 is 0.2 %
const BUDGET_MS = 10_000; // for all of them; one is always done
const MIN_LIMIT_MS = 10_000;
const LIMIT_FACTOR = 3; // a repetition that takes so much longer than the run hangs

type Statuses = Readonly<Record<string, Pick<TestResult, 'status'>>>;

export interface Repetition {
  /** null when it did not end by itself with results: then it is evidence of nothing. */
  readonly tests: Statuses | null;
  readonly durationMs: number;
}

export interface Repeated {
  readonly repetitions: number;
  /** Ids whose status was not the first run's every time, sorted. */
  readonly unsteady: readonly string[];
  /** Time of all repetitions together. */
  readonly repeatedMs: number;
}

/** Repeats within the budget and compares each repetition with the first run. */
export async function repeatTests(
  first: { readonly tests: Statuses; readonly durationMs: number },
  again: (how: { readonly reversed: boolean; readonly timeoutMs: number }) => Promise<Repetition>,
): Promise<Repeated> {
  const timeoutMs = Math.max(MIN_LIMIT_MS, LIMIT_FACTOR * first.durationMs);
  const unsteady = new Set<string>();
  let repetitions = 0;
  let spentMs = 0;
  for (let tries = 0; tries < MAX_REPETITIONS; tries += 1) {
    if (tries > 0 && spentMs + first.durationMs > BUDGET_MS) break;
    const { tests, durationMs } = await again({ reversed: tries === 0, timeoutMs });
    spentMs += durationMs;
    if (tests === null) continue;
    repetitions += 1;
    for (const id of new Set([...Object.keys(first.tests), ...Object.keys(tests)]))
      if (outcomeOf(first.tests, id) !== outcomeOf(tests, id)) unsteady.add(id);
  }
  return { repetitions, unsteady: [...unsteady].sort(), repeatedMs: Math.round(spentMs) };
}

/** `failed` and `error` are one: a broken fixture may say either. */
function outcomeOf(tests: Statuses, id: string): string {
  const status = tests[id]?.status;
  return status === 'error' ? 'failed' : (status ?? 'missing');
}

/** pytest as `-m` would start it, with a plugin of two lines that reverses what was collected; no file and no variable tells of it. */
const REVERSED = `import os, runpy, sys, types
sys.path[0] = os.getcwd()
plugin = sys.modules['repoforge_reversed'] = types.ModuleType('repoforge_reversed', 'PYTEST_DONT_REWRITE')
plugin.pytest_collection_modifyitems = lambda items: items.reverse()
sys.argv[1:1] = ['-p', 'repoforge_reversed']
runpy.run_module('pytest', run_name='__main__', alter_sys=True)`;

/** The runner's command (`python -m pytest …`) with the order of the tests reversed. */
export const reversedOrder = ([python = 'python', , , ...args]: readonly string[]): readonly string[] => [
  python,
  '-c',
  REVERSED,
  ...args,
];

/**
 * The tests of a run once more, in the container where they have just run: the cheapest way to see one waver. A test that
 * fails with probability p passes n times with (1 - p)^n, so three fresh containers alone let a third of those through
 * that fail one time in three. The first repetition is in reversed order, which turns every pair of tests round.
 */
import type { TestResult } from '../../domain/runs.ts';

const MAX_REPETITIONS = 12; // with three runs 15 in all: (2/3)^15 is 0.2 %
const TESTS_MS = 10_000; // the tests' own time in all of them: what a busy host or a slow start adds costs no repetition
const WALL_MS = 20_000; // within reason; one repetition is always done
const MIN_LIMIT_MS = 10_000;
const LIMIT_FACTOR = 3; // a repetition that takes so much longer than the run hangs

type Statuses = Readonly<Record<string, Pick<TestResult, 'status' | 'durationMs'>>>;

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
  const ownMs = Object.values(first.tests).reduce((sum, test) => sum + test.durationMs, 0);
  const wanted = Math.max(1, Math.min(MAX_REPETITIONS, Math.floor(TESTS_MS / Math.max(1, ownMs))));
  let repetitions = 0;
  let spentMs = 0;
  for (let tries = 0; tries < wanted; tries += 1) {
    if (tries > 0 && spentMs + first.durationMs > WALL_MS) break;
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

/** A plugin of one line that reverses what was collected; no file and no variable tells of it. */
const REVERSAL = `import sys, types
plugin = sys.modules['repoforge_reversed'] = types.ModuleType('repoforge_reversed', 'PYTEST_DONT_REWRITE')
plugin.pytest_collection_modifyitems = lambda items: items.reverse()
sys.argv[1:1] = ['-p', 'repoforge_reversed']
`;

/** The runner's command (`python -c <launcher> …`) with the order of the tests reversed. */
export const reversedOrder = ([
  python = '',
  flag = '',
  launcher = '',
  ...args
]: readonly string[]): readonly string[] => [python, flag, `${REVERSAL}${launcher}`, ...args];

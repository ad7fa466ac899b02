import { sortedIds } from './testIds.ts';
import type { RunRecord, TestStatus } from './runs.ts';
import { cutText } from './failures.ts';

export interface HealthDifference {
  /** Tests that ended differently, at most 20 of them by name. */
  readonly tests: readonly string[];
  /** Packages of the environment that the pruned run's failures name. */
  readonly packages: readonly string[];
  readonly detail: string;
}

/**
 * Whether two runs of the base's tests agree test by test: the proof that pruning took nothing that the tests need.
 * null when they do. Time and memory faults of one run say nothing about pruning and still count: they are rare, and the
 * full variant is then the safe choice.
 */
export function compareHealth(pruned: RunRecord, full: RunRecord): HealthDifference | null {
  const ids = sortedIds(new Set([...Object.keys(pruned.tests), ...Object.keys(full.tests)]));
  const tests = ids.filter((id) => classOf(pruned.tests[id]?.status) !== classOf(full.tests[id]?.status));
  if (tests.length === 0 && pruned.outcome === full.outcome) return null;
  const messages = [
    pruned.note,
    ...pruned.collectionErrors.map(({ message }) => message),
    ...tests.map((id) => pruned.tests[id]?.message ?? ''),
  ];
  return {
    tests: tests.slice(0, 20),
    packages: packagesIn(messages),
    detail: cutText(
      pruned.outcome === full.outcome
        ? `${tests.length} tests end differently on the pruned environment, first ${tests[0]}`
        : `the pruned environment's run was ${pruned.outcome}, the full one's ${full.outcome}`,
      500,
    ),
  };
}

/** A broken fixture may say failed or error. */
const classOf = (status: TestStatus | undefined): string =>
  status === undefined ? 'missing' : status === 'error' ? 'failed' : status;

/** Names after `/env/` in paths, and missing modules: where a pruned file was looked for. */
function packagesIn(messages: readonly string[]): readonly string[] {
  const names = messages.flatMap((message) => [
    ...[...message.matchAll(/\/env\/([A-Za-z0-9_]+)\//g)].map((match) => match[1] ?? ''),
    ...[...message.matchAll(/No module named '([A-Za-z0-9_]+)/g)].map((match) => match[1] ?? ''),
  ]);
  return [...new Set(names.filter((name) => name !== ''))].sort();
}

/** How a key's proof ended, and whose health runs it compared. */
export interface PruningProof {
  readonly agree: boolean;
  readonly instanceId: string;
}

import type { RecordStore } from '../../store/types.ts';
import { normaliseName } from '../../domain/packageName.ts';

/** Rises when the rules below change: part of every environment key through `EnvironmentSpec.pruneRules`. */
const PRUNE_RULES_VERSION = '1';

/** Name of the record that holds packages which must not be pruned (their pruned form broke a run). */
export const PRUNE_EXCEPTIONS_RECORD = 'prune/exceptions';

/** What the store's program deletes from a package's archive when the cache is filled. */
export interface PruneRules {
  readonly version: string;
  /** Folders of these names go, wherever they are. */
  readonly folders: readonly string[];
  /** Folders that a wheel put at the top of site-packages by mistake; they would also hide the project's own. */
  readonly topLevelFolders: readonly string[];
  /** Third-party test suites: only if they hold test modules and nothing outside them imports them. */
  readonly testFolders: readonly string[];
  readonly suffixes: readonly string[];
  /** Packages left as they are, normalised names. */
  readonly exceptions: readonly string[];
}

/** Packages whose `test` folders are API, or that find them by name at run time. */
const NEVER_PRUNED = [
  'astropy',
  'django',
  'numba',
  'pytest',
  'pluggy',
  'sympy',
  'twisted',
  'zope-testing',
  'zope-testrunner',
];

/** The rules with the store's exceptions. `.pyi` files stay: lazy loaders read them at run time. */
export function pruneRules(exceptions: readonly string[]): PruneRules {
  return {
    version: PRUNE_RULES_VERSION,
    folders: ['__pycache__'],
    topLevelFolders: ['tests', 'test', 'docs', 'doc', 'examples', 'benchmarks'],
    testFolders: ['tests', 'test'],
    suffixes: ['.pyc', '.pyo', '.a', '.exe'],
    exceptions: [...new Set([...NEVER_PRUNED, ...exceptions.map(normaliseName)])].toSorted(),
  };
}

/** The text that stands in the spec: the rule version, and the exceptions that concern this lock. */
export function pruneRulesText(exceptions: readonly string[], lockedNames: readonly string[]): string {
  const locked = new Set(lockedNames);
  const relevant = [...new Set(exceptions.map(normaliseName))].filter((name) => locked.has(name)).toSorted();
  return relevant.length === 0 ? PRUNE_RULES_VERSION : `${PRUNE_RULES_VERSION};keep=${relevant.join(',')}`;
}

/** Exceptions named in a spec's `pruneRules`. */
export const exceptionsOf = (text: string): readonly string[] =>
  (/;keep=(.+)$/.exec(text)?.[1] ?? '').split(',').filter((name) => name !== '');

/** Packages on the exception list. */
export async function pruneExceptions(records: RecordStore): Promise<readonly string[]> {
  return (await records.read<readonly string[]>(PRUNE_EXCEPTIONS_RECORD)) ?? [];
}

/**
 * Puts a package on the exception list, for when a health run on the full variant disagrees with the pruned one. The
 * next resolution of a lock with this package gets another key.
 */
export async function addPruneException(records: RecordStore, packageName: string): Promise<void> {
  const known = await pruneExceptions(records);
  const name = normaliseName(packageName);
  if (!known.includes(name)) await records.replace(PRUNE_EXCEPTIONS_RECORD, [...known, name].toSorted());
}

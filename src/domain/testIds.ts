/**
 * Test ids: node ids as pytest spells them (`tests/test_a.py::TestB::test_c[x-1]`). The invariant: a file path holds no
 * `::`, so everything before the first one is the file; parameters may hold anything, `::`, `/`, spaces and brackets too.
 */
import type { TestStatus } from './runs.ts';

/** The file of a node id, relative to the repository root, with forward slashes. */
export function fileOfTest(id: string): string {
  const cut = id.indexOf('::');
  return cut === -1 ? id : id.slice(0, cut);
}

/**
 * What follows `stem` in `id` when `id` is that test or one of its parametrisations: '' or `[...]`; null when it is another test.
 */
export function parameterSuffix(id: string, stem: string): string | null {
  if (id === stem) return '';
  return id.startsWith(`${stem}[`) ? id.slice(stem.length) : null;
}

/** One canonical spelling, so that equal names written in two Unicode forms are one test. */
export const normaliseId = (id: string): string => id.normalize('NFC');

/** Sorted by code unit and without duplicates: the same list on every machine. */
export const sortedIds = (ids: Iterable<string>): readonly string[] =>
  [...new Set(ids)].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));

export const isFailing = (status: TestStatus | undefined): boolean =>
  status === 'failed' || status === 'error';

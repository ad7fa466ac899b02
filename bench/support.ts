import { hostname } from 'node:os';
import type { Rows } from '../src/cli/rows.ts';
import type { WorkContext } from '../src/ecosystems/types.ts';
import type { Dependencies } from '../src/setup/compose.ts';

/** What work of a bench is done as: this installation's, without a workflow. */
export const benchContext = (deps: Dependencies): WorkContext => ({
  owner: { installation: deps.state.installation, host: hostname() },
  heartbeat: () => undefined,
  signal: new AbortController().signal,
});

/**
 * Evaluates gold of each row once, unmeasured: environments, prepared workspaces and kept builds are there afterwards, and
 * every kind of record exists that a scratch state is to share.
 */
export async function warmUp(deps: Dependencies, rows: Rows): Promise<void> {
  for (const row of rows.rows)
    await deps.evaluator.evaluate({
      row,
      patch: 'gold',
      modelNameOrPath: 'gold',
      repetition: 0,
      provenCanaries: rows.provenCanaries(row.instance_id),
      context: benchContext(deps),
    });
}

/** `count` entries spread evenly over the list, the same ones every time; all of them when there are no more. */
export function sampled<T>(entries: readonly T[], count: number | undefined): readonly T[] {
  if (count === undefined || count >= entries.length) return entries;
  return entries.filter(
    (_entry, index) =>
      Math.floor((index * count) / entries.length) !== Math.floor(((index - 1) * count) / entries.length),
  );
}

export const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** To two decimals; null for a division by nothing. */
export const ratio = (part: number | null, whole: number | null): number | null =>
  part === null || whole === null || whole === 0 ? null : Math.round((100 * part) / whole) / 100;

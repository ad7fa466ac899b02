/**
 * Which candidate may start next, so that caps take the first N in source order whatever finishes first.
 *
 * The campaign has one order: entry k of every source comes before entry k + 1 of any, and within equal k the sources
 * come as the campaign names them. `positionOf` is an entry's place in that order. The rules:
 * - a source with a cap admits while accepted + running is below it, so it never validates more than it may publish;
 * - an overall cap admits an entry while fewer than N accepted or running entries come before it.
 * When nothing is running and nothing may be admitted, the first N accepted are exactly the first N that validate.
 */

export interface SourceState {
  /** Entries admitted so far: the next entry's k. */
  readonly admitted: number;
  readonly accepted: number;
  readonly running: number;
  readonly exhausted: boolean;
}

export interface Caps {
  readonly perSource: readonly (number | null)[];
  readonly overall: number | null;
}

/** Place of entry k of a source in the campaign's one order. */
export const positionOf = (sourceCount: number, source: number, k: number): number =>
  k * sourceCount + source;

/** Whether a source's next entry may start (or, when it is not mined yet, should be mined). */
export function mayAdmit(
  source: number,
  sources: readonly SourceState[],
  caps: Caps,
  acceptedPositions: readonly number[],
  runningPositions: readonly number[],
): boolean {
  const state = sources[source];
  if (state === undefined || state.exhausted) return false;
  const cap = caps.perSource[source] ?? null;
  if (cap !== null && state.accepted + state.running >= cap) return false;
  if (caps.overall === null || acceptedPositions.length + runningPositions.length < caps.overall) return true;
  const position = positionOf(sources.length, source, state.admitted);
  const earlier = (positions: readonly number[]): number =>
    positions.reduce((count, other) => (other < position ? count + 1 : count), 0);
  return earlier(acceptedPositions) + earlier(runningPositions) < caps.overall;
}

/** Sources whose next entry may be admitted, the earliest entry first. */
export function admissible(
  sources: readonly SourceState[],
  caps: Caps,
  acceptedPositions: readonly number[],
  runningPositions: readonly number[],
): readonly number[] {
  return sources
    .map((state, source) => ({ source, position: positionOf(sources.length, source, state.admitted) }))
    .filter(({ source }) => mayAdmit(source, sources, caps, acceptedPositions, runningPositions))
    .sort((a, b) => a.position - b.position)
    .map(({ source }) => source);
}

/**
 * The entries that are published: per source the first of its cap, then the first of the overall cap, in the one order.
 * @returns indices into `accepted`, in publication order
 */
export function withinCaps(
  accepted: readonly { readonly source: number; readonly position: number }[],
  caps: Caps,
): readonly number[] {
  const taken = new Map<number, number>();
  const inOrder = accepted
    .map((entry, index) => ({ ...entry, index }))
    .sort((a, b) => a.position - b.position)
    .filter(({ source }) => {
      const before = taken.get(source) ?? 0;
      const cap = caps.perSource[source] ?? null;
      if (cap !== null && before >= cap) return false;
      taken.set(source, before + 1);
      return true;
    });
  return inOrder.slice(0, caps.overall ?? inOrder.length).map(({ index }) => index);
}

/**
 * Which candidate may start next, so that caps take the first N in source order whatever finishes first.
 *
 * The campaign has one order: entry k of every source comes before entry k + 1 of any, and within equal k the sources
 * come as the campaign names them. An entry is wanted as long as the published entries before it stay below its
 * source's cap and the overall cap. What is still running counts with a weight between:
 * - 1: every one of them will validate. An entry wanted even so is needed for certain.
 * - the campaign's yield so far: an entry wanted then will probably be needed, and keeps the window full near a cap.
 * - 0: none of them will. An entry that is not wanted even so is surplus, whatever happens.
 * When nothing is running the three agree, so the first N accepted are exactly the first N that validate.
 */

export interface SourceState {
  /** Entries admitted so far: the next entry's k. */
  readonly admitted: number;
  readonly exhausted: boolean;
}

export interface Caps {
  readonly perSource: readonly (number | null)[];
  readonly overall: number | null;
}

/** Positions of entries by source, each list ascending: how many come before a place is found by search, not by a walk. */
export type OrderedPositions = readonly (readonly number[])[];

/** Positions of a campaign's entries, by how far they are. */
export interface Positions {
  readonly accepted: OrderedPositions;
  readonly running: OrderedPositions;
}

/** Sorts positions into one ascending list per source. */
export function ordered(sourceCount: number, positions: Iterable<number>): number[][] {
  const lists = Array.from({ length: sourceCount }, (): number[] => []);
  for (const position of positions) lists[position % sourceCount]?.push(position);
  for (const list of lists) list.sort((a, b) => a - b);
  return lists;
}

/** Puts one more position into its place. Entries end about in order, so it is near the end of its list. */
export function insertOrdered(lists: readonly number[][], position: number): void {
  const list = lists[position % lists.length];
  list?.splice(countBefore(list, position), 0, position);
}

/** How many of an ascending list are smaller. */
function countBefore(list: readonly number[], position: number): number {
  let low = 0;
  for (let high = list.length; low < high;) {
    const middle = (low + high) >> 1;
    if ((list[middle] ?? Infinity) < position) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Place of entry k of a source in the campaign's one order. */
export const positionOf = (sourceCount: number, source: number, k: number): number =>
  k * sourceCount + source;

export const capped = ({ perSource, overall }: Caps): boolean =>
  overall !== null || perSource.some((cap) => cap !== null);

/** Whether an entry at this position would be published if it validates, with what runs counted by `weight`. */
export function wanted(
  position: number,
  caps: Caps,
  { accepted, running }: Positions,
  weight: number,
): boolean {
  if (!capped(caps)) return true;
  const expectedOf = (source: number): number => {
    let expected = countBefore(accepted[source] ?? [], position);
    const ahead = weight === 0 ? 0 : countBefore(running[source] ?? [], position);
    // one by one: a product rounds otherwise than a sum, and a replayed campaign must decide as it did
    for (let each = 0; each < ahead; each += 1) expected += weight;
    return expected;
  };
  const source = position % caps.perSource.length;
  const capOf = (index: number): number => caps.perSource[index] ?? Infinity;
  if (expectedOf(source) >= capOf(source)) return false;
  if (caps.overall === null) return true;
  const all = caps.perSource.reduce<number>(
    (sum, _cap, index) => sum + Math.min(expectedOf(index), capOf(index)),
    0,
  );
  return all < caps.overall;
}

/**
 * Sources whose next entry may start (or, when it is not mined yet, should be mined): those needed for certain come
 * first, then those that will probably be, each in the campaign's order.
 */
export function admissible(
  sources: readonly SourceState[],
  caps: Caps,
  positions: Positions,
  weight: number = yieldSoFar(sources, positions),
): readonly number[] {
  return sources
    .flatMap(({ admitted: k, exhausted }, source) => {
      const position = positionOf(sources.length, source, k);
      if (exhausted || !wanted(position, caps, positions, weight)) return [];
      return [{ source, position, needed: wanted(position, caps, positions, 1) }];
    })
    .sort((a, b) => Number(b.needed) - Number(a.needed) || a.position - b.position)
    .map(({ source }) => source);
}

/** Share of the ended entries that were accepted, with one more counted as if it had been: hopeful while little is known. */
function yieldSoFar(sources: readonly SourceState[], { accepted, running }: Positions): number {
  const admitted = sources.reduce((sum, source) => sum + source.admitted, 0);
  return Math.min(1, (lengthOf(accepted) + 1) / (admitted - lengthOf(running) + 1));
}

const lengthOf = (lists: OrderedPositions): number => lists.reduce((sum, list) => sum + list.length, 0);

/** Positions of running entries that can no longer be published. */
export function surplusOf(caps: Caps, positions: Positions): readonly number[] {
  const { accepted, running } = positions;
  const full = (source: number): boolean =>
    (accepted[source]?.length ?? 0) >= (caps.perSource[source] ?? Infinity);
  const reached = lengthOf(accepted) >= (caps.overall ?? Infinity);
  // below its caps nothing is surplus: the usual case, and the one that a long campaign is in at every end of a child
  return running.flatMap((list, source) =>
    reached || full(source) ? list.filter((position) => !wanted(position, caps, positions, 0)) : [],
  );
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

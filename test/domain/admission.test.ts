import { describe, expect, test } from 'vitest';
import {
  admissible,
  insertOrdered,
  ordered,
  positionOf,
  surplusOf,
  withinCaps,
} from '../../src/domain/admission.ts';
import type { Caps } from '../../src/domain/admission.ts';

interface Simulation {
  /** Per source, whether entry k validates. */
  readonly truth: readonly (readonly boolean[])[];
  readonly caps: Caps;
  readonly width: number;
  /** Picks which of the running positions ends next. */
  readonly pick: (running: readonly number[]) => number;
}

/** Runs a window by the rules alone and returns what is published and how many entries were started and dismissed. */
function simulate({ truth, caps, width, pick }: Simulation): {
  published: number[];
  admitted: number;
  dismissed: number;
} {
  const sources = truth.map(() => ({ admitted: 0, exhausted: false }));
  const accepted: { source: number; position: number }[] = [];
  const running: number[] = [];
  let admitted = 0;
  let dismissed = 0;
  for (;;) {
    for (const [index, source] of sources.entries())
      source.exhausted = source.admitted >= (truth[index]?.length ?? 0);
    const positions = () => ({
      accepted: ordered(
        sources.length,
        accepted.map(({ position }) => position),
      ),
      running: ordered(sources.length, running),
    });
    for (const position of surplusOf(caps, positions())) {
      running.splice(running.indexOf(position), 1); // dismissed: it ends without a result
      dismissed += 1;
    }
    const next = admissible(sources, caps, positions())[0];
    const state = next === undefined ? undefined : sources[next];
    if (next !== undefined && state !== undefined && running.length < width) {
      running.push(positionOf(sources.length, next, state.admitted));
      state.admitted += 1;
      admitted += 1;
      continue;
    }
    if (running.length === 0) break;
    const [position = 0] = running.splice(pick(running), 1);
    const source = position % sources.length;
    if (truth[source]?.[Math.floor(position / sources.length)] === true) accepted.push({ source, position });
  }
  return {
    published: withinCaps(accepted, caps).map((index) => accepted[index]?.position ?? -1),
    admitted,
    dismissed,
  };
}

/** What must be published, said without any window: the first of each source's cap, then the first of all. */
function expected(truth: Simulation['truth'], caps: Caps): number[] {
  const perSource = truth.map((entries, source) =>
    entries
      .flatMap((valid, k) => (valid ? [positionOf(truth.length, source, k)] : []))
      .slice(0, caps.perSource[source] ?? entries.length),
  );
  return perSource
    .flat()
    .sort((a, b) => a - b)
    .slice(0, caps.overall ?? Infinity);
}

function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
}

/** The rule as it is told, by a walk over all entries: an entry is wanted while those before it leave room under both caps. */
function wantedByWalk(
  position: number,
  caps: Caps,
  at: { readonly accepted: readonly number[]; readonly running: readonly number[] },
  weight: number,
): boolean {
  const expected = caps.perSource.map(() => 0);
  for (const [positions, each] of [[at.accepted, 1] as const, [at.running, weight] as const])
    for (const other of positions)
      if (other < position)
        expected[other % expected.length] = (expected[other % expected.length] ?? 0) + each;
  const capOf = (source: number): number => caps.perSource[source] ?? Infinity;
  const source = position % expected.length;
  const all = expected.reduce((sum, each, index) => sum + Math.min(each, capOf(index)), 0);
  return (expected[source] ?? 0) < capOf(source) && all < (caps.overall ?? Infinity);
}

describe('Counting by search', () => {
  test('decides as a walk over all entries does, at every weight and cap', () => {
    const random = randomFrom(7);
    const upTo = (limit: number): number => Math.floor(random() * limit);
    for (let round = 0; round < 1_000; round += 1) {
      const count = 1 + upTo(4);
      const caps: Caps = {
        perSource: Array.from({ length: count }, () => (random() < 0.5 ? null : 1 + upTo(9))),
        overall: random() < 0.5 ? null : 1 + upTo(20),
      };
      const known = Array.from({ length: 40 }, (_, position) => position).filter(() => random() < 0.7);
      const accepted = known.filter(() => random() < 0.5).sort(() => random() - 0.5);
      const running = known.filter((position) => !accepted.includes(position));
      const lists = ordered(count, []);
      for (const position of accepted) insertOrdered(lists, position);
      const positions = { accepted: lists, running: ordered(count, running) };
      expect(lists).toEqual(ordered(count, accepted));

      const flat = { accepted, running };
      const byWalk = running.filter((position) => !wantedByWalk(position, caps, flat, 0));
      expect(
        [...surplusOf(caps, positions)].sort((a, b) => a - b),
        `round ${round}`,
      ).toEqual(byWalk);

      const sources = Array.from({ length: count }, () => ({
        admitted: upTo(15),
        exhausted: random() < 0.1,
      }));
      const weight = [0.1, 1 / 3, 0.7, 1][upTo(4)] ?? 1;
      const open = sources.flatMap(({ admitted, exhausted }, source) =>
        !exhausted && wantedByWalk(positionOf(count, source, admitted), caps, flat, weight) ? [source] : [],
      );
      expect(
        admissible(sources, caps, positions, weight).toSorted((a, b) => a - b),
        `round ${round}`,
      ).toEqual(open);
    }
  });
});

describe('Caps', () => {
  test('publish the first N that validate in source order, whatever ends first', () => {
    for (let seed = 1; seed <= 400; seed += 1) {
      const random = randomFrom(seed);
      const truth = Array.from({ length: 1 + Math.floor(random() * 4) }, () =>
        Array.from({ length: Math.floor(random() * 12) }, () => random() < 0.5),
      );
      const caps: Caps = {
        perSource: truth.map(() => (random() < 0.5 ? null : 1 + Math.floor(random() * 4))),
        overall: random() < 0.5 ? null : 1 + Math.floor(random() * 8),
      };
      const width = 1 + Math.floor(random() * 6);
      const { published } = simulate({
        truth,
        caps,
        width,
        pick: (running) => Math.floor(random() * running.length),
      });
      expect(published, `seed ${seed}`).toEqual(expected(truth, caps));
    }
  });

  test('are met without one candidate too many while every candidate validates', () => {
    const run = simulate({
      truth: [[true, true, true, true, true, true, true, true]],
      caps: { perSource: [3], overall: null },
      width: 4,
      pick: (r) => r.length - 1,
    });
    expect(run).toEqual({ published: [0, 1, 2], admitted: 3, dismissed: 0 });
  });

  test('are approached with as many candidates as the yield so far asks for, and the surplus is dismissed', () => {
    const run = simulate({
      truth: [[false, false, false, true, true, true, true, true, true]],
      caps: { perSource: [1], overall: null },
      width: 4,
      pick: () => 0,
    });
    expect(run).toMatchObject({ published: [3], dismissed: 3 });
  });

  test('hold back a source only, not the window: others go on while it waits for its last candidate', () => {
    const sources = [
      { admitted: 2, exhausted: false },
      { admitted: 0, exhausted: false },
    ];
    const positions = { accepted: ordered(2, [0]), running: ordered(2, [2]) };
    expect(admissible(sources, { perSource: [2, null], overall: null }, positions)).toEqual([1]);
  });

  test('let what is needed for certain go before what is only likely to be', () => {
    const sources = [
      { admitted: 3, exhausted: false },
      { admitted: 4, exhausted: false },
    ];
    const positions = { accepted: ordered(2, []), running: ordered(2, [4]) };
    expect(admissible(sources, { perSource: [1, 1], overall: null }, positions)).toEqual([1, 0]);
  });
});

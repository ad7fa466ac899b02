import { describe, expect, test } from 'vitest';
import { admissible, positionOf, surplusOf, withinCaps } from '../../src/domain/admission.ts';
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
    const positions = { accepted: accepted.map(({ position }) => position), running };
    for (const position of surplusOf(caps, positions)) {
      running.splice(running.indexOf(position), 1); // dismissed: it ends without a result
      dismissed += 1;
    }
    const next = admissible(sources, caps, { ...positions, running })[0];
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
    const positions = { accepted: [0], running: [2] };
    expect(admissible(sources, { perSource: [2, null], overall: null }, positions)).toEqual([1]);
  });

  test('let what is needed for certain go before what is only likely to be', () => {
    const sources = [
      { admitted: 3, exhausted: false },
      { admitted: 4, exhausted: false },
    ];
    const positions = { accepted: [], running: [4] };
    expect(admissible(sources, { perSource: [1, 1], overall: null }, positions)).toEqual([1, 0]);
  });
});

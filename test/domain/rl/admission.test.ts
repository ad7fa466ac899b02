import { describe, expect, test } from 'vitest';
import { drawsOf } from '../../../src/domain/draws.ts';
import {
  admissible,
  dropReason,
  isStuck,
  outageWaitMs,
  nextBatch,
  oldestOf,
  promptAt,
  staleGroups,
} from '../../../src/domain/rl/admission.ts';
import type { LoopState } from '../../../src/domain/rl/admission.ts';
import type { GroupState } from '../../../src/domain/rl/messages.ts';

const group = (place: number, facts: Partial<GroupState> = {}): GroupState => ({
  id: `g${place}`,
  place,
  prompt: 0,
  dispatchedVersion: 0,
  dispatchedMs: 0,
  ended: [],
  rewards: [],
  trajectories: [],
  sampledTokens: 0,
  executed: 0,
  served: 0,
  oldestVersion: null,
  endedMs: null,
  ...facts,
});
const ended = (place: number, version = 0): GroupState =>
  group(place, { endedMs: 1, dispatchedVersion: version, rewards: [0, 1] });

const state = (facts: Partial<LoopState> = {}): LoopState => ({
  options: { groupsPerStep: 2, groupSize: 2, stale: 'wait', steps: 100, maxEmptyBatches: 10 },
  width: 100,
  maxStaleness: 1,
  step: 0,
  deployed: 0,
  groups: [],
  counts: { trained: 0, droppedInRow: 0 },
  ...facts,
});

describe('admissible', () => {
  test('is (S + v + 1) · B at the start, and what is left of it later', () => {
    expect(admissible(state())).toBe(4);
    expect(admissible(state({ groups: [group(0), ended(1)] }))).toBe(2);
    expect(admissible(state({ deployed: 3, counts: { trained: 6, droppedInRow: 0 } }))).toBe(4);
  });
  test('is bounded by the width over what runs, not over what waits', () => {
    expect(admissible(state({ width: 1 }))).toBe(1);
    expect(admissible(state({ width: 1, groups: [ended(0)] }))).toBe(1);
    expect(admissible(state({ width: 1, groups: [group(0)] }))).toBe(0);
  });
  test('dispatches nothing that no step would train', () => {
    const options = { ...state().options, steps: 1 };
    expect(admissible(state({ options }))).toBe(2);
    expect(admissible(state({ options, groups: [ended(0), group(1)] }))).toBe(0);
  });
  test('is never negative, as when the width was lowered', () => {
    expect(admissible(state({ width: 1, groups: [group(0), group(1), group(2)] }))).toBe(0);
  });
});

describe('nextBatch', () => {
  test('takes the oldest dispatched, whatever ended first', () => {
    const batch = nextBatch(state({ groups: [ended(3), ended(1), group(4), ended(2)] }));
    expect(batch?.map(({ id }) => id)).toEqual(['g1', 'g2']);
  });
  test('waits while too few have ended', () => {
    expect(nextBatch(state({ groups: [ended(0), group(1)] }))).toBeNull();
  });
  test('waits for a running group that the step after this one would find too old', () => {
    const late = group(0, { dispatchedVersion: 0 });
    const groups = [late, ended(1, 1), ended(2, 1)];
    expect(nextBatch(state({ step: 1, groups }))).toBeNull();
    expect(nextBatch(state({ step: 0, groups }))).not.toBeNull();
    const dropping = { ...state().options, stale: 'drop' as const };
    expect(nextBatch(state({ step: 1, groups, options: dropping }))).not.toBeNull();
  });
  test('waits while more running groups would fall due at once than a step takes', () => {
    const options = { ...state().options, groupsPerStep: 1 };
    const slow = [group(0), group(1)]; // both due at version 2, by a step that takes one of them
    const groups = [...slow, ended(2, 1)];
    expect(nextBatch(state({ options, maxStaleness: 2, step: 1, groups }))).toBeNull();
    expect(nextBatch(state({ options, maxStaleness: 2, step: 0, groups }))).not.toBeNull();
  });
  test('goes on where the bound was lowered and all that is left has ended: waiting would help nobody', () => {
    const groups = [ended(0, 4), ended(1, 4), ended(2, 5), ended(3, 5)];
    const lowered = state({ step: 5, deployed: 5, maxStaleness: 0, groups });
    const kept = groups.filter((one) => !staleGroups(lowered).includes(one));
    expect(nextBatch({ ...lowered, groups: kept })?.map(({ place }) => place)).toEqual([2, 3]);
    const all = [ended(0, 5), ended(1, 5), ended(2, 5), ended(3, 5)];
    expect(nextBatch({ ...lowered, groups: all })).toHaveLength(2);
    expect(nextBatch({ ...lowered, groups: [...all, group(4, { dispatchedVersion: 5 })] })).toBeNull();
  });
  test('with S = 0 waits for every group of the version', () => {
    expect(nextBatch(state({ maxStaleness: 0, groups: [ended(0), ended(1), group(2)] }))).toBeNull();
    expect(nextBatch(state({ maxStaleness: 0, groups: [ended(0), ended(1)] }))).toHaveLength(2);
  });
});

test('a group needs two episodes and two different rewards', () => {
  expect(dropReason(group(0, { rewards: [1] }))).toBe('infra');
  expect(dropReason(group(0, { rewards: [1, 1, 1] }))).toBe('no_variance');
  expect(dropReason(group(0, { rewards: [1, 0] }))).toBeNull();
});

test('a group of overlong episodes alone teaches nothing, since the loss leaves them out', () => {
  expect(dropReason(group(0, { rewards: [1, 0], masked: 2 }))).toBe('overlong');
  expect(dropReason(group(0, { rewards: [1, 0], masked: 1 }))).toBeNull();
});

test('only what has ended and exceeds the bound is stale', () => {
  const groups = [ended(0, 1), ended(1, 2), group(2, { dispatchedVersion: 0 })];
  expect(staleGroups(state({ step: 3, groups })).map(({ id }) => id)).toEqual(['g0']);
});

test('a run is stuck after so many batches in a row without anything to learn', () => {
  expect(isStuck(state({ counts: { trained: 0, droppedInRow: 19 } }))).toBe(false);
  expect(isStuck(state({ counts: { trained: 0, droppedInRow: 20 } }))).toBe(true);
});

test('every pass over the prompts takes each once, in an order of its own', () => {
  const pass = (number: number): number[] =>
    Array.from({ length: 7 }, (_, at) => promptAt(5, number * 7 + at, 7));
  expect(new Set(pass(0))).toEqual(new Set([0, 1, 2, 3, 4, 5, 6]));
  expect(new Set(pass(1)).size).toBe(7);
  expect(pass(1)).not.toEqual(pass(0));
});

/**
 * The loop as the workflow runs it, on a clock of random durations: versions reach the servers some time after their step,
 * a quarter of the groups is dropped, a few take very long.
 */
function simulate(seed: string, maxStaleness: number, stale: 'wait' | 'drop') {
  const draw = drawsOf(`${seed} ${maxStaleness}`);
  const options = { groupsPerStep: 3, groupSize: 2, stale, steps: 40, maxEmptyBatches: 10 };
  let now = state({ options, maxStaleness, width: 7 });
  const endsAt = new Map<string, number>();
  const deploysAt: { at: number; version: number }[] = [];
  const staleness: number[] = [];
  const dispatched: string[] = [];
  const trained: string[] = [];
  let dropped = 0;
  let trainerFreeAt = 0;
  for (let tick = 0; now.step < options.steps && tick < 100_000; tick += 1) {
    for (const { at, version } of deploysAt) if (at === tick) now = { ...now, deployed: version };
    for (let room = admissible(now); room > 0; room -= 1) {
      const place = dispatched.length;
      const fresh = group(place, { dispatchedVersion: now.deployed, dispatchedMs: tick });
      dispatched.push(fresh.id);
      endsAt.set(fresh.id, tick + 1 + Math.floor(draw() < 0.05 ? 200 * draw() : 10 * draw()));
      now = { ...now, groups: [...now.groups, fresh] };
    }
    const groups = now.groups.flatMap((one): readonly GroupState[] => {
      if (endsAt.get(one.id) !== tick) return [one];
      const filtered = draw() < 0.25;
      if (filtered) dropped += 1;
      return filtered ? [] : [{ ...one, endedMs: tick, rewards: [0, 1] }];
    });
    now = { ...now, groups };
    if (tick < trainerFreeAt) continue;
    const old = stale === 'drop' ? staleGroups(now) : [];
    dropped += old.length;
    now = { ...now, groups: now.groups.filter((one) => !old.includes(one)) };
    const batch = nextBatch(now);
    if (batch === null) continue;
    staleness.push(...batch.map((one) => now.step - oldestOf(one)));
    trained.push(...batch.map(({ id }) => id));
    const left = now.groups.filter((one) => !batch.includes(one));
    now = {
      ...now,
      step: now.step + 1,
      groups: left,
      counts: { trained: now.counts.trained + batch.length, droppedInRow: 0 },
    };
    trainerFreeAt = tick + 1 + Math.floor(8 * draw());
    deploysAt.push({ at: trainerFreeAt + Math.floor(6 * draw()), version: now.step });
  }
  return { now, staleness, dispatched, trained, dropped };
}

describe.each([0, 1, 2, 4])('with a bound of %i', (bound) => {
  test.each(Array.from({ length: 20 }, (_, seed) => `seed ${seed}`))(
    'the loop of %s keeps it and ends',
    (seed) => {
      const { now, staleness, trained, dispatched, dropped } = simulate(seed, bound, 'wait');
      expect(now.step).toBe(40);
      expect(Math.max(...staleness)).toBeLessThanOrEqual(bound);
      expect(new Set(trained).size).toBe(trained.length);
      // who waits loses nobody: all that was dispatched is trained, was without variance, or is still there
      expect(trained.length + dropped + now.groups.length).toBe(dispatched.length);
    },
  );
  test('dropping keeps it, too, and loses the slow ones', () => {
    const { now, staleness } = simulate('drop', bound, 'drop');
    expect(now.step).toBe(40);
    expect(Math.max(...staleness)).toBeLessThanOrEqual(bound);
  });
});

test('after each batch that infrastructure ended whole, groups are dispatched twice as late, at most ten minutes', () => {
  const wait = (infraInRow: number): number => outageWaitMs(infraInRow, 4);
  expect([0, 3, 4, 7, 8, 12].map(wait)).toEqual([0, 0, 5_000, 5_000, 10_000, 20_000]);
  expect([100, 1e9].map(wait)).toEqual([600_000, 600_000]);
});

import { describe, expect, it } from 'vitest';
import { drawsOf } from '../../../src/domain/draws.ts';
import {
  bubbleRatio,
  idleShare,
  intersect,
  lengthOf,
  serverParts,
  subtract,
  totalUse,
  trainerParts,
  union,
  useOf,
} from '../../../src/domain/rl/intervals.ts';
import type { ActivityLog, Span } from '../../../src/domain/rl/intervals.ts';

const span = (startedMs: number, endedMs: number): Span => ({ startedMs, endedMs });
const NOTHING: ActivityLog = {
  train: [],
  publish: [],
  halted: [],
  groups: [],
  calls: [],
  paused: [],
  starting: [],
};
const SERVERS = ['http://a', 'http://b'];

/** A log of random spans inside [0, 400), a few of them empty or reversed. */
function randomLog(seed: number): { readonly log: ActivityLog; readonly windows: readonly Span[] } {
  const draw = drawsOf(`intervals ${seed}`);
  const whole = (limit: number): number => Math.floor(draw() * limit);
  const spans = (most: number): readonly Span[] =>
    Array.from({ length: whole(most + 1) }, () => {
      const startedMs = whole(400);
      return span(startedMs, startedMs + whole(90) - 5);
    });
  const at = <T extends Span>(all: readonly T[]): readonly (T & { readonly server: string })[] =>
    all.map((one) => ({ ...one, server: SERVERS[whole(2)] ?? '' }));
  const edges = Array.from({ length: 6 }, () => whole(400)).sort((a, b) => a - b);
  return {
    log: {
      train: spans(8),
      publish: spans(8),
      halted: spans(2),
      groups: spans(6),
      calls: at(spans(20)).map((call) => ({ ...call, requests: 1 + whole(4) })),
      paused: at(spans(3)),
      starting: spans(1),
    },
    windows: edges.slice(1).map((edge, index) => span(edges[index] ?? 0, edge)),
  };
}
const SEEDS = Array.from({ length: 60 }, (_none, seed) => seed);
const covers = (spans: readonly Span[], ms: number): boolean =>
  spans.some(({ startedMs, endedMs }) => startedMs <= ms && ms < endedMs);
const moments = ({ startedMs, endedMs }: Span): readonly number[] =>
  Array.from({ length: endedMs - startedMs }, (_none, index) => startedMs + index);

describe('sets of moments', () => {
  it.each(SEEDS)(
    'union, intersection and difference are those of a grid of milliseconds (seed %i)',
    (seed) => {
      const { log } = randomLog(seed);
      const grid = moments(span(-10, 500));
      const [a, b] = [union(log.groups), union(log.calls)];
      const count = (holds: (ms: number) => boolean): number => grid.filter(holds).length;
      expect(lengthOf(a)).toBe(count((ms) => covers(log.groups, ms)));
      expect(lengthOf(intersect(a, b))).toBe(count((ms) => covers(log.groups, ms) && covers(log.calls, ms)));
      expect(lengthOf(subtract(a, b))).toBe(count((ms) => covers(log.groups, ms) && !covers(log.calls, ms)));
      for (const [index, one] of a.entries())
        if (index > 0) expect(one.startedMs).toBeGreaterThan(a[index - 1]?.endedMs ?? 0);
    },
  );
});

/** The definition, asked of one moment. */
const trainerAt = (log: ActivityLog, ms: number): string =>
  covers(log.train, ms)
    ? 'busy'
    : covers(log.publish, ms)
      ? 'publish'
      : covers(log.halted, ms)
        ? 'paused'
        : 'starved';
function serverAt(log: ActivityLog, server: string, ms: number): string {
  const own = <T extends { readonly server: string }>(all: readonly T[]): readonly T[] =>
    all.filter((one) => one.server === server);
  if (covers(own(log.paused), ms)) return 'paused';
  if (covers(own(log.calls), ms)) return 'busy';
  if (covers(log.groups, ms)) return 'agents';
  if (covers(log.halted, ms)) return 'halted';
  return covers(log.starting, ms) ? 'starting' : 'admission';
}

describe('idle time by cause', () => {
  it.each(SEEDS)('is what a look at every millisecond finds, for each window (seed %i)', (seed) => {
    const { log, windows } = randomLog(seed);
    const uses = useOf(log, SERVERS, windows);
    expect(uses).toHaveLength(windows.length);
    for (const [index, window] of windows.entries()) {
      const use = uses[index];
      const trainer = Map.groupBy(moments(window), (ms) => trainerAt(log, ms));
      expect(use?.trainer.busyMs).toBe(trainer.get('busy')?.length ?? 0);
      for (const [cause, idle] of Object.entries(use?.trainer.idleMs ?? {}))
        expect(idle, cause).toBe(trainer.get(cause)?.length ?? 0);
      for (const server of SERVERS) {
        const own = use?.servers.find((one) => one.server === server);
        const grid = Map.groupBy(moments(window), (ms) => serverAt(log, server, ms));
        expect(own?.busyMs).toBe(grid.get('busy')?.length ?? 0);
        for (const [cause, idle] of Object.entries(own?.idleMs ?? {}))
          expect(idle, cause).toBe(grid.get(cause)?.length ?? 0);
      }
    }
  });

  it.each(SEEDS)('sums with the busy time to the wall time, exactly (seed %i)', (seed) => {
    const { log, windows } = randomLog(seed);
    const wall = lengthOf(windows);
    for (const parts of [
      trainerParts(log, windows),
      ...SERVERS.map((server) => serverParts(log, server, windows)),
    ]) {
      const lists = Object.values(parts);
      expect(lists.reduce((sum, spans) => sum + lengthOf(spans), 0)).toBe(wall);
      expect(lengthOf(union(lists.flat()))).toBe(wall); // no moment is in two parts
    }
    const total = totalUse(useOf(log, SERVERS, windows));
    for (const use of [total.trainer, ...total.servers]) {
      expect(use.wallMs).toBe(wall);
      expect(use.busyMs + Object.values<number>(use.idleMs).reduce((a, b) => a + b, 0)).toBe(wall);
      expect(use.busyMs).toBeLessThanOrEqual(wall);
    }
  });

  it.each(SEEDS)('stands beside the mean number of running requests (seed %i)', (seed) => {
    const { log, windows } = randomLog(seed);
    for (const use of useOf(log, SERVERS, windows))
      for (const { server, occupancy, wallMs } of use.servers) {
        const requestMs = moments(use).reduce(
          (sum, ms) =>
            sum +
            log.calls
              .filter((call) => call.server === server && covers([call], ms))
              .reduce((requests, call) => requests + call.requests, 0),
          0,
        );
        expect(occupancy).toBeCloseTo(wallMs === 0 ? 0 : requestMs / wallMs, 9);
      }
  });
});

describe('the bubble ratio', () => {
  const use = useOf(
    {
      ...NOTHING,
      train: [span(0, 80)],
      groups: [span(0, 60)],
      calls: [{ ...span(10, 50), server: 'http://a', requests: 3 }],
    },
    SERVERS,
    [span(0, 100)],
  )[0];
  if (use === undefined) throw new Error('one window was asked for');

  it('is the mean idle share of trainer and servers', () => {
    // trainer 20 %, a 60 %, b 100 %
    expect(bubbleRatio(use)).toBeCloseTo((0.2 + 0.6 + 1) / 3, 12);
  });

  it('weighs a resource by what it costs', () => {
    expect(bubbleRatio(use, { trainer: 8, server: 1 })).toBeCloseTo((8 * 0.2 + 0.6 + 1) / 10, 12);
  });

  it('tells agents that are elsewhere from groups that may not start', () => {
    expect(use.servers[0]?.idleMs).toEqual({ paused: 0, agents: 20, halted: 0, starting: 0, admission: 40 });
    expect(use.servers[1]?.idleMs).toEqual({ paused: 0, agents: 60, halted: 0, starting: 0, admission: 40 });
    expect(use.servers[0]?.occupancy).toBe(1.2);
  });

  it('is unknown where no time passed, and does not count a server that stands still as busy', () => {
    expect(bubbleRatio(totalUse([]))).toBeNull();
    const [still] = useOf(
      {
        ...NOTHING,
        calls: [{ ...span(0, 10), server: 'x', requests: 1 }],
        paused: [{ ...span(2, 6), server: 'x' }],
      },
      ['x'],
      [span(0, 10)],
    );
    expect(still?.servers[0]?.busyMs).toBe(6);
    expect(still?.servers[0]?.idleMs.paused).toBe(4);
    expect(idleShare({ wallMs: 0, busyMs: 0 })).toBeNull();
  });
});

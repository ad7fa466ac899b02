/**
 * Who was busy when, and why not: idle time of the trainer and of each policy server, split by cause. Pure.
 *
 * Every moment of a window belongs to exactly one cause: causes are asked in a stated order, and the first that claims a
 * moment has it. So the parts sum to the wall time, exactly, however the intervals overlap.
 */

/** A stretch of time, epoch milliseconds; the end is not part of it. */
export interface Span {
  readonly startedMs: number;
  readonly endedMs: number;
}

/** Requests that one call kept running at a server: a call of n choices runs as n. */
export interface ServedCall extends Span {
  readonly server: string;
  readonly requests: number;
}

/** What happened, in any order and with overlaps. */
export interface ActivityLog {
  /** Forward and backward passes and the optimiser's step. */
  readonly train: readonly Span[];
  /** Writing a version and loading it on the servers. */
  readonly publish: readonly Span[];
  /** The run was paused by somebody. */
  readonly halted: readonly Span[];
  /** From the dispatch of a group to the end of its last member. */
  readonly groups: readonly Span[];
  readonly calls: readonly ServedCall[];
  /** A server stood still for a reload. */
  readonly paused: readonly (Span & { readonly server: string })[];
  /** From a start of the run to its first dispatch. */
  readonly starting: readonly Span[];
}

/**
 * Trainer, in this order: `busy`; `publish`: a version was being written or loaded; `paused`: the run was paused;
 * `starved`: nothing to train.
 */
export const TRAINER_CAUSES = ['publish', 'paused', 'starved'] as const;
export type TrainerCause = (typeof TRAINER_CAUSES)[number];

/**
 * Server, in this order: `paused`: it stood still for a reload, whatever was in flight; `busy`: a request was running;
 * `agents`: groups ran, but all their episodes were in the sandbox or in grading; `halted`: the run was paused;
 * `starting`: nothing had been dispatched yet; `admission`: no group ran, the staleness bound let none in.
 */
export const SERVER_CAUSES = ['paused', 'agents', 'halted', 'starting', 'admission'] as const;
export type ServerCause = (typeof SERVER_CAUSES)[number];

/** How a resource spent a window. `wallMs` = `busyMs` + the sum of `idleMs`. */
export interface ResourceUse<Cause extends string = string> {
  readonly wallMs: number;
  readonly busyMs: number;
  readonly idleMs: Readonly<Record<Cause, number>>;
}

export interface ServerUse extends ResourceUse<ServerCause> {
  readonly server: string;
  /** Mean number of requests in flight: a server with one is busy, but not full. */
  readonly occupancy: number;
}

export interface WindowUse extends Span {
  readonly trainer: ResourceUse<TrainerCause>;
  readonly servers: readonly ServerUse[];
}

export const lengthOf = (spans: readonly Span[]): number =>
  spans.reduce((sum, { startedMs, endedMs }) => sum + (endedMs - startedMs), 0);

/** The same moments as ascending spans that do not touch; empty and reversed ones are left out. */
export function union(spans: readonly Span[]): readonly Span[] {
  const sorted = spans
    .filter(({ startedMs, endedMs }) => endedMs > startedMs)
    .toSorted((a, b) => a.startedMs - b.startedMs);
  const merged: { startedMs: number; endedMs: number }[] = [];
  for (const { startedMs, endedMs } of sorted) {
    const last = merged.at(-1);
    if (last !== undefined && startedMs <= last.endedMs) last.endedMs = Math.max(last.endedMs, endedMs);
    else merged.push({ startedMs, endedMs });
  }
  return merged;
}

/** Moments of both; each side a result of `union`. */
export function intersect(left: readonly Span[], right: readonly Span[]): readonly Span[] {
  const common: Span[] = [];
  let i = 0;
  let j = 0;
  for (let a = left[i], b = right[j]; a !== undefined && b !== undefined; a = left[i], b = right[j]) {
    const startedMs = Math.max(a.startedMs, b.startedMs);
    const endedMs = Math.min(a.endedMs, b.endedMs);
    if (endedMs > startedMs) common.push({ startedMs, endedMs });
    if (a.endedMs <= b.endedMs) i += 1;
    else j += 1;
  }
  return common;
}

/** Moments of the first that are not of the second; each side a result of `union`. */
export function subtract(from: readonly Span[], taken: readonly Span[]): readonly Span[] {
  const left: Span[] = [];
  let j = 0;
  for (const { startedMs, endedMs } of from) {
    let at = startedMs;
    while (j < taken.length && (taken[j]?.endedMs ?? 0) <= at) j += 1;
    for (let k = j; k < taken.length; k += 1) {
      const cut = taken[k];
      if (cut === undefined || cut.startedMs >= endedMs) break;
      if (cut.startedMs > at) left.push({ startedMs: at, endedMs: cut.startedMs });
      at = Math.max(at, cut.endedMs);
    }
    if (at < endedMs) left.push({ startedMs: at, endedMs });
  }
  return left;
}

/**
 * Shares the moments of `windows` out: each goes to the first layer that claims it, and what none claims to `rest`.
 * The spans of each part ascend and do not overlap; all parts together are exactly the windows.
 */
export function partition<Name extends string>(
  windows: readonly Span[],
  layers: readonly (readonly [Name, readonly Span[]])[],
  rest: Name,
): Readonly<Record<Name, readonly Span[]>> {
  let left = union(windows);
  const parts = {} as Record<Name, readonly Span[]>;
  for (const [name, spans] of layers) {
    const claimed = union(spans);
    parts[name] = intersect(left, claimed);
    left = subtract(left, claimed);
  }
  parts[rest] = left;
  return parts;
}

/** The trainer's moments by cause. */
export const trainerParts = (
  log: ActivityLog,
  windows: readonly Span[],
): Readonly<Record<TrainerCause | 'busy', readonly Span[]>> =>
  partition<TrainerCause | 'busy'>(
    windows,
    [
      ['busy', log.train],
      ['publish', log.publish],
      ['paused', log.halted],
    ],
    'starved',
  );

/** A server's moments by cause. */
export function serverParts(
  log: ActivityLog,
  server: string,
  windows: readonly Span[],
): Readonly<Record<ServerCause | 'busy', readonly Span[]>> {
  const own = <T extends { readonly server: string }>(all: readonly T[]): readonly T[] =>
    all.filter((one) => one.server === server);
  return partition<ServerCause | 'busy'>(
    windows,
    [
      ['paused', own(log.paused)],
      ['busy', own(log.calls)],
      ['agents', log.groups],
      ['halted', log.halted],
      ['starting', log.starting],
    ],
    'admission',
  );
}

/**
 * How the trainer and each server spent each window.
 * @param windows ascending and without overlap, e.g. one for each step
 */
export function useOf(
  log: ActivityLog,
  servers: readonly string[],
  windows: readonly Span[],
): readonly WindowUse[] {
  const trainer = trainerParts(log, windows);
  const parts = servers.map((server) => serverParts(log, server, windows));
  const running = servers.map((server) =>
    requestTime(
      log.calls.filter((call) => call.server === server),
      windows,
    ),
  );
  return windows.map((window, index) => ({
    startedMs: window.startedMs,
    endedMs: window.endedMs,
    trainer: within(trainer, TRAINER_CAUSES, window),
    servers: servers.map((server, place) => {
      const use = within(parts[place] ?? ({} as never), SERVER_CAUSES, window);
      const requestMs = running[place]?.[index] ?? 0;
      return { server, ...use, occupancy: use.wallMs === 0 ? 0 : requestMs / use.wallMs };
    }),
  }));
}

function within<Cause extends string>(
  parts: Readonly<Record<Cause | 'busy', readonly Span[]>>,
  causes: readonly Cause[],
  window: Span,
): ResourceUse<Cause> {
  const timeOf = (spans: readonly Span[]): number => lengthOf(intersect(reaching(spans, window), [window]));
  const idleMs = {} as Record<Cause, number>;
  for (const cause of causes) idleMs[cause] = timeOf(parts[cause]);
  return { wallMs: Math.max(0, window.endedMs - window.startedMs), busyMs: timeOf(parts.busy), idleMs };
}

/** Those of ascending spans that reach into the window: a run has many thousands, a window a few. */
function reaching(spans: readonly Span[], window: Span): readonly Span[] {
  const from = firstWhere(spans, ({ endedMs }) => endedMs > window.startedMs);
  const to = firstWhere(spans, ({ startedMs }) => startedMs >= window.endedMs);
  return spans.slice(from, to);
}

/** Index of the first item that holds; items that do not hold come before all that do. */
function firstWhere<T>(items: readonly T[], holds: (item: T) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const item = items[middle];
    if (item !== undefined && holds(item)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Requests in flight, summed over the time of each window. */
function requestTime(calls: readonly ServedCall[], windows: readonly Span[]): readonly number[] {
  const sums = windows.map(() => 0);
  for (const call of calls)
    for (
      let index = firstWhere(windows, ({ endedMs }) => endedMs > call.startedMs);
      index < windows.length && (windows[index]?.startedMs ?? 0) < call.endedMs;
      index += 1
    ) {
      const window = windows[index] ?? call;
      const overlap = Math.min(call.endedMs, window.endedMs) - Math.max(call.startedMs, window.startedMs);
      sums[index] = (sums[index] ?? 0) + call.requests * Math.max(0, overlap);
    }
  return sums;
}

/** Several windows as one. */
export function totalUse(windows: readonly WindowUse[]): Omit<WindowUse, keyof Span> {
  const servers = [...new Set(windows.flatMap((window) => window.servers.map(({ server }) => server)))];
  return {
    trainer: addUses(
      windows.map(({ trainer }) => trainer),
      TRAINER_CAUSES,
    ),
    servers: servers.map((server) => {
      const own = windows.flatMap((window) => window.servers.filter((use) => use.server === server));
      const use = addUses(own, SERVER_CAUSES);
      const requestMs = own.reduce((sum, { occupancy, wallMs }) => sum + occupancy * wallMs, 0);
      return { server, ...use, occupancy: use.wallMs === 0 ? 0 : requestMs / use.wallMs };
    }),
  };
}

function addUses<Cause extends string>(
  uses: readonly ResourceUse<Cause>[],
  causes: readonly Cause[],
): ResourceUse<Cause> {
  const idleMs = {} as Record<Cause, number>;
  for (const cause of causes) idleMs[cause] = uses.reduce<number>((sum, use) => sum + use.idleMs[cause], 0);
  return {
    wallMs: uses.reduce((sum, { wallMs }) => sum + wallMs, 0),
    busyMs: uses.reduce((sum, { busyMs }) => sum + busyMs, 0),
    idleMs,
  };
}

/** What an hour of each resource costs, in any unit; only the ratio matters. */
export interface ResourceCosts {
  readonly trainer: number;
  /** Of one server. */
  readonly server: number;
}

/** Share of the wall time that a resource was idle; null where no time passed. */
export const idleShare = ({ wallMs, busyMs }: Pick<ResourceUse, 'wallMs' | 'busyMs'>): number | null =>
  wallMs === 0 ? null : 1 - busyMs / wallMs;

/**
 * Bubble ratio: the mean idle share of trainer and servers, weighted by cost: Σ costₓ · idleₓ ÷ Σ costₓ. Null where no time
 * passed. To be read beside the occupancy.
 */
export function bubbleRatio(
  use: Pick<WindowUse, 'trainer' | 'servers'>,
  costs: ResourceCosts = { trainer: 1, server: 1 },
): number | null {
  const shares = [
    { cost: costs.trainer, idle: idleShare(use.trainer) },
    ...use.servers.map((server) => ({ cost: costs.server, idle: idleShare(server) })),
  ].filter((one): one is { cost: number; idle: number } => one.idle !== null);
  const cost = shares.reduce((sum, one) => sum + one.cost, 0);
  return cost === 0 ? null : shares.reduce((sum, one) => sum + one.cost * one.idle, 0) / cost;
}

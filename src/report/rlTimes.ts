import { bubbleRatio, totalUse, union, useOf } from '../domain/rl/intervals.ts';
import type { ActivityLog, Span, WindowUse } from '../domain/rl/intervals.ts';
import type { RlLog, RlLogEntry, RolloutDigest } from './rlLog.ts';

/** The interval log of a run: what its entries say of who was busy when, and the window of each step. */

/** A longer gap between two entries is no part of the run: it was stopped, and started again. */
export const GAP_MS = 5_000;

export interface StepUse extends WindowUse {
  readonly step: number;
  /**
   * False where a group ran that no entry has told the fate of: its requests are unknown, and servers look idler than
   * they were.
   */
  readonly settled: boolean;
  /** Sampled by requests that ended in the window. */
  readonly sampledTokens: number;
}

/** How each step's time was spent. @param servers addresses; those that the log names are added */
export function stepUses(log: RlLog, servers: readonly string[] = []): readonly StepUse[] {
  const windows = windowsOf(log.entries);
  const activity = activityOf(log);
  const calls = rolloutsOf(log).flatMap((rollout) => rollout.calls);
  const all = [...new Set([...servers, ...calls.map(({ server }) => server)])];
  const unfinished = unfinishedGroups(log.entries);
  const sampled = sampledIn(windows, calls);
  return useOf(activity, all, windows).map((use, index) => ({
    ...use,
    step: log.entries[index]?.step.step ?? 0,
    settled: !unfinished.some((group) => group.startedMs < use.endedMs && group.endedMs > use.startedMs),
    sampledTokens: sampled[index] ?? 0,
  }));
}

/** Steps whose figures are final; all of them where none is. */
export function settledUses(uses: readonly StepUse[]): readonly StepUse[] {
  const settled = uses.filter((use) => use.settled);
  return settled.length === 0 ? uses : settled;
}

/** Bubble ratio over some steps; null where no time passed. */
export const bubbleOf = (uses: readonly StepUse[]): number | null => bubbleRatio(totalUse(uses));

/**
 * One window for each entry, ascending and without overlap: from the end of the step before (or the start of the run) to
 * its own end. Time of a missing step belongs to nobody.
 */
export function windowsOf(entries: readonly RlLogEntry[]): readonly Span[] {
  let before: RlLogEntry | undefined;
  return entries.map((entry) => {
    const endedBefore = before?.step.endedMs ?? Number.NEGATIVE_INFINITY;
    const startedMs = Math.max(endedBefore, beginOf(entry, before));
    before = entry;
    return { startedMs, endedMs: Math.max(startedMs, entry.step.endedMs) };
  });
}

function beginOf({ step, timeline }: RlLogEntry, before: RlLogEntry | undefined): number {
  if (timeline.sinceMs !== undefined) return timeline.sinceMs;
  if (before?.step.step === step.step - 1) return before.step.endedMs;
  // nobody said when the run began: the first dispatch at the latest
  if (before === undefined && step.step === 1)
    return Math.min(step.startedMs, ...timeline.groups.map(({ dispatchedMs }) => dispatchedMs));
  return step.startedMs;
}

/** Everything that the entries know, pooled: what began in one step's time may be told by a later entry. */
export function activityOf(log: RlLog): ActivityLog {
  const { entries } = log;
  const ended = entries.flatMap(({ timeline }) =>
    timeline.groups.map(({ dispatchedMs, endedMs }) => ({ startedMs: dispatchedMs, endedMs })),
  );
  return {
    train: entries.flatMap(({ timeline }) => timeline.train),
    publish: entries.flatMap(({ timeline }) => timeline.publish),
    halted: entries.flatMap(({ timeline }) => timeline.halted ?? []),
    groups: [...ended, ...unfinishedGroups(entries)],
    calls: rolloutsOf(log).flatMap(({ calls }) => calls),
    paused: entries.flatMap(({ timeline }) => timeline.pausedServers),
    starting: startsOf(entries),
  };
}

export const rolloutsOf = ({
  entries,
  heldOut,
}: Pick<RlLog, 'entries' | 'heldOut'>): readonly RolloutDigest[] => [
  ...entries.flatMap(({ rollouts }) => rollouts),
  ...heldOut.flatMap(({ rollouts }) => rollouts ?? []),
];

/** Groups that an entry knows of and none tells the fate of; each until its end, or until it was seen last. */
export function unfinishedGroups(
  entries: readonly RlLogEntry[],
): readonly (Span & { readonly id: string })[] {
  const told = new Set(entries.flatMap(({ timeline }) => timeline.groups.map(({ id }) => id)));
  const open = new Map<string, Span & { readonly id: string }>();
  for (const { step, timeline } of entries)
    for (const { id, dispatchedMs, endedMs } of timeline.open ?? [])
      if (!told.has(id)) open.set(id, { id, startedMs: dispatchedMs, endedMs: endedMs ?? step.endedMs });
  return [...open.values()];
}

/** From each start of the run to the first dispatch after it. */
function startsOf(entries: readonly RlLogEntry[]): readonly Span[] {
  const windows = windowsOf(entries);
  const dispatches = entries
    .flatMap(({ timeline }) => [...timeline.groups, ...(timeline.open ?? [])])
    .map(({ dispatchedMs }) => dispatchedMs)
    .sort((a, b) => a - b);
  return windows.flatMap(({ startedMs, endedMs }, index) => {
    const before = windows[index - 1];
    const isStart =
      before === undefined ? entries[index]?.step.step === 1 : startedMs - before.endedMs > GAP_MS;
    if (!isStart) return [];
    const first = dispatches.find((ms) => ms >= startedMs) ?? endedMs;
    return [{ startedMs, endedMs: first }];
  });
}

function sampledIn(windows: readonly Span[], calls: RolloutDigest['calls']): readonly number[] {
  const sorted = calls.toSorted((a, b) => a.endedMs - b.endedMs);
  let at = 0;
  return windows.map(({ startedMs, endedMs }) => {
    let tokens = 0;
    for (let call = sorted[at]; call !== undefined && call.endedMs < endedMs; call = sorted[at]) {
      if (call.endedMs >= startedMs) tokens += call.sampledTokens;
      at += 1;
    }
    return tokens;
  });
}

/** Wall time of the run in its entries: stops between two starts are no part of it. */
export const wallOf = (entries: readonly RlLogEntry[]): number =>
  union(windowsOf(entries)).reduce((sum, { startedMs, endedMs }) => sum + (endedMs - startedMs), 0);

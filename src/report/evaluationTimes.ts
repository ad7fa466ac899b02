/** From the start to the end of one evaluation, Unix milliseconds of the worker that did it. */
export interface Interval {
  readonly startedMs: number;
  readonly endedMs: number;
}

/** How well an evaluation run used its slots. Milliseconds. */
export interface RunTimes {
  /** Time in which at least one evaluation ran: pauses and stops are left out. */
  readonly wallMs: number;
  /** Most evaluations at one moment. */
  readonly slots: number;
  /** Evaluations' time ÷ (slots × wall): below 1 when slots waited for work, or the last one ran alone. */
  readonly busy: number;
  /** max(longest test time, sum of test times ÷ slots): what no schedule of these tests can beat. */
  readonly limitMs: number;
  /** limit ÷ wall: 1 when nothing but tests takes time and no slot waits. */
  readonly efficiency: number;
}

/** Times of a run from its executed evaluations; null when none left its interval. */
export function runTimesOf(
  executed: readonly { readonly interval: Interval; readonly testsMs: number }[],
): RunTimes | null {
  if (executed.length === 0) return null;
  // at one moment an end comes before a start: a slot that is handed on is one slot
  const events = executed
    .flatMap(({ interval: { startedMs, endedMs } }) => [
      { atMs: startedMs, change: 1 },
      { atMs: endedMs, change: -1 },
    ])
    .toSorted((a, b) => a.atMs - b.atMs || a.change - b.change);
  let [running, slots, wallMs, sinceMs] = [0, 1, 0, 0];
  for (const { atMs, change } of events) {
    if (running > 0) wallMs += atMs - sinceMs;
    running += change;
    slots = Math.max(slots, running);
    sinceMs = atMs;
  }
  const tests = executed.map(({ testsMs }) => testsMs);
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const busyMs = sum(executed.map(({ interval }) => interval.endedMs - interval.startedMs));
  const limitMs = Math.max(...tests, sum(tests) / slots);
  return {
    wallMs,
    slots,
    busy: wallMs === 0 ? 1 : busyMs / (slots * wallMs),
    limitMs,
    efficiency: wallMs === 0 ? 1 : limitMs / wallMs,
  };
}

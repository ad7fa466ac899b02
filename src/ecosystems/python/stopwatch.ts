import type { RunRecord } from '../../domain/runs.ts';

type Durations = RunRecord['durations'];
type Phase = Exclude<keyof Durations, 'totalMs'>;

/** Wall times of a run's phases. A phase may be entered several times; its laps add up. */
export interface Stopwatch {
  /** Books the time since the last lap under a phase, or so much of it; the rest stays for the next lap. */
  lap(phase: Phase, ms?: number): void;
  /** The phase that was booked last, for heartbeats. */
  phase(): string;
  durations(): Durations;
}

export function createStopwatch(): Stopwatch {
  const startedAt = performance.now();
  const spent = { startMs: 0, treeMs: 0, installMs: 0, patchMs: 0, testsMs: 0, teardownMs: 0 };
  let lappedAt = startedAt;
  let latest = 'start';
  return {
    lap: (phase, ms = performance.now() - lappedAt) => {
      spent[phase] += ms;
      lappedAt += ms;
      latest = phase;
    },
    phase: () => latest,
    durations: () => ({
      totalMs: Math.round(performance.now() - startedAt),
      startMs: Math.round(spent.startMs),
      treeMs: Math.round(spent.treeMs),
      installMs: Math.round(spent.installMs),
      patchMs: Math.round(spent.patchMs),
      testsMs: Math.round(spent.testsMs),
      teardownMs: Math.round(spent.teardownMs),
    }),
  };
}

import type { ArtefactRef } from '../types.ts';
import type { Span } from './intervals.ts';

/** What became of a group: trained, or dropped and why. */
export type GroupFate = 'trained' | 'no_variance' | 'infra' | 'overlong' | 'stale';

/** Who was busy when, since the step before; the interval log is made of these lines. */
export interface StepTimeline {
  readonly groups: readonly {
    readonly id: string;
    readonly dispatchedMs: number;
    readonly endedMs: number;
    readonly fate: GroupFate;
    readonly trajectories: readonly ArtefactRef[];
    /** Mean of its members' rewards; null where infrastructure ended all of them. */
    readonly reward: number | null;
    readonly sampledTokens: number;
    /** Version trained on, or the newest when it was dropped, minus that of its oldest token. */
    readonly staleness: number;
    /** Verdicts found by containers and from the store. */
    readonly executed?: number;
    readonly served?: number;
  }[];
  readonly train: readonly Span[];
  /** Publishing and loading; may run beside training. */
  readonly publish: readonly Span[];
  readonly pausedServers: readonly (Span & { readonly server: string })[];
  /** What this entry's time begins with: the end of the step before, or the (re)start of the run. Absent: the former. */
  readonly sinceMs?: number;
  /** Largest difference between servers' log-probabilities and the trainer's that probes found; absent without a probe. */
  readonly parityMax?: number;
  /** When somebody had paused the run. */
  readonly halted?: readonly Span[];
  /** Groups that ran or waited for a step when this was recorded: what they asked of the servers is told with their fate. */
  readonly open?: readonly {
    readonly id: string;
    readonly dispatchedMs: number;
    readonly endedMs: number | null;
  }[];
}

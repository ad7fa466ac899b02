/** Which faults hit whom and when: drawn from a seed, so that a soak can be repeated. */
import { shuffled } from '../../src/domain/shuffled.ts';

export type Target = 'worker' | 'server' | 'dockerd';
export type FaultSignal = 'SIGKILL' | 'SIGSTOP' | 'SIGTERM';

export interface Fault {
  readonly target: Target;
  /** SIGSTOP is followed by SIGCONT; the others by a new start. */
  readonly signal: FaultSignal;
  /** Time between the end of the last fault and this one. */
  readonly afterMs: number;
  /** How long the target is frozen, or away until it is started again. */
  readonly awayMs: number;
}

type Kind = Pick<Fault, 'target' | 'signal'>;

const KINDS: readonly Kind[] = [
  { target: 'worker', signal: 'SIGKILL' },
  { target: 'worker', signal: 'SIGSTOP' },
  { target: 'server', signal: 'SIGKILL' },
  { target: 'server', signal: 'SIGSTOP' },
  { target: 'dockerd', signal: 'SIGKILL' },
  { target: 'dockerd', signal: 'SIGSTOP' },
  { target: 'dockerd', signal: 'SIGTERM' }, // a restart by the administrator: it ends its containers first
];

const MIN_AFTER_MS = 300;
const MAX_AFTER_MS = 6_000; // stages last seconds: every moment of every stage can be hit
const MAX_FROZEN_MS = 18_000; // some outlast the heartbeat timeout of 15 s, and somebody else takes the work over
const MAX_AWAY_MS = 3_000;

/** Small numbers in [0, 1) that a seed gives again. */
export function createRandom(seed: number): () => number {
  let state = seed % 2 ** 31;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
}

/** `count` faults: every kind in turn in random order, and every target once before any comes again. */
export function planFaults(
  count: number,
  random: () => number,
  from: readonly Kind[] = KINDS,
): readonly Fault[] {
  const between = (low: number, high: number): number => Math.round(low + random() * (high - low));
  const kinds: Kind[] = [];
  while (kinds.length < count) kinds.push(...targetsFirst(shuffled(from, random)));
  return kinds.slice(0, count).map((kind) => ({
    ...kind,
    afterMs: between(MIN_AFTER_MS, MAX_AFTER_MS),
    awayMs: kind.signal === 'SIGSTOP' ? between(1_000, MAX_FROZEN_MS) : between(0, MAX_AWAY_MS),
  }));
}

function targetsFirst<T extends Pick<Fault, 'target'>>(kinds: readonly T[]): readonly T[] {
  const first = kinds.filter((kind, index) => kinds.findIndex((one) => one.target === kind.target) === index);
  return [...first, ...kinds.filter((kind) => !first.includes(kind))];
}

import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import type { PolicyProbe } from './types.ts';

/** fp32 servers and trainers agree to 1e-5; what differs by more is something else. */
export const DEFAULT_NOISE = 1e-3;
/** From so many times the noise on, what a server serves is not what the trainer published, whatever it is nearer to. */
const LIMIT = 5;
const MAX_TOKENS = 128; // a server is asked for each place with everything before it

export interface ProbeResult {
  readonly parityMax: number;
  readonly probe: 'distinct' | 'indistinguishable' | 'first';
}

/**
 * Judges a server's log-probabilities of the probe's tokens: near to the version, and where it differs from the one
 * before by more than noise, nearer to it than to that. Throws WrongPolicy with the differences; `what` names server
 * and version. Pure.
 */
export function judgeProbe(
  what: string,
  served: readonly number[],
  probe: PolicyProbe,
  noise: number,
): ProbeResult {
  const { expected, previous } = probe;
  const length = probe.tokenIds.length - 1;
  if (
    length < 1 ||
    length > MAX_TOKENS ||
    expected.length !== length ||
    (previous !== null && previous.length !== length)
  ) {
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `The probe of ${what} has ${probe.tokenIds.length} tokens with ${expected.length} and ${previous?.length ?? 'no'} log-probabilities.`,
    );
  }
  const parityMax = largest(served, expected);
  const wrong = (why: string): Error =>
    permanentFailure(
      FAILURE_TYPES.wrongPolicy,
      `${what} serves something else: ${why} (largest difference of a log-probability ${parityMax.toPrecision(3)}, noise ${noise}).`,
    );
  const gap = previous === null ? 0 : largest(expected, previous);
  if (previous !== null && gap > noise && mean(served, previous) <= mean(served, expected)) {
    throw wrong('it is nearer to the version before');
  }
  if (!(parityMax <= LIMIT * noise)) {
    // also for NaN
    const rounding = noise === DEFAULT_NOISE ? ', unless it computes in another dtype than float32' : '';
    throw wrong(`it is not what the trainer's version says${rounding}`);
  }
  if (previous === null) return { parityMax, probe: 'first' };
  return { parityMax, probe: gap > noise ? 'distinct' : 'indistinguishable' };
}

const differences = (a: readonly number[], b: readonly number[]): readonly number[] =>
  a.map((value, at) => Math.abs(value - (b[at] ?? Number.NaN)));

const largest = (a: readonly number[], b: readonly number[]): number => Math.max(...differences(a, b));

const mean = (a: readonly number[], b: readonly number[]): number =>
  differences(a, b).reduce((total, one) => total + one, 0) / a.length;

import type { ResourceUse, ServerCause, TrainerCause } from '../domain/rl/intervals.ts';

/** Words, colours and number formats that the pages and the status of a training run share. */

export interface KindWords {
  readonly short: string;
  readonly long: string;
  readonly color: string;
}

const RUN_PAUSED: KindWords = { short: 'run paused', long: 'somebody paused the run', color: '#a3a9b0' };
const BUSY_COLOR = '#2f6fd0';

/** Kinds of the trainer's time, in the order in which legends name them. */
export const TRAINER_WORDS: Readonly<Record<'busy' | TrainerCause, KindWords>> = {
  busy: { short: 'training', long: 'forward, backward and the optimiser', color: BUSY_COLOR },
  publish: { short: 'publishing', long: 'a version is written or loaded', color: '#e0a526' },
  paused: RUN_PAUSED,
  starved: { short: 'starved', long: 'nothing to train', color: '#d9534f' },
};

/** Kinds of a policy server's time. */
export const SERVER_WORDS: Readonly<Record<'busy' | ServerCause, KindWords>> = {
  busy: { short: 'sampling', long: 'a request runs', color: BUSY_COLOR },
  paused: { short: 'reloading', long: 'it stands still while weights are loaded', color: '#e0a526' },
  agents: {
    short: 'agents away',
    long: 'groups run, and all are in the sandbox or in grading',
    color: '#3f9e94',
  },
  halted: RUN_PAUSED,
  starting: { short: 'starting', long: 'nothing was dispatched yet', color: '#c3c9d0' },
  admission: {
    short: 'admission',
    long: 'no group runs: the staleness bound lets none in',
    color: '#d9534f',
  },
};

export const percent = (share: number): string => {
  const hundredths = 100 * share;
  return `${hundredths > 0 && hundredths < 9.95 ? hundredths.toFixed(1) : Math.round(hundredths)} %`;
};

/** What a resource waited for, the longest first, as shares of the wall time. */
export const idleShares = <Cause extends string>(
  { idleMs, wallMs }: ResourceUse<Cause>,
  causes: readonly Cause[],
  words: Readonly<Record<Cause, KindWords>>,
): readonly (KindWords & { readonly share: string })[] =>
  causes
    .filter((cause) => idleMs[cause] > 0)
    .toSorted((a, b) => idleMs[b] - idleMs[a])
    .map((cause) => ({ ...words[cause], share: percent(idleMs[cause] / wallMs) }));

/** So many per unit of time. */
export function rate(count: number, wallMs: number, unitMs: number): string {
  if (wallMs <= 0) return '–';
  const value = (count * unitMs) / wallMs;
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toFixed(1);
}

/** Host and port of an address; the address itself where it is none. */
export function serverName(address: string): string {
  try {
    return new URL(address).host || address;
  } catch {
    return address;
  }
}

/** `steps 3, 5 to 7`, from ascending whole numbers. */
export function rowsOfNumbers(steps: readonly number[]): string {
  const rows: [number, number][] = [];
  for (const step of steps) {
    const last = rows.at(-1);
    if (last !== undefined && step === last[1] + 1) last[1] = step;
    else rows.push([step, step]);
  }
  const words = rows.map(([from, to]) => (from === to ? `${from}` : `${from} to ${to}`));
  return `step${steps.length === 1 ? '' : 's'} ${words.join(', ')}`;
}

export const NUMBER = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

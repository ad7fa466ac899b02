import type { CutoffPolicy, IsoTime } from '../../domain/types.ts';

const iso = (time: number): IsoTime => new Date(time).toISOString().replace(/\.\d{3}Z$/, 'Z');

/** Months that one rounding step spans. */
const QUARTER_MONTHS = 3;

function floorTo(months: number, time: IsoTime): number {
  const date = new Date(time);
  return Date.UTC(date.getUTCFullYear(), Math.floor(date.getUTCMonth() / months) * months, 1);
}

/**
 * The moment up to which the index is believed when a lock is resolved. `quarter` and `month`: the base's publication
 * rounded down, so that neighbours resolve alike (DESIGN section 4). `exact`: one second before the fix was public.
 * Never at or after the fix.
 */
export function cutoffFor(policy: CutoffPolicy, baseCreatedAt: IsoTime, createdAt: IsoTime): IsoTime {
  const justBefore = Date.parse(createdAt) - 1_000;
  switch (policy) {
    case 'quarter':
      return iso(Math.min(floorTo(QUARTER_MONTHS, baseCreatedAt), justBefore));
    case 'month':
      return iso(Math.min(floorTo(1, baseCreatedAt), justBefore));
    case 'exact':
      return iso(justBefore);
  }
}

/**
 * Build back ends and runners of a date cannot work on a Python that is younger than they are, e.g. pytest 4 on
 * Python 3.9. Where the runtime was released after the cut-off these tools get a later one: the quarter that begins
 * two quarters after the runtime's release, by which time they had caught up. null when the cut-off serves.
 */
export function toolCutoff(cutoff: IsoTime, runtimeReleasedAt: string): IsoTime | null {
  if (Date.parse(runtimeReleasedAt) <= Date.parse(cutoff)) return null;
  const date = new Date(floorTo(QUARTER_MONTHS, runtimeReleasedAt));
  date.setUTCMonth(date.getUTCMonth() + 2 * QUARTER_MONTHS);
  return iso(date.getTime());
}

/**
 * Editable installs need PEP 660, which back ends learnt during 2022 (setuptools 64, flit-core 3.4, poetry-core 1.0.8):
 * older dates take them from here. Build tools are not under test, so the calendar may give way.
 */
const EDITABLE_INSTALLS_SINCE: IsoTime = '2022-10-01T00:00:00Z';

/**
 * Cut-off of build back ends. They are not under test and weigh more than everything else in most environments, so they
 * are taken as of the year's beginning: one setuptools per year rather than four. Never before editable installs, nor
 * before the runtime was known to them.
 */
export function backendCutoff(cutoff: IsoTime, runtimeReleasedAt: string): IsoTime {
  const tools = toolCutoff(cutoff, runtimeReleasedAt) ?? '';
  return [iso(floorTo(12, cutoff)), EDITABLE_INSTALLS_SINCE, tools].toSorted().at(-1) ?? cutoff;
}

/** The same day so many years later (negative: earlier). */
export function shiftYears(time: IsoTime, years: number): IsoTime {
  const date = new Date(time);
  date.setUTCFullYear(date.getUTCFullYear() + years);
  return iso(date.getTime());
}

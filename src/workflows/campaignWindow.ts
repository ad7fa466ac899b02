/** The campaign's state as plain data with small verbs: no Temporal calls, so that it reads like the arithmetic it is. */
import type { PageEntry } from '../activities/types.ts';
import { admissible, capped, insertOrdered, ordered, surplusOf } from '../domain/admission.ts';
import type { Caps, Positions } from '../domain/admission.ts';
import { MAX_WIDTH } from '../domain/messages.ts';
import { sourceLabel } from '../domain/sourceSpec.ts';
import type {
  CampaignCarried,
  CampaignInput,
  CampaignProgress,
  CampaignState,
  FailedSource,
  FunnelCounts,
  RunningInstance,
  SourceProgress,
} from '../domain/campaign.ts';
import type { InstanceReport, InstanceResult, StopMode } from '../domain/messages.ts';
import type { RejectionReason } from '../domain/types.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export interface MinedPage {
  readonly entries: readonly PageEntry[];
  readonly nextCursor: string | null;
}

export interface Window {
  readonly input: CampaignInput;
  /** Near a cap, more is started than is needed if all of it validates; false only for runs begun before this was so. */
  readonly admitsAhead: boolean;
  readonly caps: Caps;
  width: number;
  paused: boolean;
  stopping: StopMode | null;
  state: CampaignState;
  readonly sources: Mutable<SourceProgress>[];
  /** The page that each source's `taken` counts in, once it is here. */
  readonly pages: Map<number, MinedPage>;
  /** Pages on their way, by source. */
  readonly fetching: Map<number, Promise<void>>;
  readonly running: Map<string, RunningInstance>;
  /** Positions of accepted instances by source; kept only under a cap. */
  readonly accepted: readonly number[][];
  counts: FunnelCounts;
  failedSources: readonly FailedSource[];
  readonly runNumber: number;
  /** Children started by this run of the workflow. */
  started: number;
  /** Ids in flight at the last look-up: those still here at the next one have been silent for a whole interval. */
  lookedAt: readonly string[];
  changed: boolean;
  reconcileDue: boolean;
  cancelRequested: boolean;
  /** Ids that were asked to end by this run, as surplus. */
  readonly dismissed: Set<string>;
  ending: boolean;
}

const freshSource: SourceProgress = {
  cursor: null,
  page: 0,
  taken: 0,
  admitted: 0,
  exhausted: false,
  accepted: 0,
  running: 0,
};

export function newWindow(input: CampaignInput, admitsAhead: boolean): Window {
  const { carried, options } = input;
  return {
    input,
    admitsAhead,
    caps: {
      perSource: input.sources.map(({ maxInstances }) => maxInstances ?? null),
      overall: options.maxInstances,
    },
    width: carried?.width ?? options.width,
    paused: carried?.paused ?? false,
    stopping: carried?.stopping ?? null,
    state: 'running',
    sources: (carried?.sources ?? input.sources.map(() => freshSource)).map((source) => ({ ...source })),
    pages: new Map(),
    fetching: new Map(),
    running: new Map((carried?.running ?? []).map((instance) => [instance.id, instance])),
    accepted: ordered(input.sources.length, carried?.acceptedPositions ?? []),
    counts: carried?.counts ?? { mined: 0, rejected: {}, accepted: 0, containerRuns: 0 },
    failedSources: carried?.failedSources ?? [],
    runNumber: carried?.runNumber ?? 1,
    started: 0,
    lookedAt: [],
    changed: false,
    reconcileDue: false,
    cancelRequested: carried?.stopping === 'cancel',
    dismissed: new Set(),
    ending: false,
  };
}

/** Arrays and numbers only: a Map in a payload would arrive as `{}`. */
export const carriedOf = (window: Window): CampaignCarried => ({
  width: window.width,
  paused: window.paused,
  stopping: window.stopping,
  sources: window.sources.map((source) => ({ ...source })),
  running: [...window.running.values()],
  acceptedPositions: window.accepted.flat(),
  counts: window.counts,
  failedSources: window.failedSources,
  runNumber: window.runNumber + 1,
});

/** Free places in the window. */
export const room = (window: Window): number =>
  window.paused || window.stopping !== null || window.ending
    ? 0
    : Math.max(0, Math.min(window.width, MAX_WIDTH) - window.running.size);

function* positionsIn(running: Window['running']): Generator<number> {
  for (const { position } of running.values()) yield position;
}

const positionsOf = (window: Window): Positions => ({
  accepted: window.accepted,
  running: ordered(window.sources.length, positionsIn(window.running)),
});

/** Sources whose next entry may be admitted, the most needed first. */
export const admissibleSources = (window: Window): readonly number[] =>
  admissible(window.sources, window.caps, positionsOf(window), window.admitsAhead ? undefined : 1);

/** Instances in flight that were started ahead of their need, and are not needed any more. */
export function surplusRunning(window: Window): readonly string[] {
  if (!window.admitsAhead) return [];
  const surplus = new Set(surplusOf(window.caps, positionsOf(window)));
  return [...window.running.values()].filter(({ position }) => surplus.has(position)).map(({ id }) => id);
}

/** Nothing runs and nothing may be admitted any more. */
export const windowIsDone = (window: Window): boolean =>
  window.running.size === 0 && (window.stopping !== null || admissibleSources(window).length === 0);

export function addRunning(window: Window, instance: RunningInstance): void {
  window.running.set(instance.id, instance);
  const source = window.sources[instance.position % window.sources.length];
  if (source !== undefined) source.running += 1;
}

/** Counts a child's end, once: a second report for the same id finds nothing in flight. */
export function settle(window: Window, { instanceId, result }: InstanceReport): void {
  const instance = window.running.get(instanceId);
  if (instance === undefined) return;
  window.running.delete(instanceId);
  const source = window.sources[instance.position % window.sources.length];
  if (source !== undefined) source.running -= 1;
  countResult(window, instance.position, result);
  window.changed = true;
}

export function countResult(window: Window, position: number, result: InstanceResult): void {
  const counts = { ...window.counts, containerRuns: window.counts.containerRuns + result.containerRuns };
  if (result.outcome === 'published') {
    counts.accepted += 1;
    const source = window.sources[position % window.sources.length];
    if (source !== undefined) source.accepted += 1;
    if (capped(window.caps)) insertOrdered(window.accepted, position);
  }
  window.counts = counts;
  if (result.outcome === 'rejected') countRejection(window, result.rejection.reason);
}

export function countRejection(window: Window, reason: RejectionReason): void {
  const { rejected } = window.counts;
  window.counts = { ...window.counts, rejected: { ...rejected, [reason]: (rejected[reason] ?? 0) + 1 } };
}

export function countMined(window: Window): void {
  window.counts = { ...window.counts, mined: window.counts.mined + 1 };
}

const stateOf = (window: Window): CampaignState => {
  if (window.state !== 'running') return window.state;
  if (window.stopping !== null) return 'stopping';
  if (window.paused) return 'paused';
  return window.running.size === 0 && window.fetching.size > 0 ? 'mining' : 'running';
};

export const progressOf = (window: Window): CampaignProgress => ({
  name: window.input.name,
  state: stateOf(window),
  width: window.width,
  counts: window.counts,
  running: [...window.running.keys()],
  sources: window.sources.map(({ admitted, accepted, running, exhausted }, index) => ({
    label: labelOf(window, index),
    admitted,
    accepted,
    running,
    exhausted,
  })),
  failedSources: window.failedSources,
  runNumber: window.runNumber,
});

export const labelOf = (window: Window, index: number): string => {
  const source = window.input.sources[index];
  return source === undefined ? String(index) : sourceLabel(source);
};

/** The funnel as Markdown, for Temporal UI. */
export function detailsOf(window: Window): string {
  const { counts } = window;
  const rejected = Object.entries(counts.rejected).toSorted(([, a], [, b]) => b - a);
  return [
    `**${stateOf(window)}**, window ${window.running.size} of ${window.width}, ${counts.containerRuns} container runs`,
    '',
    '| source | admitted | running | accepted |',
    '| --- | ---: | ---: | ---: |',
    ...window.sources.map(
      (source, index) =>
        `| ${labelOf(window, index)} | ${source.admitted} | ${source.running} | ${source.accepted} |`,
    ),
    `| **all** | ${counts.mined} | ${window.running.size} | ${counts.accepted} |`,
    '',
    ...(rejected.length === 0
      ? []
      : ['| rejected | count |', '| --- | ---: |', ...rejected.map(([reason, n]) => `| ${reason} | ${n} |`)]),
    ...window.failedSources.map(({ label, reason }) => `\n**${label}**: ${reason}`),
  ].join('\n');
}

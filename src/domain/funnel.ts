import { INSTANCE_STAGES } from './messages.ts';
import type { InstanceResult, InstanceStage } from './messages.ts';
import { REJECTION_REASONS } from './types.ts';
import type { EnvironmentKey, RealiseOutcome, Rejection, RejectionReason } from './types.ts';

/** How a campaign narrowed its candidates down, what that cost, and why each one stayed behind. `funnel.json`. */
export interface Funnel {
  readonly schema: 1;
  readonly campaign: string;
  readonly finished: boolean;
  /** Stages in the pipeline's order, with the number of candidates that reached each; the last is `published`. */
  readonly stages: readonly { readonly stage: string; readonly count: number }[];
  /** Most frequent first, with a few examples each. */
  readonly rejections: readonly {
    readonly reason: RejectionReason;
    readonly count: number;
    readonly examples: readonly { readonly instanceId: string; readonly detail: string }[];
  }[];
  readonly mined: number;
  readonly published: number;
  /** Validated, but beyond a cap by source order. */
  readonly surplus: number;
  /** Mined, and not brought to an end: the caps were met, the campaign was stopped, or infrastructure failed. */
  readonly open: number;
  readonly containerRuns: { readonly executed: number; readonly maxPerPublished: number };
  readonly gold: { readonly resolved: number; readonly total: number };
  readonly nop: { readonly resolved: number; readonly total: number };
  readonly durations: readonly DurationStats[];
  readonly environments: {
    readonly count: number;
    /** Median of resolving plus realising a key for the first time. */
    readonly p50Ms: number | null;
    readonly fullBytes: number;
    readonly prunedBytes: number;
    /** Keys whose pruned variant failed its proof, with what differed; absent in files of earlier versions. */
    readonly exceptions?: readonly { readonly key: EnvironmentKey; readonly detail: string }[];
  };
}

export interface DurationStats {
  readonly stage: string;
  readonly count: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly maxMs: number;
}

export interface FunnelInput {
  readonly campaign: string;
  readonly finished: boolean;
  /** Container runs of tests, of every instance that was started. */
  readonly containerRuns: number;
  /** Every mined entry, in the campaign's order. */
  readonly entries: readonly FunnelEntry[];
  /** Ids that are in the dataset. */
  readonly published: ReadonlySet<string>;
  readonly grades: readonly { readonly gold: boolean; readonly nop: boolean }[];
  /** Stage name without its environment (`before-1`, `resolve`) and its duration, of every recorded stage. */
  readonly durations: readonly { readonly stage: string; readonly durationMs: number }[];
  readonly environments: readonly {
    readonly key: EnvironmentKey;
    readonly resolveMs: number;
    readonly realised: RealiseOutcome | null;
    /** What differed between its variants; null when they agreed or nobody looked. */
    readonly difference?: string | null;
  }[];
}

export type FunnelEntry =
  | { readonly instanceId: string; readonly minedRejection: Rejection }
  /** null: not ended, or ended by infrastructure. */
  | { readonly instanceId: string; readonly result: InstanceResult | null };

const EXAMPLES_PER_REASON = 3;

/** Counts a campaign's entries into its funnel. */
export function buildFunnel(input: FunnelInput): Funnel {
  const { entries, published } = input;
  const results = entries.map(resultOf);
  const accepted = results.filter((result) => result?.outcome === 'published');
  return {
    schema: 1,
    campaign: input.campaign,
    finished: input.finished,
    stages: stagesOf(results, published.size),
    rejections: rejectionsOf(entries),
    mined: entries.length,
    published: published.size,
    surplus: accepted.length - published.size,
    open: results.filter((result) => result === null).length,
    containerRuns: {
      executed: input.containerRuns,
      maxPerPublished: entries
        .filter(({ instanceId }) => published.has(instanceId))
        .reduce((most, entry) => Math.max(most, resultOf(entry)?.containerRuns ?? 0), 0),
    },
    gold: { resolved: input.grades.filter(({ gold }) => gold).length, total: input.grades.length },
    nop: { resolved: input.grades.filter(({ nop }) => nop).length, total: input.grades.length },
    durations: durationStats(input.durations),
    environments: environmentStats(input.environments),
  };
}

/** An entry rejected when mined is a result that got no further than its first stage. */
function resultOf(entry: FunnelEntry): InstanceResult | null {
  if ('result' in entry) return entry.result;
  return { outcome: 'rejected', rejection: entry.minedRejection, stage: 'mine', containerRuns: 0 };
}

function stagesOf(
  results: readonly (InstanceResult | null)[],
  published: number,
): readonly { readonly stage: string; readonly count: number }[] {
  const furthest = (result: InstanceResult | null): number => {
    if (result === null) return 0;
    return result.outcome === 'rejected' ? INSTANCE_STAGES.indexOf(result.stage) : INSTANCE_STAGES.length;
  };
  const reached = results.map(furthest);
  const names: Partial<Record<InstanceStage, string>> = { mine: 'mined', publish: 'validated' };
  return [
    ...INSTANCE_STAGES.map((stage, index) => ({
      stage: names[stage] ?? stage,
      count: reached.filter((far) => far >= index).length,
    })),
    { stage: 'published', count: published },
  ];
}

function rejectionsOf(entries: readonly FunnelEntry[]): Funnel['rejections'] {
  const byReason = new Map<RejectionReason, { instanceId: string; detail: string }[]>();
  for (const entry of entries) {
    const result = resultOf(entry);
    if (result?.outcome !== 'rejected') continue;
    const { reason, detail } = result.rejection;
    byReason.set(reason, [...(byReason.get(reason) ?? []), { instanceId: entry.instanceId, detail }]);
  }
  return REJECTION_REASONS.flatMap((reason) => {
    const examples = byReason.get(reason) ?? [];
    return examples.length === 0
      ? []
      : [{ reason, count: examples.length, examples: examples.slice(0, EXAMPLES_PER_REASON) }];
  }).sort((a, b) => b.count - a.count);
}

function durationStats(durations: FunnelInput['durations']): readonly DurationStats[] {
  const byStage = Map.groupBy(durations, ({ stage }) => stage);
  return [...byStage]
    .map(([stage, group]) => {
      const sorted = group.map(({ durationMs }) => durationMs).sort((a, b) => a - b);
      return {
        stage,
        count: sorted.length,
        p50Ms: quantile(sorted, 0.5),
        p90Ms: quantile(sorted, 0.9),
        maxMs: sorted.at(-1) ?? 0,
      };
    })
    .sort((a, b) => (a.stage < b.stage ? -1 : 1));
}

function environmentStats(environments: FunnelInput['environments']): Funnel['environments'] {
  const realised = environments.flatMap(({ resolveMs, realised: outcome }) =>
    outcome?.ok === true ? [{ ...outcome, resolveMs }] : [],
  );
  const times = realised.map(({ resolveMs, durationMs }) => resolveMs + durationMs).sort((a, b) => a - b);
  return {
    count: realised.length,
    p50Ms: times.length === 0 ? null : quantile(times, 0.5),
    fullBytes: realised.reduce((sum, { fullBytes }) => sum + fullBytes, 0),
    prunedBytes: realised.reduce((sum, { prunedBytes }) => sum + prunedBytes, 0),
    exceptions: environments.flatMap(({ key, difference }) =>
      difference === null || difference === undefined ? [] : [{ key, detail: difference }],
    ),
  };
}

/** Nearest-rank quantile of a sorted list. */
const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0;

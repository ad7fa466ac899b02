import type { RlManifest, RlOptions } from '../domain/rl/options.ts';
import type { RlStep } from '../domain/rl/messages.ts';
import type { GroupFate } from '../domain/rl/timeline.ts';
import { isInfra } from '../domain/rl/trajectory.ts';
import type { EpisodeEnd } from '../domain/rl/trajectory.ts';
import { totalUse } from '../domain/rl/intervals.ts';
import type { WindowUse } from '../domain/rl/intervals.ts';
import type { RlLog, RolloutDigest } from './rlLog.ts';
import { bubbleOf, settledUses, stepUses, wallOf } from './rlTimes.ts';
import type { StepUse } from './rlTimes.ts';

/** What the pages of a training run show, computed from its log. Pure. */

export const MOVING_STEPS = 20;
const ENDS_STEPS = 10; // the demo compares the first and the last ten steps

export interface RlReport {
  readonly run: string;
  readonly state: string;
  readonly note: string;
  readonly options: RlOptions;
  readonly manifest: RlManifest;
  readonly steps: readonly StepRow[];
  readonly heldOut: readonly { readonly step: number; readonly reward: number; readonly episodes: number }[];
  readonly missing: readonly number[];
  readonly unreadable: number;
  readonly startedMs: number | null;
  readonly endedMs: number | null;
  /** Without the time between a stop and the next start. */
  readonly wallMs: number;
  readonly uses: readonly StepUse[];
  /** Over all steps whose figures are final. */
  readonly total: Omit<WindowUse, 'startedMs' | 'endedMs'>;
  readonly bubble: number | null;
  readonly fates: readonly FateRow[];
  readonly ends: readonly EndRow[];
  /** null where the log does not say. */
  readonly verdicts: { readonly executed: number; readonly served: number } | null;
  readonly figures: RlFigures;
  readonly log: RlLog;
}

/** One step of the curves. */
export interface StepRow extends RlStep {
  /** Mean reward of this and the steps before it, `MOVING_STEPS` at most. */
  readonly movingReward: number;
  readonly bubble: number | null;
  readonly settled: boolean;
  readonly wallMs: number;
  readonly sampledTokens: number;
  /** Sampled by groups that were dropped since the step before. */
  readonly droppedTokens: number;
}

export const FATES: readonly GroupFate[] = ['trained', 'no_variance', 'infra', 'overlong', 'stale'];

/** What became of groups, and how long their episodes were: who drops long ones learns from short ones. */
export interface FateRow {
  readonly fate: GroupFate;
  readonly groups: number;
  readonly tokens: number;
  /** Of its episodes that infrastructure did not end; null for none. */
  readonly tokensPerEpisode: number | null;
  readonly meanReward: number | null;
  readonly meanMs: number | null;
}

export interface EndRow {
  readonly end: EpisodeEnd;
  readonly episodes: number;
  readonly meanReward: number | null;
  readonly meanTokens: number;
  readonly meanTurns: number;
}

/** The few figures of a run that scripts ask for; `figures.json` beside its report. Shares are of 1. */
export interface RlFigures {
  readonly steps: number;
  readonly reward_first: number | null;
  readonly reward_last: number | null;
  readonly held_out_last: number | null;
  readonly staleness_max: number | null;
  readonly parity_max: number | null;
  readonly bubble: number | null;
  /** Idle share of each resource by cause. */
  readonly idle: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly minutes: number;
  readonly steps_per_hour: number | null;
  readonly tokens_per_s_sampled: number | null;
  readonly tokens_per_s_trained: number | null;
  readonly tokens_wasted: number | null;
  readonly executed: number | null;
  readonly served: number | null;
  readonly missing_steps: readonly number[];
}

export interface RlReportInput {
  readonly log: RlLog;
  readonly options: RlOptions;
  readonly manifest: RlManifest;
  readonly state: string;
  readonly note: string;
}

export function buildRlReport({ log, options, manifest, state, note }: RlReportInput): RlReport {
  const uses = stepUses(log, manifest.servers);
  const settled = settledUses(uses);
  const steps = stepRows(log, uses);
  const parts = {
    run: log.run,
    state,
    note,
    options,
    manifest,
    log,
    steps,
    heldOut: heldOutOf(log),
    missing: log.missing,
    unreadable: log.entries.reduce((sum, { unreadable }) => sum + unreadable.length, 0),
    startedMs: uses[0]?.startedMs ?? null,
    endedMs: uses.at(-1)?.endedMs ?? null,
    wallMs: wallOf(log.entries),
    uses,
    total: totalUse(settled),
    bubble: bubbleOf(settled),
    fates: fatesOf(log),
    ends: endsOf(log.entries.flatMap(({ rollouts }) => rollouts)),
    verdicts: verdictsOf(log),
  };
  return { ...parts, figures: figuresOf(parts) };
}

/** Mean of numbers; null for none. */
export const meanOf = (numbers: readonly number[]): number | null =>
  numbers.length === 0 ? null : sumOf(numbers) / numbers.length;

const largest = (numbers: readonly number[]): number | null =>
  numbers.length === 0 ? null : Math.max(...numbers);

const sumOf = (numbers: readonly number[]): number => numbers.reduce((sum, one) => sum + one, 0);

function stepRows({ entries }: RlLog, uses: readonly StepUse[]): readonly StepRow[] {
  return entries.map(({ step, timeline }, index) => {
    const use = uses[index];
    const window = entries.slice(Math.max(0, index + 1 - MOVING_STEPS), index + 1);
    return {
      ...step,
      movingReward: meanOf(window.map((entry) => entry.step.reward)) ?? 0,
      bubble: use === undefined ? null : bubbleOf([use]),
      settled: use?.settled ?? false,
      wallMs: use === undefined ? 0 : use.endedMs - use.startedMs,
      sampledTokens: use?.sampledTokens ?? 0,
      droppedTokens: sumOf(
        timeline.groups.filter(({ fate }) => fate !== 'trained').map(({ sampledTokens }) => sampledTokens),
      ),
    };
  });
}

/** Scores of their own records, and those that steps carry. */
function heldOutOf({ heldOut, entries }: RlLog): RlReport['heldOut'] {
  const known = new Map<number, RlReport['heldOut'][number]>();
  for (const { step } of entries)
    if (step.heldOut !== undefined)
      known.set(step.step, { step: step.step, reward: step.heldOut, episodes: 0 });
  for (const { step, reward, episodes } of heldOut) known.set(step, { step, reward, episodes });
  return [...known.values()].toSorted((a, b) => a.step - b.step);
}

function fatesOf({ entries }: RlLog): readonly FateRow[] {
  const groups = entries.flatMap(({ timeline }) => timeline.groups);
  const rollouts = Map.groupBy(
    entries.flatMap((entry) => entry.rollouts),
    ({ group }) => group,
  );
  return FATES.map((fate) => {
    const own = groups.filter((group) => group.fate === fate);
    const episodes = own
      .flatMap(({ id }) => (rollouts.get(id) ?? []).flatMap((rollout) => rollout.episodes))
      .filter(({ end }) => !isInfra(end));
    return {
      fate,
      groups: own.length,
      tokens: sumOf(own.map(({ sampledTokens }) => sampledTokens)),
      tokensPerEpisode: meanOf(episodes.map(({ sampledTokens }) => sampledTokens)),
      meanReward: meanOf(own.flatMap(({ reward }) => (reward === null ? [] : [reward]))),
      meanMs: meanOf(own.map(({ dispatchedMs, endedMs }) => endedMs - dispatchedMs)),
    };
  });
}

function endsOf(rollouts: readonly RolloutDigest[]): readonly EndRow[] {
  const byEnd = Map.groupBy(
    rollouts.flatMap(({ episodes }) => episodes),
    ({ end }) => end,
  );
  return [...byEnd]
    .map(([end, episodes]) => ({
      end,
      episodes: episodes.length,
      meanReward: meanOf(episodes.flatMap(({ reward }) => (reward === null ? [] : [reward]))),
      meanTokens: meanOf(episodes.map(({ sampledTokens }) => sampledTokens)) ?? 0,
      meanTurns: meanOf(episodes.map(({ turns }) => turns)) ?? 0,
    }))
    .toSorted((a, b) => b.episodes - a.episodes);
}

function verdictsOf({ entries }: RlLog): RlReport['verdicts'] {
  const groups = entries.flatMap(({ timeline }) => timeline.groups);
  if (groups.every(({ executed, served }) => executed === undefined && served === undefined)) return null;
  return {
    executed: sumOf(groups.map(({ executed }) => executed ?? 0)),
    served: sumOf(groups.map(({ served }) => served ?? 0)),
  };
}

function figuresOf(report: Omit<RlReport, 'figures'>): RlFigures {
  const { steps, wallMs, total } = report;
  const perSecond = (count: number): number | null => (wallMs === 0 ? null : (count * 1000) / wallMs);
  const tokens = sumOf(report.fates.map((row) => row.tokens));
  const trained = report.fates.find(({ fate }) => fate === 'trained')?.tokens ?? 0;
  const shares = ({ wallMs: wall, idleMs }: { readonly wallMs: number; readonly idleMs: object }) =>
    Object.fromEntries(
      Object.entries(idleMs as Record<string, number>).map(([cause, ms]) => [
        cause,
        wall === 0 ? 0 : ms / wall,
      ]),
    );
  return {
    steps: steps.at(-1)?.step ?? 0,
    reward_first: meanOf(steps.slice(0, ENDS_STEPS).map(({ reward }) => reward)),
    reward_last: meanOf(steps.slice(-ENDS_STEPS).map(({ reward }) => reward)),
    held_out_last: report.heldOut.at(-1)?.reward ?? null,
    staleness_max: largest(steps.map(({ staleness }) => staleness.max)),
    parity_max: largest(report.log.entries.flatMap(({ timeline }) => timeline.parityMax ?? [])),
    bubble: report.bubble,
    idle: {
      trainer: shares(total.trainer),
      ...Object.fromEntries(total.servers.map((use) => [use.server, shares(use)])),
    },
    minutes: wallMs / 60_000,
    steps_per_hour: wallMs === 0 ? null : (steps.length * 3_600_000) / wallMs,
    tokens_per_s_sampled: perSecond(sumOf(steps.map(({ sampledTokens }) => sampledTokens))),
    tokens_per_s_trained: perSecond(sumOf(steps.map((step) => step.tokens))),
    tokens_wasted: tokens === 0 ? null : 1 - trained / tokens,
    executed: report.verdicts?.executed ?? null,
    served: report.verdicts?.served ?? null,
    missing_steps: report.missing,
  };
}

import { SERVER_CAUSES, TRAINER_CAUSES, bubbleRatio, idleShare, totalUse } from '../domain/rl/intervals.ts';
import type { ResourceUse } from '../domain/rl/intervals.ts';
import { rewardOver } from '../domain/rl/details.ts';
import type { RlProgress } from '../domain/rl/messages.ts';
import { formatDuration } from './html.ts';
import type { RlLog } from './rlLog.ts';
import { settledUses, stepUses } from './rlTimes.ts';
import type { StepUse } from './rlTimes.ts';
import {
  SERVER_WORDS,
  TRAINER_WORDS,
  idleShares,
  percent,
  rate,
  rowsOfNumbers,
  serverName,
} from './rlWords.ts';
import type { KindWords } from './rlWords.ts';

const REWARD_STEPS = 20;
const SPEED_STEPS = 10;

/** Entries that `rlStatusText` looks at; `readRlLog` need not read more. */
export const STATUS_ENTRIES = SPEED_STEPS + 10; // the last ones may not be settled

/** One screen for `repoforge rl status`: where a run stands, how fast it is, and what its machines wait for. */
export function rlStatusText(progress: RlProgress, log: RlLog): string {
  const lines: (readonly [string, string])[] = [
    ['reward', rewardLine(progress, log)],
    ['staleness', stalenessLine(progress)],
    ['parity', `${progress.counts.parityMax.toExponential(1)} at most between servers and trainer`],
    ['groups', groupsLine(progress)],
    ['dropped', droppedLine(progress)],
    ['verdicts', `${progress.counts.executed} executed, ${progress.counts.served} served`],
    ...speedLines(log),
    ...gapLines(log),
  ];
  const width = Math.max(...lines.map(([name]) => name.length));
  return [headLine(progress), ...lines.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`)].join('\n');
}

function headLine({ run, state, note, step, steps, version, paused }: RlProgress): string {
  const pausing = paused && state !== 'paused' ? ', paused' : '';
  return `${run}: ${state}${pausing}, step ${step} of ${steps}, version ${version}${note === '' ? '' : ` – ${plain(note)}`}`;
}

function rewardLine({ recent }: RlProgress, { heldOut }: RlLog): string {
  const mean = rewardOver(recent, REWARD_STEPS);
  if (mean === null) return 'no step has been taken yet';
  const steps = Math.min(REWARD_STEPS, recent.length);
  const score = heldOut.at(-1);
  const held = score === undefined ? '' : `; held-out ${score.reward.toFixed(3)} at step ${score.step}`;
  return `${mean.toFixed(3)} over the last ${steps === 1 ? 'step' : `${steps} steps`}, ${(recent.at(-1)?.reward ?? 0).toFixed(3)} in the last${held}`;
}

function stalenessLine({ recent, maxStaleness }: RlProgress): string {
  const last = recent.at(-1);
  if (last === undefined) return `at most ${maxStaleness}`;
  const { min, mean, max } = last.staleness;
  return `${min} / ${mean.toFixed(2)} / ${max} in the last step (least, mean, most), at most ${maxStaleness}`;
}

const groupsLine = ({ runningGroups, waitingGroups, width, counts }: RlProgress): string =>
  `${runningGroups} running of ${width}, ${waitingGroups} waiting, ${counts.trained} trained`;

function droppedLine({ counts }: RlProgress): string {
  const tokens = counts.droppedTokens + counts.trainedTokens;
  const wasted = tokens === 0 ? '' : `; ${percent(counts.droppedTokens / tokens)} of the tokens`;
  return `${counts.noVariance} without variance, ${counts.infra} infrastructure, ${counts.overlong} overlong, ${counts.stale} stale${wasted}`;
}

function speedLines(log: RlLog): readonly (readonly [string, string])[] {
  const uses = settledUses(stepUses(log)).slice(-SPEED_STEPS);
  const wallMs = uses.reduce((sum, { startedMs, endedMs }) => sum + (endedMs - startedMs), 0);
  if (wallMs === 0) return [];
  const total = totalUse(uses);
  const trained = log.entries
    .filter(({ step }) => uses.some((use) => use.step === step.step))
    .reduce((sum, { step }) => sum + step.tokens, 0);
  const sampled = uses.reduce((sum, { sampledTokens }) => sum + sampledTokens, 0);
  const bubble = bubbleRatio(total);
  return [
    [
      'speed',
      `${rate(uses.length, wallMs, 3_600_000)} steps an hour; ${rate(sampled, wallMs, 1_000)} tokens/s sampled, ${rate(trained, wallMs, 1_000)} trained`,
    ],
    ['bubble', `${bubble === null ? '–' : percent(bubble)} idle, ${spanWords(uses, wallMs)}`],
    ['  trainer', idleWords(total.trainer, TRAINER_CAUSES, TRAINER_WORDS)],
    ...total.servers.map(
      (use) =>
        [
          `  ${serverName(use.server)}`,
          `${idleWords(use, SERVER_CAUSES, SERVER_WORDS)}; ${use.occupancy.toFixed(1)} requests in flight`,
        ] as const,
    ),
  ];
}

function spanWords(uses: readonly StepUse[], wallMs: number): string {
  const [first, last] = [uses[0]?.step, uses.at(-1)?.step];
  const provisional = uses.every(({ settled }) => settled)
    ? ''
    : ', not final: groups of this time still run';
  return `over ${first === last ? `step ${first}` : `steps ${first} to ${last}`} (${formatDuration(wallMs)}${provisional})`;
}

function idleWords<Cause extends string>(
  use: ResourceUse<Cause>,
  causes: readonly Cause[],
  words: Readonly<Record<Cause, KindWords>>,
): string {
  const parts = idleShares(use, causes, words).map(({ short, share }) => `${short} ${share}`);
  return `${percent(idleShare(use) ?? 0)} idle${parts.length === 0 ? '' : ` (${parts.join(', ')})`}`;
}

function gapLines({ missing, entries }: RlLog): readonly (readonly [string, string])[] {
  const unreadable = entries.reduce((sum, entry) => sum + entry.unreadable.length, 0);
  return [
    ...(missing.length === 0 ? [] : [['missing', `no record of ${rowsOfNumbers(missing)}`] as const]),
    ...(unreadable === 0 ? [] : [['missing', `${unreadable} trajectories are not in the store`] as const]),
  ];
}

/** A note may hold whatever an error said; none of it steers the terminal. */
const plain = (text: string): string => text.replace(/[\p{Cc}\s]+/gu, ' ');

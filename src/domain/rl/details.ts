import type { RlProgress, RlStep } from './messages.ts';

/** The page of an rl workflow in Temporal UI. Pure: a workflow sets it. */

const SHOWN_STEPS = 10;

/** Markdown: where the run stands, and a table of its last steps, the newest first. */
export function rlDetails(progress: RlProgress): string {
  const { counts, recent } = progress;
  const steps = recent.slice(-SHOWN_STEPS).toReversed();
  const held = recent.findLast(({ heldOut }) => heldOut !== undefined);
  return [
    `**${progress.state}**${progress.note === '' ? '' : ` – ${cell(progress.note)}`}`,
    '',
    `Step **${progress.step}** of ${progress.steps} · version ${progress.version} · width ${progress.width} · staleness at most ${progress.maxStaleness}`,
    '',
    `Groups: ${progress.runningGroups} running, ${progress.waitingGroups} waiting, ${counts.trained} trained; dropped: ${counts.noVariance} without variance, ${counts.infra} infrastructure, ${counts.overlong} overlong, ${counts.stale} stale`,
    '',
    `Verdicts: ${counts.executed} executed, ${counts.served} served · tokens: ${counts.trainedTokens} trained, ${counts.droppedTokens} dropped · parity ${counts.parityMax.toExponential(1)}`,
    ...(recent.length === 0
      ? []
      : [
          '',
          `Reward, mean of the last ${Math.min(20, recent.length)} steps: **${rewardOver(recent, 20)?.toFixed(3)}**${held === undefined ? '' : ` · held-out ${held.heldOut?.toFixed(3)} (step ${held.step})`}`,
          '',
          '| step | reward | trained | staleness | tokens | mismatch KL | clipped | entropy | gradient | time |',
          '| ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |',
          ...steps.map(rowOf),
        ]),
  ].join('\n');
}

/** Mean reward of the last steps; null before the first. */
export function rewardOver(steps: readonly RlStep[], window: number): number | null {
  const last = steps.slice(-window);
  return last.length === 0 ? null : last.reduce((sum, { reward }) => sum + reward, 0) / last.length;
}

const rowOf = (step: RlStep): string =>
  `| ${[
    step.step,
    step.reward.toFixed(3),
    step.trainedReward.toFixed(3),
    `${step.staleness.min} / ${step.staleness.mean.toFixed(1)} / ${step.staleness.max}`,
    step.tokens,
    metricText(step, 'mismatch_kl'),
    metricText(step, 'clip_fraction'),
    metricText(step, 'entropy'),
    metricText(step, 'gradient_norm'),
    `${((step.endedMs - step.startedMs) / 1000).toFixed(1)} s`,
  ].join(' | ')} |`;

/** A metric of the trainer, short enough for a table. */
export function metricText({ metrics }: Pick<RlStep, 'metrics'>, name: string): string {
  const value = metrics[name];
  if (value === undefined || !Number.isFinite(value)) return '–';
  return value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : value.toFixed(3);
}

/** A note may hold whatever an error said: it stays in its line, and is not markup. */
const cell = (text: string): string => text.replace(/\s+/g, ' ').replace(/[\\`*_|<>[\]]/g, String.raw`\$&`);

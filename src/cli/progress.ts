import { stderr } from 'node:process';
import { createLogUpdate } from 'log-update';
import type { CampaignProgress } from '../domain/campaign.ts';
import type { EvaluationProgress } from '../domain/messages.ts';
import type { RolloutsProgress } from '../domain/rl/rollouts.ts';

/** Shows how far something is: redrawn in place on a terminal, a plain line per change in a pipe. */
export interface ProgressView<T> {
  show(progress: T): void;
  /** Leaves the last state on the screen. */
  done(): void;
}

const MAX_NAMES = 4;

export function campaignLine(progress: CampaignProgress): string {
  const rejected = Object.values(progress.counts.rejected).reduce((sum, count) => sum + count, 0);
  const names = progress.running.slice(0, MAX_NAMES).join(' ');
  const more = progress.running.length > MAX_NAMES ? ` +${progress.running.length - MAX_NAMES}` : '';
  return `${progress.state}: ${progress.counts.mined} mined, ${progress.counts.accepted} valid, ${rejected} rejected, ${progress.counts.containerRuns} container runs${names === '' ? '' : ` | ${names}${more}`}`;
}

export function evaluationLine(progress: EvaluationProgress): string {
  const { done, executed, served, resolved, infra } = progress.counts;
  return `${progress.state}: ${done}/${progress.total} graded, ${resolved} resolved, ${executed} executed, ${served} served${infra === 0 ? '' : `, ${infra} infra`}`;
}

export function rolloutsLine(progress: RolloutsProgress): string {
  const { done, episodes, resolved, infra, sampledTokens, failure } = progress.counts;
  return `${progress.state}: ${done}/${progress.total} rollouts, ${resolved} of ${episodes} episodes resolved, ${sampledTokens} tokens${infra === 0 ? '' : `, ${infra} infra`}${failure === undefined ? '' : ` (${failure})`}`;
}

export function createProgressView<T>(line: (progress: T) => string, json = false): ProgressView<T> {
  if (json) return { show: () => {}, done: () => {} };
  const startedMs = Date.now();
  const stamped = (progress: T): string => `[${clock(Date.now() - startedMs)}] ${line(progress)}`;
  if (stderr.isTTY) {
    const live = createLogUpdate(stderr);
    return { show: (progress) => live(stamped(progress)), done: () => live.done() };
  }
  let last = '';
  return {
    show: (progress) => {
      const text = line(progress);
      if (text === last) return;
      last = text;
      stderr.write(`${stamped(progress)}\n`);
    },
    done: () => {},
  };
}

const clock = (ms: number): string => {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
};

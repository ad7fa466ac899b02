/** Scores of the held-out instances: played with a version beside training, recorded when their last episode has ended. */
import { condition, log } from '@temporalio/workflow';
import { groupIds, heldOutVersion } from '../domain/rl/groupIds.ts';
import type { RolloutReport } from '../domain/rl/messages.ts';
import { rlControlOn } from './proxies.ts';
import { partsOf, rolloutId, startRollouts } from './rlRollouts.ts';
import { deployedOf, requestOf } from './rlRun.ts';
import type { RlRun } from './rlRun.ts';

/** Episodes of one held-out instance: enough for a mean of a stochastic policy. */
const membersOf = (run: RlRun): readonly number[] =>
  run.input.options.agent === 'selector'
    ? Array.from({ length: run.input.options.groupSize }, (_, member) => member)
    : [0];

const groupOf = (run: RlRun, version: number, index: number): string =>
  groupIds.heldOut(run.input.epoch, version, index);

/** Begins to score the newest version. */
export async function startHeldOut(run: RlRun): Promise<void> {
  const { heldOutCount, queuePrefix } = run.input;
  const { version } = deployedOf(run);
  const indices = Array.from({ length: heldOutCount }, (_, index) => index);
  const request = { ...requestOf(run), indices, heldOut: true };
  const { prompts, servers } = await rlControlOn(queuePrefix).readPrompts(request);
  run.servers = servers; // version 0 is scored before any group was dispatched
  const members = membersOf(run);
  const expected = prompts.length * members.length;
  run.heldOut.push({
    step: version,
    startedMs: Date.now(),
    expected,
    ended: 0,
    reported: [],
    rewards: [],
    trajectories: [],
  });
  await Promise.all(
    prompts.map(async (prompt, index) => startRollouts(run, groupOf(run, version, index), prompt, members)),
  );
}

/** Takes a report once. An answer of another version says nothing about this one. */
export function settleHeldOut(run: RlRun, { group, members, outcome }: RolloutReport): void {
  const version = heldOutVersion(run.input.epoch, group);
  const at = run.heldOut.findIndex(({ step }) => step === version);
  const score = run.heldOut[at];
  const id = rolloutId(run, group, members);
  if (score === undefined || score.reported.includes(id)) return;
  const { oldestVersion = null, newestVersion = null } = outcome ?? {};
  const own = [oldestVersion, newestVersion].every((version) => version === null || version === score.step);
  if (!own) log.warn('a held-out episode had answers of other versions', { group, newestVersion });
  const counted = own ? outcome : null;
  const rewards = counted?.episodes.flatMap(({ reward }) => (reward === null ? [] : [reward])) ?? [];
  run.heldOut[at] = {
    ...score,
    ended: score.ended + members.length,
    reported: [...score.reported, id],
    rewards: [...score.rewards, ...rewards],
    trajectories: [...score.trajectories, ...(counted?.trajectory ? [counted.trajectory] : [])],
  };
}

const isComplete = ({ ended, expected }: RlRun['heldOut'][number]): boolean => ended >= expected;

/** Scores that are complete leave the run's state for its log. One whose episodes all failed says nothing. */
export async function recordHeldOut(run: RlRun): Promise<void> {
  const complete = run.heldOut.filter(isComplete);
  run.heldOut = run.heldOut.filter((score) => !isComplete(score));
  for (const { step, rewards, trajectories } of complete) {
    if (rewards.length === 0) {
      log.warn('no held-out episode could be graded', { version: step });
      continue;
    }
    const reward = rewards.reduce((sum, one) => sum + one, 0) / rewards.length;
    run.recent = run.recent.map((one) => (one.step === step ? { ...one, heldOut: reward } : one));
    const score = { step, reward, episodes: rewards.length, trajectories };
    await rlControlOn(run.input.queuePrefix).recordHeldOut({ ...requestOf(run), ...score });
  }
}

/** Waits for the scores under way, no longer than an episode may take with what comes after it, and records them. */
export async function awaitHeldOut(run: RlRun): Promise<void> {
  const { budget, reconcileMs } = run.input.options;
  const hurries = (): boolean =>
    run.failure !== undefined || run.ending === 'stopped' || run.ending === 'stuck';
  if (!run.heldOut.every(isComplete) && !hurries())
    await condition(() => run.heldOut.every(isComplete) || hurries(), budget.maxWallMs + reconcileMs);
  await recordHeldOut(run);
}

/** Rollouts of the scores under way that have not reported, of scores that began before `sinceMs`. */
export const silentHeldOut = (run: RlRun, sinceMs: number): readonly Omit<RolloutReport, 'outcome'>[] =>
  run.heldOut
    .filter(({ startedMs }) => startedMs < sinceMs)
    .flatMap(({ step, reported }) =>
      Array.from({ length: run.input.heldOutCount }, (_, index) => groupOf(run, step, index)).flatMap(
        (group) =>
          partsOf(run, membersOf(run))
            .filter((members) => !reported.includes(rolloutId(run, group, members)))
            .map((members) => ({ group, members })),
      ),
    );

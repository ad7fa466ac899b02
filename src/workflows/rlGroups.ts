/** Groups of an rl run: dispatched as admission allows, settled as their rollouts report, dropped when they teach nothing. */
import { condition, getExternalWorkflowHandle } from '@temporalio/workflow';
import {
  admissible,
  dropReason,
  oldestOf,
  outageWaitMs,
  promptAt,
  staleGroups,
} from '../domain/rl/admission.ts';
import { groupIds } from '../domain/rl/groupIds.ts';
import type { GroupState, RolloutReport } from '../domain/rl/messages.ts';
import type { GroupFate } from '../domain/rl/timeline.ts';
import { isOverlong } from '../domain/rl/trajectory.ts';
import { rlControlOn } from './proxies.ts';
import { settleHeldOut, silentHeldOut } from './rlHeldOut.ts';
import { partsOf, rolloutId, startRollouts } from './rlRollouts.ts';
import { count, deployedOf, fail, isOver, loopState, note, requestOf } from './rlRun.ts';
import type { RlRun } from './rlRun.ts';

/** Prompts that are read at once: each is a few hundred bytes of history. */
const PROMPTS_AT_ONCE = 64;
/** Looks that a group may be silent for beyond its own budget: opening and grading take their time, too. */
const PATIENCE = 5;

/** Dispatches groups for as long as the run lives; ends when nothing may be dispatched any more. */
export async function produce(run: RlRun): Promise<void> {
  const mayDispatch = (): boolean => !run.paused && admissible(loopState(run)) > 0;
  const waitMs = (): number => outageWaitMs(run.counts.infraInRow ?? 0, run.input.options.groupsPerStep);
  try {
    while (!isOver(run)) {
      await condition(() => isOver(run) || mayDispatch());
      if (isOver(run)) return;
      if (waitMs() > 0) {
        await condition(() => isOver(run) || waitMs() === 0, waitMs());
        if (isOver(run)) return;
        if (!mayDispatch()) continue;
      }
      const places = Array.from(
        { length: admissible(loopState(run)) },
        (_, index) => run.counts.dispatched + index,
      );
      await readPrompts(run, places);
      if (isOver(run)) return;
      await Promise.all(places.map(async (place) => dispatch(run, place)));
    }
  } catch (error) {
    fail(run, error);
  }
}

const promptOf = (run: RlRun, place: number): number =>
  promptAt(run.input.options.seed, place, run.input.promptCount);

async function readPrompts(run: RlRun, places: readonly number[]): Promise<void> {
  if (places.every((place) => run.prompts.has(promptOf(run, place)))) return;
  const ahead = Array.from({ length: PROMPTS_AT_ONCE }, (_, index) => (places[0] ?? 0) + index);
  const indices = [...new Set([...places, ...ahead].map((place) => promptOf(run, place)))];
  const request = { ...requestOf(run), indices, heldOut: false };
  const read = await rlControlOn(run.input.queuePrefix).readPrompts(request);
  run.servers = read.servers;
  run.prompts.clear();
  for (const [at, index] of indices.entries()) {
    const prompt = read.prompts[at];
    if (prompt !== undefined) run.prompts.set(index, prompt);
  }
}

/** Starts a group's rollouts and waits until the server has them. */
async function dispatch(run: RlRun, place: number): Promise<void> {
  const { epoch } = run.input;
  const index = promptOf(run, place);
  const prompt = run.prompts.get(index);
  if (prompt === undefined) throw new Error(`prompt ${index} is not in the manifest`);
  const version = deployedOf(run).version;
  const id = groupIds.trained(epoch, place);
  count(run, { dispatched: run.counts.dispatched + 1 });
  run.groups.set(id, {
    id,
    place,
    prompt: index,
    dispatchedVersion: version,
    dispatchedMs: Date.now(),
    ended: [],
    rewards: [],
    trajectories: [],
    sampledTokens: 0,
    executed: 0,
    served: 0,
    oldestVersion: null,
    endedMs: null,
  });
  await startRollouts(run, id, prompt, membersOf(run));
}

/** Takes a report once; what is not of this start's groups is nobody's any more. */
export function settle(run: RlRun, report: RolloutReport): void {
  const group = run.groups.get(report.group);
  if (group === undefined) {
    settleHeldOut(run, report);
    return;
  }
  const fresh = report.members.filter((member) => !group.ended.includes(member));
  if (fresh.length === 0) return;
  const { outcome } = report;
  const episodes = (outcome?.episodes ?? []).filter(({ member }) => fresh.includes(member));
  const ended = [...group.ended, ...fresh];
  const oldest = [group.oldestVersion, outcome?.oldestVersion].filter((one) => typeof one === 'number');
  const { executed = 0, served = 0 } = outcome ?? {};
  const { filterOverlong } = run.input.options;
  const masked = episodes.filter(({ end, reward }) => filterOverlong && reward !== null && isOverlong(end));
  const settled: GroupState = {
    ...group,
    ended,
    rewards: [...group.rewards, ...episodes.flatMap(({ reward }) => (reward === null ? [] : [reward]))],
    masked: (group.masked ?? 0) + masked.length,
    trajectories: [...group.trajectories, ...(outcome?.trajectory ? [outcome.trajectory] : [])],
    sampledTokens: group.sampledTokens + episodes.reduce((sum, { sampledTokens }) => sum + sampledTokens, 0),
    executed: group.executed + executed,
    served: group.served + served,
    oldestVersion: oldest.length === 0 ? null : Math.min(...oldest),
    endedMs: ended.length < run.input.options.groupSize ? null : Date.now(),
  };
  count(run, { executed: run.counts.executed + executed, served: run.counts.served + served });
  run.groups.set(group.id, settled);
  if (settled.endedMs !== null) {
    const reason = dropReason(settled);
    noteOutage(run, reason === 'infra' ? failureOf(outcome) : null);
    if (reason === null) count(run, { droppedInRow: 0 });
    else drop(run, settled, reason);
  }
}

const failureOf = (outcome: RolloutReport['outcome']): string =>
  outcome === null
    ? 'its rollout was lost'
    : (outcome.failure ?? 'fewer than two of its episodes were graded');

/** Counts groups in a row that infrastructure ended, and tells of the last; null: one came through. */
function noteOutage(run: RlRun, failure: string | null): void {
  const before = run.counts.infraInRow ?? 0;
  if (run.ending !== null || (failure === null && before === 0)) return;
  const infraInRow = failure === null ? 0 : before + 1;
  count(run, { infraInRow });
  run.note =
    failure === null ? '' : `infrastructure ended ${infraInRow} groups in a row, the last: ${failure}`;
}

/** A dropped group leaves its slot to the next prompt. */
function drop(run: RlRun, group: GroupState, fate: Exclude<GroupFate, 'trained'>): void {
  const { counts } = run;
  const name = fate === 'no_variance' ? 'noVariance' : fate;
  run.groups.delete(group.id);
  count(run, {
    [name]: counts[name] + 1,
    droppedTokens: counts.droppedTokens + group.sampledTokens,
    droppedInRow: counts.droppedInRow + (fate === 'infra' ? 0 : 1),
  });
  noteGroup(run, group, fate);
}

/** Drops what lies too far back: only where the bound was lowered under way, or steps do not wait. */
export function dropStale(run: RlRun): void {
  for (const group of staleGroups(loopState(run))) drop(run, group, 'stale');
}

export function noteGroup(run: RlRun, group: GroupState, fate: GroupFate): void {
  const { id, dispatchedMs, endedMs, trajectories, rewards, sampledTokens, executed, served } = group;
  const reward = rewards.length === 0 ? null : rewards.reduce((sum, one) => sum + one, 0) / rewards.length;
  const staleness = run.step - oldestOf(group);
  const times = { dispatchedMs, endedMs: endedMs ?? Date.now() };
  note(run, {
    groups: [{ id, ...times, fate, trajectories, reward, sampledTokens, staleness, executed, served }],
  });
}

/** Looks up rollouts of groups that should have ended long ago: a terminated child reports nothing. */
export async function reconcile(run: RlRun): Promise<void> {
  const { budget, reconcileMs } = run.input.options;
  const patienceMs = budget.maxWallMs + PATIENCE * reconcileMs;
  const silent = [...run.groups.values()].filter(
    ({ endedMs, dispatchedMs }) => endedMs === null && Date.now() - dispatchedMs > patienceMs,
  );
  const asked = [
    ...silent.flatMap((group) => missingOf(run, group).map((members) => ({ group: group.id, members }))),
    ...silentHeldOut(run, Date.now() - patienceMs),
  ];
  if (asked.length === 0) return;
  const answers = await rlControlOn(run.input.queuePrefix).describeRollouts({
    workflowIds: asked.map(({ group, members }) => rolloutId(run, group, members)),
  });
  for (const [index, { group, members }] of asked.entries()) {
    const answer = answers[index];
    if (answer === undefined || answer.alive) continue;
    settle(run, answer.report ?? { group, members, outcome: null });
  }
}

const membersOf = (run: RlRun): readonly number[] =>
  Array.from({ length: run.input.options.groupSize }, (_, member) => member);

const missingOf = (run: RlRun, { ended }: GroupState): readonly (readonly number[])[] =>
  partsOf(
    run,
    membersOf(run).filter((member) => !ended.includes(member)),
  );

/** Cancels what still runs: nobody would train on it, or hear of it. */
export async function cancelRollouts(run: RlRun): Promise<void> {
  const running = [...run.groups.values()].filter(({ endedMs }) => endedMs === null);
  const left = [
    ...running.flatMap((group) => missingOf(run, group).map((members) => ({ group: group.id, members }))),
    ...silentHeldOut(run, Infinity),
  ];
  await Promise.all(
    left.map(
      async ({ group, members }) =>
        getExternalWorkflowHandle(rolloutId(run, group, members))
          .cancel()
          .catch(() => undefined), // it has ended meanwhile
    ),
  );
}

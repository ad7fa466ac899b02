/** The consuming loop of an rl run: batches are formed, trained, published and deployed, and old versions retired. */
import {
  ApplicationFailure,
  condition,
  isCancellation,
  log,
  rootCause,
  workflowInfo,
} from '@temporalio/workflow';
import type { FormedBatch } from '../activities/rlTypes.ts';
import { FAILURE_TYPES } from '../domain/failures.ts';
import { isStuck, nextBatch, staleGroups } from '../domain/rl/admission.ts';
import type { GroupState, PublishedVersion, RlStep } from '../domain/rl/messages.ts';
import { dropStale, noteGroup } from './rlGroups.ts';
import { awaitHeldOut, recordHeldOut, startHeldOut } from './rlHeldOut.ts';
import { rlControlOn, trainerOn } from './proxies.ts';
import {
  addStep,
  count,
  deployedOf,
  fail,
  isOver,
  loopState,
  note,
  requestOf,
  takeTimeline,
} from './rlRun.ts';
import type { RlRun } from './rlRun.ts';

/** Takes up the trainer where its journal ends, and puts that version on the servers. */
export async function openRun(run: RlRun): Promise<void> {
  const trainer = trainerOn(run.input.queuePrefix);
  const { step, held = [], left = [] } = await trainer.openTraining(requestOf(run));
  if (run.input.carried !== undefined && step === run.step && run.versions.length > 0) return;
  run.step = step;
  // accepted := v · B, or a resumed run would admit in a burst
  const { groupsPerStep } = run.input.options;
  count(run, {
    trained: step * groupsPerStep,
    dispatched: Math.max(run.counts.dispatched, step * groupsPerStep),
  });
  // what an earlier start left is retired with the next version
  run.versions = [...held];
  run.unloaded = [...left];
  await deploy(run, await trainer.publishVersion({ ...requestOf(run), step }));
}

/** Takes steps until the run is over. Ends early, and says why, when there is nothing to learn from. */
export async function consume(run: RlRun): Promise<void> {
  try {
    while (!isOver(run) && !endOf(run)) {
      await condition(() => isOver(run) || mustEnd(run) || mustDrop(run) || batchOf(run) !== null);
      if (isOver(run) || endOf(run)) return;
      // here, where no batch is being trained: what a step has taken is not stale, whatever the bound becomes
      dropStale(run);
      const batch = batchOf(run);
      if (batch !== null) await takeStep(run, batch);
    }
  } catch (error) {
    if (isNotFinite(error)) end(run, 'stuck', `${rootCause(error) ?? 'the loss is not finite'}`);
    else fail(run, error);
  } finally {
    await run.beside;
  }
}

const batchOf = (run: RlRun): readonly GroupState[] | null => (run.paused ? null : nextBatch(loopState(run)));

const mustDrop = (run: RlRun): boolean => staleGroups(loopState(run)).length > 0;

/** So many steps, or as much history as the server suggests: one step may drop and refill hundreds of groups. */
const mustGoOn = (run: RlRun): boolean =>
  run.stepsHere >= run.input.options.stepsPerRun || workflowInfo().continueAsNewSuggested;

const mustEnd = (run: RlRun): boolean => isStuck(loopState(run)) || mustGoOn(run);

/** Sets how the run ends, if it does. */
function endOf(run: RlRun): boolean {
  const { steps, stopAtReward, stopWindow, maxEmptyBatches } = run.input.options;
  const window = run.recent.slice(-stopWindow);
  const mean = window.reduce((sum, { reward }) => sum + reward, 0) / Math.max(1, window.length);
  if (run.step >= steps) end(run, 'done', `all ${steps} steps are done`);
  else if (stopAtReward !== null && window.length >= stopWindow && mean >= stopAtReward)
    end(run, 'done', `mean reward ${mean.toFixed(3)} over ${stopWindow} steps`);
  else if (isStuck(loopState(run)))
    end(
      run,
      'stuck',
      `no group of ${maxEmptyBatches} batches in a row taught anything: all episodes of each had the same reward, or were overlong`,
    );
  else if (mustGoOn(run)) end(run, 'continue', '');
  return run.ending !== null;
}

function end(run: RlRun, how: NonNullable<RlRun['ending']>, note: string): void {
  run.ending = how;
  run.note = note;
}

const isNotFinite = (error: unknown): boolean =>
  !isCancellation(error) &&
  error instanceof Error &&
  error.cause instanceof ApplicationFailure &&
  error.cause.type === FAILURE_TYPES.notFinite;

async function takeStep(run: RlRun, groups: readonly GroupState[]): Promise<void> {
  const number = run.step + 1;
  const startedMs = Date.now();
  const trainer = trainerOn(run.input.queuePrefix);
  const request = requestOf(run);
  const bound = run.maxStaleness; // an Update counts from the next step on
  const batch = await rlControlOn(run.input.queuePrefix).formBatch({
    ...request,
    step: number,
    version: run.step,
    groups,
  });
  if (batch.staleness.max > bound)
    throw ApplicationFailure.nonRetryable(
      `step ${number} holds tokens ${batch.staleness.max} versions old: the bound is ${bound}`,
    );
  if (batch.samples === 0)
    throw ApplicationFailure.nonRetryable(
      `step ${number} has no sample: no group of it should have been kept`,
    );
  const { metrics, busy } = await trainer.trainStep({ ...request, step: number, batch: batch.batch });
  for (const group of groups) {
    run.groups.delete(group.id);
    noteGroup(run, group, 'trained');
  }
  run.step = number;
  run.stepsHere += 1;
  note(run, { train: [busy] });
  count(run, {
    trained: run.counts.trained + groups.length,
    trainedTokens: run.counts.trainedTokens + batch.tokens,
  });
  const version = await trainer.publishVersion({ ...request, step: number });
  noteStep(run, stepOf(run, number, batch, metrics, startedMs));
  // the next step may train while servers load this one
  beside(run, () => deploy(run, version));
}

/** Work that the next step need not wait for, one after the other. */
function beside(run: RlRun, work: () => Promise<void>): void {
  run.beside = run.beside.then(work).catch((error: unknown) => fail(run, error));
}

function stepOf(
  run: RlRun,
  step: number,
  batch: FormedBatch,
  metrics: Readonly<Record<string, number>>,
  startedMs: number,
): RlStep {
  const rewards = run.timeline.groups.flatMap(({ reward }) => (reward === null ? [] : [reward]));
  return {
    step,
    reward: rewards.reduce((sum, reward) => sum + reward, 0) / Math.max(1, rewards.length),
    trainedReward: batch.trainedReward,
    staleness: batch.staleness,
    tokens: batch.tokens,
    forks: batch.forks,
    metrics,
    startedMs,
    endedMs: Date.now(),
  };
}

function noteStep(run: RlRun, step: RlStep): void {
  const timeline = takeTimeline(run);
  addStep(run, step);
  beside(run, () => rlControlOn(run.input.queuePrefix).recordStep({ ...requestOf(run), step, timeline }));
}

/** Servers take the version, prove that they have it, and what no rollout uses any more is unloaded. */
async function deploy(run: RlRun, version: PublishedVersion): Promise<void> {
  const trainer = trainerOn(run.input.queuePrefix);
  // all parameters have one version on a server at a time: what is being scored is played to its end first
  if (run.input.options.lora === null) await awaitHeldOut(run);
  const previous = run.versions.at(-1) ?? null;
  const deployed = await trainer.deployVersion({ ...requestOf(run), version, previous });
  run.versions.push(version);
  count(run, { parityMax: Math.max(run.counts.parityMax, deployed.parityMax) });
  note(run, { publish: [deployed.busy], pausedServers: deployed.paused, parityMax: deployed.parityMax });
  log.info('deployed', { version: version.version, parityMax: deployed.parityMax, probe: deployed.probe });
  await retire(run);
  const { evaluateEvery } = run.input.options;
  if (evaluateEvery !== null && run.input.heldOutCount > 0 && version.version % evaluateEvery === 0)
    await startHeldOut(run);
  await recordHeldOut(run);
}

/** Files go one version later than the version itself: a server that is asked for a deleted adapter dies. */
async function retire(run: RlRun): Promise<void> {
  const newest = deployedOf(run).version;
  const used = new Set([...run.groups.values()].map(({ dispatchedVersion }) => dispatchedVersion));
  for (const { step } of run.heldOut) used.add(step);
  const unload = run.versions.filter(({ version }) => version < newest && version > 0 && !used.has(version));
  const remove = run.unloaded;
  if (unload.length === 0 && remove.length === 0) return;
  const retired = await trainerOn(run.input.queuePrefix).retireVersions({
    ...requestOf(run),
    unload,
    remove,
  });
  run.versions = run.versions.filter(({ version }) => !retired.unloaded.includes(version));
  run.unloaded = [
    ...remove.filter(({ version }) => !retired.removed.includes(version)),
    ...unload.filter(({ version }) => retired.unloaded.includes(version)),
  ];
}

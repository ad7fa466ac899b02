/**
 * Invariant: every sample is trained in exactly one step, on a version at most S ahead of what sampled its oldest token. Two
 * loops share versions and groups only: one dispatches groups as admission allows, one consumes the oldest that have ended;
 * neither waits for the other. The trainer's journal says which step comes next; the workflow holds ids, versions, counts
 * and refs, and continues as new between two steps, when no activity is under way. Rollouts outlive that: they report to the
 * workflow's id.
 */
import {
  CancellationScope,
  TemporalFailure,
  allHandlersFinished,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  defineUpdate,
  isCancellation,
  setCurrentDetails,
  setHandler,
  sleep,
} from '@temporalio/workflow';
import { QUERIES } from '../domain/messages.ts';
import type { ResizeRequest } from '../domain/messages.ts';
import { rlDetails } from '../domain/rl/details.ts';
import {
  RL_UPDATES,
  ROLLOUT_SIGNALS,
  rlProblem,
  rlWidthProblem,
  stalenessProblem,
} from '../domain/rl/messages.ts';
import type { RlInput, RlProgress, RlSummary, RolloutReport } from '../domain/rl/messages.ts';
import { rlReportOn } from './proxies.ts';
import { cancelRollouts, produce, reconcile, settle } from './rlGroups.ts';
import { awaitHeldOut } from './rlHeldOut.ts';
import { carriedOf, fail, isOver, newRun, noteHalt, progressOf, requestOf } from './rlRun.ts';
import type { RlRun } from './rlRun.ts';
import { consume, openRun } from './rlSteps.ts';
import { refuse } from './steering.ts';

export const rolloutDone = defineSignal<[RolloutReport]>(ROLLOUT_SIGNALS.rolloutDone);
export const rlProgress = defineQuery<RlProgress>(QUERIES.progress);
const pause = defineUpdate<void>(RL_UPDATES.pause);
const resume = defineUpdate<void>(RL_UPDATES.resume);
const resize = defineUpdate<void, [ResizeRequest]>(RL_UPDATES.resize);
const setStaleness = defineUpdate<void, [{ readonly maxStaleness: number }]>(RL_UPDATES.setStaleness);
const stop = defineUpdate<void>(RL_UPDATES.stop);

export async function rl(input: RlInput): Promise<RlSummary> {
  refuse(rlProblem(input));
  const run = newRun(input);
  handleMessages(run);
  try {
    await openRun(run);
    if (run.ending === null) run.state = 'running';
    await untilOver(run);
    if (goesOn(run)) await condition(allHandlersFinished);
  } catch (error) {
    // rollouts are abandoned by policy, so that they outlive continue-as-new: a run that is cancelled or fails takes them
    // along itself; a bug is no end, it waits for the mended code
    if (error instanceof TemporalFailure) await CancellationScope.nonCancellable(() => cancelRollouts(run));
    throw error;
  }
  // nothing may be awaited between this look, which a stop may have changed, and the command: see `campaign`
  if (goesOn(run)) await continueAsNew<typeof rl>({ ...input, carried: carriedOf(run) });
  return finish(run);
}

const goesOn = (run: RlRun): boolean => run.ending === 'continue';

/** Both loops, the eyes on silent rollouts and the page in Temporal UI, until one thing ends them. */
async function untilOver(run: RlRun): Promise<void> {
  const watch = new CancellationScope();
  const watching = watch
    .run(async () => Promise.all([lookForSilence(run), show(run)]))
    .catch((error: unknown) => {
      if (!isCancellation(error)) fail(run, error);
    });
  await Promise.all([produce(run), consume(run)]);
  watch.cancel();
  await watching;
  if (run.failure !== undefined) throw run.failure;
}

async function lookForSilence(run: RlRun): Promise<void> {
  while (!isOver(run)) {
    await sleep(run.input.options.reconcileMs);
    await reconcile(run);
  }
}

async function show(run: RlRun): Promise<void> {
  while (!isOver(run)) {
    const { step } = run;
    setCurrentDetails(rlDetails(progressOf(run)));
    await condition(() => isOver(run) || run.step !== step);
  }
}

async function finish(run: RlRun): Promise<RlSummary> {
  const state = run.ending === 'stopped' || run.ending === 'stuck' ? run.ending : 'done';
  run.state = state;
  if (state === 'done') await awaitHeldOut(run);
  await cancelRollouts(run);
  const { report } = await rlReportOn(run.input.queuePrefix).writeRlReport({
    ...requestOf(run),
    state,
    note: run.note,
  });
  setCurrentDetails(rlDetails(progressOf(run)));
  await condition(allHandlersFinished);
  return { run: run.input.run, state, note: run.note, step: run.step, counts: run.counts, report };
}

/** Handlers change numbers and flags only; the loops act on them. Set before the first await. */
function handleMessages(run: RlRun): void {
  setHandler(rolloutDone, (report) => settle(run, report));
  setHandler(rlProgress, () => progressOf(run));
  const refuseLate = (): void => refuse(lateProblem(run));
  const setPaused = (paused: boolean) => (): void => {
    if (run.paused !== paused) noteHalt(run, paused ? Date.now() : null);
    run.paused = paused;
  };
  setHandler(pause, setPaused(true), { validator: refuseLate });
  setHandler(resume, setPaused(false), { validator: refuseLate });
  setHandler(resize, ({ width }) => void (run.width = width), {
    validator: (request) => refuse(lateProblem(run) ?? rlWidthProblem(run.input.options, request.width)),
  });
  setHandler(setStaleness, ({ maxStaleness }) => void (run.maxStaleness = maxStaleness), {
    validator: (request) =>
      refuse(lateProblem(run) ?? stalenessProblem(run.input.options, request.maxStaleness)),
  });
  setHandler(
    stop,
    () => {
      run.ending = 'stopped';
      run.note = 'stopped by a person';
      run.state = 'stopping';
    },
    { validator: refuseLate },
  );
}

const lateProblem = (run: RlRun): string | undefined =>
  run.ending !== null && run.ending !== 'continue' ? `The run is over (${run.note}).` : undefined;

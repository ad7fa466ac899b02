/**
 * Invariant: what is published depends on the sources and the options, never on timing. Candidates are admitted in one
 * order (domain/admission.ts), a window of children is kept full, each child's end is counted once by its id. All that
 * lasts from run to run is `CampaignCarried`: numbers, cursors and the ids in flight, collected in the same synchronous
 * stretch as continue-as-new, after all handlers have finished and all started children were acknowledged.
 */
import {
  ApplicationFailure,
  CancellationScope,
  allHandlersFinished,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  defineUpdate,
  isCancellation,
  patched,
  setCurrentDetails,
  setHandler,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import { FAILURE_TYPES } from '../domain/failures.ts';
import { campaignProblem } from '../domain/campaign.ts';
import { QUERIES, SIGNALS, UPDATES, stopProblem, widthProblem } from '../domain/messages.ts';
import type { CampaignInput, CampaignProgress, CampaignResult } from '../domain/campaign.ts';
import type { InstanceReport, ResizeRequest, StopRequest } from '../domain/messages.ts';
import { admit, cancelRunning, dismissSurplus, reconcile } from './campaignChildren.ts';
import { carriedOf, detailsOf, newWindow, progressOf, settle, windowIsDone } from './campaignWindow.ts';
import type { Window } from './campaignWindow.ts';
import { fetchPages } from './campaignPages.ts';
import { assemblyOn } from './proxies.ts';
import { refuse } from './steering.ts';

export const instanceDone = defineSignal<[InstanceReport]>(SIGNALS.instanceDone);
export const campaignProgress = defineQuery<CampaignProgress>(QUERIES.progress);
export const pause = defineUpdate<void>(UPDATES.pause);
export const resume = defineUpdate<void>(UPDATES.resume);
export const resize = defineUpdate<void, [ResizeRequest]>(UPDATES.resize);
export const stop = defineUpdate<void, [StopRequest]>(UPDATES.stop);

export async function campaign(input: CampaignInput): Promise<CampaignResult> {
  refuse(campaignProblem(input));
  const window = newWindow(input, patched('admit-ahead'));
  handleMessages(window);
  try {
    await drain(window);
    return await assemble(window);
  } catch (error) {
    // children are abandoned by policy, so that they outlive continue-as-new: a cancelled campaign takes them along itself
    if (isCancellation(error)) await CancellationScope.nonCancellable(() => cancelRunning(window));
    throw error;
  }
}

/** Keeps the window full until nothing is running and nothing may be admitted. */
async function drain(window: Window): Promise<void> {
  const timer = reconcileTimer(window);
  while (!windowIsDone(window)) {
    window.changed = false;
    await dismissSurplus(window);
    await admit(window);
    fetchPages(window);
    setCurrentDetails(detailsOf(window));
    if (windowIsDone(window)) break;
    if (mustContinueAsNew(window)) await continueRun(window);
    await condition(() => window.changed || window.reconcileDue || mustContinueAsNew(window));
    if (window.cancelRequested) await cancelOnce(window);
    if (window.reconcileDue) {
      await reconcile(window);
      timer.restart();
    }
  }
  timer.stop();
}

const mustContinueAsNew = (window: Window): boolean =>
  window.started >= window.input.options.pageSize || workflowInfo().continueAsNewSuggested;

/** Ends this run between two admissions. A page on its way is awaited: its activity would be lost with the run. */
async function continueRun(window: Window): Promise<void> {
  window.ending = true;
  await Promise.all(window.fetching.values());
  await condition(allHandlersFinished);
  // Nothing may be awaited between collecting and continuing: a signal that comes meanwhile makes the server refuse the
  // command, the task runs again, and the handler has then run before this line.
  await continueAsNew<typeof campaign>({ ...window.input, carried: carriedOf(window) });
}

async function assemble(window: Window): Promise<CampaignResult> {
  const { input } = window;
  if (window.failedSources.length === input.sources.length && window.counts.mined === 0)
    throw ApplicationFailure.nonRetryable(
      window.failedSources.map(({ label, reason }) => `${label}: ${reason}`).join('; '),
      FAILURE_TYPES.notFound,
    );
  const finished = window.stopping === null;
  window.state = 'assembling';
  setCurrentDetails(detailsOf(window));
  const assembled = await assemblyOn(input.queuePrefix).assembleCampaign({
    campaign: input.name,
    sources: input.sources,
    options: input.options,
    finished,
    containerRuns: window.counts.containerRuns,
  });
  window.state = finished ? 'done' : 'stopped';
  setCurrentDetails(detailsOf(window));
  await condition(allHandlersFinished);
  return {
    name: input.name,
    state: window.state,
    counts: window.counts,
    failedSources: window.failedSources,
    ...assembled,
  };
}

async function cancelOnce(window: Window): Promise<void> {
  window.cancelRequested = false;
  await cancelRunning(window);
}

/** Handlers change numbers and flags only; the main loop acts on them. Set before the first await. */
function handleMessages(window: Window): void {
  setHandler(instanceDone, (report) => settle(window, report));
  setHandler(campaignProgress, () => progressOf(window));
  const change = (apply: () => void) => (): void => {
    apply();
    window.changed = true;
  };
  const refuseLate = (): void => refuse(lateProblem(window));
  setHandler(
    pause,
    change(() => (window.paused = true)),
    { validator: refuseLate },
  );
  setHandler(
    resume,
    change(() => (window.paused = false)),
    { validator: refuseLate },
  );
  setHandler(
    resize,
    ({ width }) => {
      window.width = width;
      window.changed = true;
    },
    { validator: (request) => refuse(lateProblem(window) ?? widthProblem(request.width)) },
  );
  setHandler(
    stop,
    ({ running }) => {
      window.stopping = running;
      window.cancelRequested = running === 'cancel';
      window.changed = true;
    },
    { validator: (request) => refuse(lateProblem(window) ?? stopProblem(request)) },
  );
}

const lateProblem = (window: Window): string | undefined =>
  window.state === 'assembling' || window.state === 'done' || window.state === 'stopped'
    ? 'Every instance has ended and the dataset is being written: there is nothing left to change.'
    : undefined;

/** One timer for the whole wait: a condition with a timeout would write two events for every child that ends. */
function reconcileTimer(window: Window): { restart(): void; stop(): void } {
  let scope: CancellationScope | undefined;
  const restart = (): void => {
    window.reconcileDue = false;
    scope = new CancellationScope();
    void scope
      .run(() => sleep(window.input.options.reconcileMs))
      .then(() => (window.reconcileDue = true))
      .catch(() => undefined);
  };
  restart();
  return { restart, stop: () => scope?.cancel() };
}

/** Children of a campaign: started in acknowledged batches, looked up when silent, cancelled by name. */
import {
  ChildWorkflowCancellationType,
  ParentClosePolicy,
  WorkflowIdReusePolicy,
  getExternalWorkflowHandle,
  log,
  rootCause,
  startChild,
  workflowInfo,
} from '@temporalio/workflow';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import type { PageEntry } from '../activities/types.ts';
import { positionOf } from '../domain/admission.ts';
import { workflowIds } from '../domain/ids.ts';
import { WORKFLOWS, scopedWorkflowId, taskQueue } from '../domain/messages.ts';
import type { InstanceInput } from '../domain/messages.ts';
import { attributes } from './attributes.ts';
import { skipEmptyEnd } from './campaignPages.ts';
import {
  addRunning,
  admissibleSources,
  countMined,
  countRejection,
  countResult,
  room,
  settle,
  surplusRunning,
} from './campaignWindow.ts';
import type { Window } from './campaignWindow.ts';
import { controlOn } from './proxies.ts';

type Fresh = Extract<PageEntry, { candidate: unknown }>;

/** Fills the window from the pages that are here, in batches, until it is full or the order has to wait for a page. */
export async function admit(window: Window): Promise<void> {
  const batch: Fresh[] = [];
  while (room(window) > 0) {
    const source = nextSource(window);
    if (source === undefined) break;
    const entry = take(window, source);
    if (entry !== undefined) batch.push(entry);
  }
  window.started += batch.length;
  await Promise.all(batch.map((entry) => start(window, entry)));
}

/** The source whose next entry is needed most, among those that may go on and are mined. */
const nextSource = (window: Window): number | undefined =>
  admissibleSources(window).find((source) => window.pages.has(source));

/** Takes a source's next entry; undefined when it is settled already (rejected when mined, or ended in an earlier run). */
function take(window: Window, source: number): Fresh | undefined {
  const progress = window.sources[source];
  const entry = window.pages.get(source)?.entries[progress?.taken ?? 0];
  if (progress === undefined || entry === undefined) return undefined;
  const position = positionOf(window.sources.length, source, progress.admitted);
  progress.taken += 1;
  progress.admitted += 1;
  countMined(window);
  skipEmptyEnd(window, source);
  if ('rejected' in entry) countRejection(window, entry.rejected);
  else if (entry.settled !== null) countResult(window, position, entry.settled);
  else if (!window.running.has(entry.id)) {
    addRunning(window, { id: entry.id, position });
    return entry;
  }
  return undefined;
}

/** Starts one child and waits until the server has it; one that runs already (from before a restart) is adopted. */
async function start(window: Window, entry: Fresh): Promise<void> {
  const { name, queuePrefix, options } = window.input;
  const input: InstanceInput = {
    campaign: name,
    campaignWorkflowId: workflowInfo().workflowId,
    queuePrefix,
    instanceId: entry.id,
    repo: entry.repo,
    candidate: entry.candidate,
    options: {
      passToPassBudgetMs: options.passToPassBudgetMs,
      maxForgeryOdds: options.maxForgeryOdds,
      runLimits: options.runLimits,
      runtimes: options.runtimes,
    },
  };
  try {
    await startChild(WORKFLOWS.instance, {
      workflowId: childId(window, entry.id),
      taskQueue: taskQueue(queuePrefix, 'control'),
      args: [input],
      parentClosePolicy: ParentClosePolicy.ABANDON, // children outlive continue-as-new
      cancellationType: ChildWorkflowCancellationType.ABANDON, // they are cancelled by name, whichever run started them
      workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE, // a resumed campaign tries an infra end again
      staticSummary: entry.id,
      typedSearchAttributes: [
        { key: attributes.campaign, value: name },
        { key: attributes.repo, value: entry.repo },
        { key: attributes.stage, value: 'resolve' },
      ],
    });
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    log.info('adopted a running instance', { id: entry.id });
  }
}

const childId = (window: Window, instanceId: string): string =>
  scopedWorkflowId(window.input.queuePrefix, workflowIds.instance(window.input.name, instanceId));

/** Looks up children that were in flight at the last look already: a terminated child reports nothing. */
export async function reconcile(window: Window): Promise<void> {
  const silent = window.lookedAt.filter((id) => window.running.has(id));
  if (silent.length > 0) {
    const found = await controlOn(window.input.queuePrefix).describeInstances({
      campaign: window.input.name,
      queuePrefix: window.input.queuePrefix,
      ids: silent,
    });
    for (const { id, alive, result } of found)
      if (!alive)
        settle(window, {
          instanceId: id,
          result: result ?? {
            outcome: 'rejected',
            stage: 'mine',
            containerRuns: 0,
            rejection: { reason: 'infra', detail: 'its workflow was ended from outside and left no result' },
          },
        });
  }
  window.lookedAt = [...window.running.keys()];
}

/** Asks every child in flight to end; each still reports. */
export const cancelRunning = (window: Window): Promise<void> => askToEnd(window, [...window.running.keys()]);

/** Asks those in flight that can no longer be published to end: slots go to what may be. */
export async function dismissSurplus(window: Window): Promise<void> {
  const ids = surplusRunning(window).filter((id) => !window.dismissed.has(id));
  for (const id of ids) window.dismissed.add(id);
  await askToEnd(window, ids);
}

async function askToEnd(window: Window, ids: readonly string[]): Promise<void> {
  await Promise.all(
    ids.map((id) =>
      getExternalWorkflowHandle(childId(window, id))
        .cancel()
        .catch((error: unknown) =>
          log.info('already gone', { id, reason: rootCause(error) ?? String(error) }),
        ),
    ),
  );
}

import type { WorkflowExecutionStatusName, WorkflowHandle } from '@temporalio/client';
import { WorkflowIdConflictPolicy, WorkflowIdReusePolicy } from '@temporalio/common';
import { hashOf } from '../domain/canonical.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { workflowIds } from '../domain/ids.ts';
import { WORKFLOWS, scopedWorkflowId, taskQueue } from '../domain/messages.ts';
import { recordNames } from '../domain/records.ts';
import { RL_UPDATES, rlProblem } from '../domain/rl/messages.ts';
import type { RlInput, RlProgress, RlSummary } from '../domain/rl/messages.ts';
import type { RlManifest, RlOptions } from '../domain/rl/options.ts';
import type { EvaluationContext } from './evaluations.ts';
import { progressOf, standingOf, statusOf } from './asking.ts';
import { waitOverOutages } from './outage.ts';
import { steeringOf } from './steering.ts';
import type { ArtefactRef } from '../domain/types.ts';
import { playable } from './prompts.ts';
import type { Playable, PlayableRequest } from './prompts.ts';

export type RlContext = EvaluationContext;

export interface RlStartRequest {
  readonly run: string;
  /** Path of the dataset, for the reports. */
  readonly dataset: string;
  readonly rows: PlayableRequest['rows'];
  /** So many of the rows, the last ones, are scored and never trained on. */
  readonly heldOut: number;
  readonly options: RlOptions;
  readonly servers: readonly string[];
  readonly trainer: string;
  /** Directory of the model that training begins with, as the trainer and the servers see it. */
  readonly model: string;
  readonly servedModel: string;
}

export interface StartedRl {
  readonly run: string;
  readonly how: 'started' | 'attached' | 'resumed';
  readonly workflowId: string;
  readonly prompts: number;
  readonly heldOut: number;
  /** Instances that the agent has no task of, and why. */
  readonly leftOut: Playable['leftOut'];
  /** Attached to a run that was started with other instances, addresses or numbers. */
  readonly otherwise: boolean;
  /** Instances, trained on or held out, whose grade is not guarded by canaries. */
  readonly withoutCanaries: number;
}

/**
 * Starts a training run, or takes up the one of this name: running → attach; ended in any way → it goes on from the
 * trainer's last committed step. Numbers may differ from the first start; model and instances must not.
 * Throws a BadInput failure with one sentence when the request cannot be used.
 */
export async function startRl(context: RlContext, request: RlStartRequest): Promise<StartedRl> {
  const { run, options } = request;
  const { manifest, leftOut } = await manifestOf(context, request);
  const counts = { prompts: manifest.prompts.length, heldOut: manifest.heldOut.length };
  const workflowId = rlId(context, run);
  const draft: RlInput = {
    run,
    queuePrefix: context.queuePrefix,
    manifest: await context.store.putJson(manifest),
    promptCount: counts.prompts,
    heldOutCount: counts.heldOut,
    options,
    epoch: 0,
  };
  const problem = rlProblem(draft);
  if (problem !== undefined) throw permanentFailure(FAILURE_TYPES.badInput, problem);
  const played = [...manifest.prompts, ...manifest.heldOut];
  const withoutCanaries = played.filter(({ provenCanaries }) => provenCanaries === null).length;
  const told = { run, workflowId, ...counts, leftOut, withoutCanaries };
  const start: RlStart = { manifest: draft.manifest, options };
  if ((await statusOf(handleOf(context, run))) === 'RUNNING')
    return { ...told, how: 'attached', otherwise: await differs(context, run, start) };
  await requireSameRun(context, manifest);
  const epoch = await nextEpoch(context, run, start);
  await context.client.workflow.start(WORKFLOWS.rl, {
    workflowId,
    taskQueue: taskQueue(context.queuePrefix, 'control'),
    args: [{ ...draft, epoch }],
    workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
    workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
    staticSummary: `${run}: ${options.agent}, ${counts.prompts} instances, ${options.steps} steps`,
  });
  return { ...told, how: epoch === 0 ? 'started' : 'resumed', otherwise: false };
}

async function manifestOf(
  { store }: RlContext,
  request: RlStartRequest,
): Promise<{ readonly manifest: RlManifest; readonly leftOut: StartedRl['leftOut'] }> {
  const { rows, options, run, dataset, servers, trainer, model, servedModel } = request;
  const { agent, seed, budget } = options;
  const { prompts, leftOut } = await playable(store, { rows, agent, seed, maxTokens: budget.maxTokens });
  const trained = Math.max(0, prompts.length - request.heldOut);
  const manifest: RlManifest = {
    schema: 1,
    run,
    dataset,
    prompts: prompts.slice(0, trained),
    heldOut: prompts.slice(trained),
    servers,
    trainer,
    model,
    servedModel,
  };
  return { manifest, leftOut };
}

/** A name stands for one model and one set of instances: the trainer's journal and the log go by it. */
async function requireSameRun({ records }: RlContext, manifest: RlManifest): Promise<void> {
  const { run, model, prompts } = manifest;
  const identity = { model, prompts: hashOf(prompts.map(({ row, task }) => [row, task])) };
  const { value } = await records.record(recordNames.rlRun(run), identity);
  if (value.model !== model || value.prompts !== identity.prompts)
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `The training run "${run}" began with another model or other instances; give another name.`,
    );
}

/** What a run is started with; the record names the manifest, since `gc` keeps what records name. */
interface RlStart {
  readonly manifest: ArtefactRef;
  readonly options: RlOptions;
}

async function nextEpoch({ records }: RlContext, run: string, start: RlStart): Promise<number> {
  for (let epoch = 0; ; epoch += 1) {
    const { created } = await records.record(recordNames.rlStart(run, epoch), {
      startedMs: Date.now(),
      ...start,
    });
    if (created) return epoch;
  }
}

/** Whether a run was started with something else the last time. */
async function differs({ records }: RlContext, run: string, start: RlStart): Promise<boolean> {
  const last = (await records.list(recordNames.rlStarts(run))).at(-1);
  const before = last === undefined ? null : await records.read<RlStart>(last);
  return (
    before !== null && hashOf([before.manifest, before.options]) !== hashOf([start.manifest, start.options])
  );
}

export interface RlStatus {
  readonly run: string;
  readonly status: WorkflowExecutionStatusName;
  /** null when no worker answers. */
  readonly progress: RlProgress | null;
  /** What is tried again and again, and why it failed the last time; rollouts are workflows of their own. */
  readonly heldUpBy: readonly string[];
}

/** How a training run is doing; null when there is none of this name. */
export async function rlStatus(context: RlContext, run: string): Promise<RlStatus | null> {
  const handle = handleOf(context, run);
  const standing = await standingOf(handle);
  if (standing === null) return null;
  const progress = await progressOf<RlProgress>(context.client, handle);
  return { run, ...standing, progress };
}

/** Waits for the end, over every continue-as-new and every outage of Temporal. Throws the run's failure. */
export const waitForRl = (context: RlContext, run: string, signal?: AbortSignal): Promise<RlSummary> =>
  waitOverOutages(() => handleOf(context, run).result(), signal);

export const setRlStaleness = (context: RlContext, run: string, maxStaleness: number): Promise<void> =>
  handleOf(context, run).executeUpdate(RL_UPDATES.setStaleness, { args: [{ maxStaleness }] });
/** Ends the run after the step under way; the same name takes it up again. */
export const stopRl = (context: RlContext, run: string): Promise<void> =>
  handleOf(context, run).executeUpdate<void, []>(RL_UPDATES.stop);

/** Ends the run at once, whatever it waits for; the step under way is taken anew when the same name is started again. */
export const cancelRl = async (context: RlContext, run: string): Promise<void> => {
  await handleOf(context, run).cancel();
};

type RlHandle = WorkflowHandle<(input: RlInput) => Promise<RlSummary>>;

const rlId = ({ queuePrefix }: RlContext, run: string): string =>
  scopedWorkflowId(queuePrefix, workflowIds.rl(run));
const handleOf = (context: RlContext, run: string): RlHandle =>
  context.client.workflow.getHandle(rlId(context, run));

export const { pause: pauseRl, resume: resumeRl, resize: resizeRl } = steeringOf(handleOf);

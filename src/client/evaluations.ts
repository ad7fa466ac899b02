import type { WorkflowExecutionStatusName, WorkflowHandle } from '@temporalio/client';
import { WorkflowIdConflictPolicy, WorkflowIdReusePolicy } from '@temporalio/common';
import type { EvaluationManifest } from '../activities/evaluation.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { workflowIds } from '../domain/ids.ts';
import { WORKFLOWS, evaluationProblem, scopedWorkflowId, taskQueue } from '../domain/messages.ts';
import type { EvaluationInput, EvaluationProgress, EvaluationSummary } from '../domain/messages.ts';
import { recordNames } from '../domain/records.ts';
import type { ArtefactRef, InstanceRow } from '../domain/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { CampaignContext } from './campaigns.ts';
import { progressOf, statusOf } from './asking.ts';
import { waitOverOutages } from './outage.ts';
import { steeringOf } from './steering.ts';

export interface EvaluationContext extends CampaignContext {
  readonly store: ArtefactStore;
}

/** One prediction to evaluate: a stored or inline patch, the row's own gold, nothing (`nop`), or an empty patch (null). */
export interface EvaluationEntry {
  readonly instanceId: string;
  readonly modelNameOrPath: string;
  readonly patch: { readonly text: string } | ArtefactRef | 'gold' | 'nop' | null;
}

export interface EvaluationRequest {
  readonly runId: string;
  /** Path of the dataset, for the reports. */
  readonly dataset: string;
  readonly rows: readonly { readonly row: InstanceRow; readonly provenCanaries: ArtefactRef | null }[];
  readonly entries: readonly EvaluationEntry[];
  /** Evaluations in flight at once; containers at once are the workers' slots. */
  readonly width?: number;
  readonly pageSize?: number;
}

export interface StartedEvaluation {
  readonly runId: string;
  readonly how: 'started' | 'attached' | 'resumed';
  readonly workflowId: string;
}

const DEFAULT_WIDTH = 16; // keeps every slot of a large host busy; slots, not this, bound the containers
const DEFAULT_PAGE_SIZE = 500; // about 3 events each: under the continue-as-new suggestion

/**
 * Starts an evaluation run, or takes up the one of this id: running → attach; ended in any way → a new run, in which
 * what is recorded under the id is not evaluated again. One run id is one set of predictions.
 * Throws a BadInput failure when a prediction names an unknown instance, or the id was used for other predictions.
 */
export async function startEvaluation(
  context: EvaluationContext,
  request: EvaluationRequest,
): Promise<StartedEvaluation> {
  const { runId } = request;
  const manifest = await manifestOf(context, request);
  const input: EvaluationInput = {
    runId,
    queuePrefix: context.queuePrefix,
    manifest: manifest.ref,
    total: manifest.total,
    width: request.width ?? DEFAULT_WIDTH,
    pageSize: request.pageSize ?? DEFAULT_PAGE_SIZE,
  };
  const problem = evaluationProblem(input);
  if (problem !== undefined) throw permanentFailure(FAILURE_TYPES.badInput, problem);
  const workflowId = evaluationId(context, runId);
  const status = await statusOf(handleOf(context, runId));
  if (status === 'RUNNING') return { runId, how: 'attached', workflowId };
  await context.client.workflow.start(WORKFLOWS.evaluation, {
    workflowId,
    taskQueue: taskQueue(context.queuePrefix, 'control'),
    args: [input],
    workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
    workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
    staticSummary: `${runId}: ${manifest.total} predictions`,
  });
  return { runId, how: status === null && manifest.created ? 'started' : 'resumed', workflowId };
}

/** The manifest of a run id is recorded at its first start; results are recorded by their place in it. */
async function manifestOf(
  context: EvaluationContext,
  request: EvaluationRequest,
): Promise<{ readonly ref: ArtefactRef; readonly total: number; readonly created: boolean }> {
  const { store } = context;
  const indexOf = new Map(request.rows.map(({ row }, index) => [row.instance_id, index]));
  const rows = await Promise.all(
    request.rows.map(async ({ row, provenCanaries }) => ({ row: await store.putJson(row), provenCanaries })),
  );
  const entries = await Promise.all(
    request.entries.map(async ({ instanceId, modelNameOrPath, patch }) => {
      const row = indexOf.get(instanceId);
      if (row === undefined)
        throw permanentFailure(
          FAILURE_TYPES.badInput,
          `There is no instance ${instanceId} in ${request.dataset}.`,
        );
      const stored = typeof patch === 'object' && patch !== null ? await store.put(patch.text) : patch;
      return { row, modelNameOrPath, patch: stored };
    }),
  );
  const known = await context.records.read<{ readonly manifest: ArtefactRef }>(
    recordNames.evaluation(request.runId),
  );
  const createdAt =
    known === null
      ? new Date().toISOString()
      : (await store.getJson<EvaluationManifest>(known.manifest)).createdAt;
  const manifest: EvaluationManifest = {
    schema: 1,
    runId: request.runId,
    createdAt,
    dataset: request.dataset,
    rows,
    entries,
  };
  const ref = await store.putJson(manifest);
  const { value, created } = await context.records.record(recordNames.evaluation(request.runId), {
    manifest: ref,
  });
  if (value.manifest !== ref)
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `Run id "${request.runId}" belongs to other predictions or another dataset; give another run id.`,
    );
  return { ref, total: entries.length, created };
}

export interface EvaluationStatus {
  readonly runId: string;
  readonly status: WorkflowExecutionStatusName;
  /** null when no worker answers. */
  readonly progress: EvaluationProgress | null;
}

/** How an evaluation run is doing. null when there is none of this id. */
export async function evaluationStatus(
  context: CampaignContext,
  runId: string,
): Promise<EvaluationStatus | null> {
  const handle = handleOf(context, runId);
  const status = await statusOf(handle);
  if (status === null) return null;
  const progress = await progressOf<EvaluationProgress>(context.client, handle);
  return { runId, status, progress };
}

/** Waits for the end, over every continue-as-new and every outage of Temporal. Throws the run's failure. */
export const waitForEvaluation = (
  context: CampaignContext,
  runId: string,
  signal?: AbortSignal,
): Promise<EvaluationSummary> => waitOverOutages(() => handleOf(context, runId).result(), signal);

type EvaluationHandle = WorkflowHandle<(input: EvaluationInput) => Promise<EvaluationSummary>>;

const evaluationId = ({ queuePrefix }: CampaignContext, runId: string): string =>
  scopedWorkflowId(queuePrefix, workflowIds.evaluation(runId));

const handleOf = (context: CampaignContext, runId: string): EvaluationHandle =>
  context.client.workflow.getHandle(evaluationId(context, runId));

export const {
  pause: pauseEvaluation,
  resume: resumeEvaluation,
  resize: resizeEvaluation,
  stop: stopEvaluation,
} = steeringOf(handleOf);

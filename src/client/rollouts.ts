import type { WorkflowExecutionStatusName, WorkflowHandle } from '@temporalio/client';
import { WorkflowIdConflictPolicy, WorkflowIdReusePolicy } from '@temporalio/common';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { workflowIds } from '../domain/ids.ts';
import { WORKFLOWS, scopedWorkflowId, taskQueue } from '../domain/messages.ts';
import { recordNames } from '../domain/records.ts';
import { budgetProblem } from '../domain/rl/messages.ts';
import type { AgentName, EpisodeBudget } from '../domain/rl/options.ts';
import { RL_PRESETS } from '../domain/rl/presets.ts';
import { MAX_ATTEMPTS, rolloutCount, rolloutsProblem } from '../domain/rl/rollouts.ts';
import type {
  RolloutsInput,
  RolloutsManifest,
  RolloutsProgress,
  RolloutsSummary,
} from '../domain/rl/rollouts.ts';
import type { ArtefactRef } from '../domain/types.ts';
import type { EvaluationContext } from './evaluations.ts';
import { progressOf, statusOf } from './asking.ts';
import { waitOverOutages } from './outage.ts';
import { steeringOf } from './steering.ts';
import { playable } from './prompts.ts';
import type { Playable, PlayableRequest } from './prompts.ts';

export interface RolloutsRequest {
  readonly run: string;
  /** Path of the dataset, for the reports. */
  readonly dataset: string;
  readonly rows: PlayableRequest['rows'];
  readonly agent: AgentName;
  readonly model: string;
  /** Addresses of OpenAI-compatible servers that serve the model, e.g. `http://127.0.0.1:8000/v1`. */
  readonly servers: readonly string[];
  /** Attempts at each instance. */
  readonly attempts: number;
  /** Model that chooses one of an instance's patches, on the same servers. */
  readonly selectModel?: string;
  readonly temperature?: number;
  readonly budget?: Partial<EpisodeBudget>;
  readonly seed?: number;
  /** Rollouts in flight at once. */
  readonly width?: number;
  readonly pageSize?: number;
}

export interface StartedRollouts {
  readonly run: string;
  readonly how: 'started' | 'attached' | 'resumed';
  readonly workflowId: string;
  /** Instances of which the selector can be given no task, and why. */
  readonly leftOut: Playable['leftOut'];
}

/** The coder's in training, with more time: nobody waits for the last of a group. */
export const DEFAULT_BUDGET: EpisodeBudget = {
  ...RL_PRESETS.repoforge.options.budget,
  maxWallMs: 60 * 60_000,
};
const DEFAULT_WIDTH = 16; // slots, not this, bound containers and requests
const DEFAULT_PAGE_SIZE = 250; // about 10 events each: well under the continue-as-new suggestion

/**
 * Starts a run of rollouts, or takes up the one of this name: running → attach; ended in any way → a new start, in which
 * nothing that is recorded is played again. One name is one set of instances and settings.
 * Throws a BadInput failure when the name was used for others, or nothing can be played.
 */
export async function startRollouts(
  context: EvaluationContext,
  request: RolloutsRequest,
): Promise<StartedRollouts> {
  const { run } = request;
  if (!(Number.isInteger(request.attempts) && request.attempts >= 1 && request.attempts <= MAX_ATTEMPTS))
    throw permanentFailure(FAILURE_TYPES.badInput, `attempts must be from 1 to ${MAX_ATTEMPTS}.`);
  const { manifest, leftOut } = await manifestOf(context, request);
  const tooMuch = budgetProblem(manifest.budget);
  if (tooMuch !== undefined) throw permanentFailure(FAILURE_TYPES.badInput, tooMuch);
  const stored = await recordManifest(context, manifest);
  const input: RolloutsInput = {
    run,
    queuePrefix: context.queuePrefix,
    manifest: stored.ref,
    servers: request.servers,
    totals: {
      play: rolloutCount(manifest),
      select: manifest.selectModel === null ? 0 : manifest.instances.length,
    },
    width: request.width ?? DEFAULT_WIDTH,
    pageSize: request.pageSize ?? DEFAULT_PAGE_SIZE,
  };
  const problem = rolloutsProblem(input);
  if (problem !== undefined) throw permanentFailure(FAILURE_TYPES.badInput, problem);
  const workflowId = rolloutsId(context, run);
  const status = await statusOf(handleOf(context, run));
  if (status === 'RUNNING') return { run, how: 'attached', workflowId, leftOut };
  await context.client.workflow.start(WORKFLOWS.rollouts, {
    workflowId,
    taskQueue: taskQueue(context.queuePrefix, 'control'),
    args: [input],
    workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
    workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
    staticSummary: `${run}: ${request.agent} with ${request.model}, ${manifest.instances.length} instances × ${request.attempts}`,
  });
  return { run, how: status === null && stored.created ? 'started' : 'resumed', workflowId, leftOut };
}

async function manifestOf(
  { store }: EvaluationContext,
  request: RolloutsRequest,
): Promise<{ readonly manifest: RolloutsManifest; readonly leftOut: StartedRollouts['leftOut'] }> {
  const { rows, agent } = request;
  const budget = { ...DEFAULT_BUDGET, ...request.budget };
  const seed = request.seed ?? 0;
  const { prompts, leftOut } = await playable(store, { rows, agent, seed, maxTokens: budget.maxTokens });
  if (prompts.length === 0)
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `There is no instance to play in ${request.dataset}${leftOut[0] === undefined ? '' : `; the first is left out since ${leftOut[0].why}`}.`,
    );
  const manifest: RolloutsManifest = {
    schema: 1,
    run: request.run,
    createdAt: new Date().toISOString(),
    dataset: request.dataset,
    agent: request.agent,
    model: request.model,
    selectModel: request.selectModel ?? null,
    attempts: request.attempts,
    temperature: request.temperature ?? 1,
    budget,
    seed,
    instances: prompts,
  };
  return { manifest, leftOut };
}

/** The manifest of a name is recorded at its first start; only its date may differ. */
async function recordManifest(
  context: EvaluationContext,
  manifest: RolloutsManifest,
): Promise<{ readonly ref: ArtefactRef; readonly created: boolean }> {
  const { store, records } = context;
  const name = recordNames.rollouts(manifest.run);
  const known = await records.read<{ readonly manifest: ArtefactRef }>(name);
  const createdAt =
    known === null ? manifest.createdAt : (await store.getJson<RolloutsManifest>(known.manifest)).createdAt;
  const ref = await store.putJson({ ...manifest, createdAt });
  const { value, created } = await records.record(name, { manifest: ref });
  if (value.manifest !== ref)
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `Run "${manifest.run}" belongs to other instances or settings; give another name.`,
    );
  return { ref, created };
}

export interface RolloutsStatus {
  readonly run: string;
  readonly status: WorkflowExecutionStatusName;
  /** null when no worker answers. */
  readonly progress: RolloutsProgress | null;
}

/** How a run of rollouts is doing. null when there is none of this name. */
export async function rolloutsStatus(
  context: EvaluationContext,
  run: string,
): Promise<RolloutsStatus | null> {
  const handle = handleOf(context, run);
  const status = await statusOf(handle);
  if (status === null) return null;
  const progress = await progressOf<RolloutsProgress>(context.client, handle);
  return { run, status, progress };
}

/** Waits for the end, over every continue-as-new and every outage of Temporal. Throws the run's failure. */
export const waitForRollouts = (
  context: EvaluationContext,
  run: string,
  signal?: AbortSignal,
): Promise<RolloutsSummary> => waitOverOutages(() => handleOf(context, run).result(), signal);

type RolloutsHandle = WorkflowHandle<(input: RolloutsInput) => Promise<RolloutsSummary>>;

const rolloutsId = ({ queuePrefix }: EvaluationContext, run: string): string =>
  scopedWorkflowId(queuePrefix, workflowIds.rollouts(run));

const handleOf = (context: EvaluationContext, run: string): RolloutsHandle =>
  context.client.workflow.getHandle(rolloutsId(context, run));

export const {
  pause: pauseRollouts,
  resume: resumeRollouts,
  resize: resizeRollouts,
  stop: stopRollouts,
} = steeringOf(handleOf);

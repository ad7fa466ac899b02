import type { Client, WorkflowExecutionStatusName, WorkflowHandle } from '@temporalio/client';
import { WorkflowIdConflictPolicy, WorkflowIdReusePolicy } from '@temporalio/common';
import { canonicalJson } from '../domain/canonical.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { workflowIds } from '../domain/ids.ts';
import { DEFAULT_CAMPAIGN_OPTIONS, campaignProblem } from '../domain/campaign.ts';
import { WORKFLOWS, scopedWorkflowId, taskQueue } from '../domain/messages.ts';
import type { CampaignInput, CampaignOptions, CampaignProgress, CampaignResult } from '../domain/campaign.ts';
import type { SourceSpec } from '../domain/sourceSpec.ts';
import { recordNames } from '../domain/records.ts';
import type { RecordStore } from '../store/types.ts';
import { attributes } from '../workflows/attributes.ts';
import { progressOf, statusOf } from './asking.ts';
import { waitOverOutages } from './outage.ts';
import { steeringOf } from './steering.ts';

/** What the functions below need of the world. */
export interface CampaignContext {
  readonly client: Client;
  readonly queuePrefix: string;
  readonly records: RecordStore;
}

export interface CampaignRequest {
  readonly name: string;
  readonly sources: readonly SourceSpec[];
  readonly options?: Partial<CampaignOptions>;
  /**
   * Do not resume: take the first free name of `<name>`, `<name>-2`, `<name>-3`, … Nothing of the earlier campaign is
   * touched, so a mistake costs nothing; records of what both share (locks, environments, evaluations) are still served.
   */
  readonly fresh?: boolean;
}

export interface StartedCampaign {
  readonly name: string;
  /** `started`: new; `attached`: it was running; `resumed`: a new run over its records; `finished`: nothing left to do. */
  readonly how: 'started' | 'attached' | 'resumed' | 'finished';
  readonly workflowId: string;
}

/**
 * Starts a campaign, or takes up the one of this name: running → attach; failed, terminated, timed out, stopped, or with
 * ends by infrastructure → a new run that walks over what is recorded; done → its result stands. Width and caps may
 * differ from the first start (a raised cap continues a finished campaign); everything else must not.
 * Throws a BadInput failure with one sentence when the request cannot be used.
 */
export async function startCampaign(
  context: CampaignContext,
  request: CampaignRequest,
): Promise<StartedCampaign> {
  const name = request.fresh === true ? await freeName(context, request.name) : request.name;
  const input: CampaignInput = {
    name,
    queuePrefix: context.queuePrefix,
    sources: request.sources,
    options: { ...DEFAULT_CAMPAIGN_OPTIONS, ...request.options },
  };
  const problem = campaignProblem(input);
  if (problem !== undefined) throw permanentFailure(FAILURE_TYPES.badInput, problem);
  const before = await context.records.read<CampaignInput>(recordNames.campaignInput(name));
  if (before !== null) refuseOtherCampaign(before, input);
  const workflowId = campaignId(context, name);
  const how = await howToStart(context, before, input);
  if (how === 'started' || how === 'resumed') {
    await context.records.replace(recordNames.campaignInput(name), input);
    await context.client.workflow.start(WORKFLOWS.campaign, {
      workflowId,
      taskQueue: taskQueue(context.queuePrefix, 'control'),
      args: [input],
      workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
      workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING, // two starts at once are one
      typedSearchAttributes: [{ key: attributes.campaign, value: name }],
      staticSummary: name,
      memo: { sources: request.sources.map((source) => canonicalJson(source)).slice(0, 20) },
    });
  }
  return { name, how, workflowId };
}

async function howToStart(
  context: CampaignContext,
  before: CampaignInput | null,
  input: CampaignInput,
): Promise<StartedCampaign['how']> {
  const handle = handleOf(context, input.name);
  const status = await statusOf(handle);
  if (status === null) return before === null ? 'started' : 'resumed';
  if (status === 'RUNNING') return 'attached';
  if (status !== 'COMPLETED') return 'resumed';
  const result = await handle.result();
  const unfinished = result.state === 'stopped' || (result.counts.rejected.infra ?? 0) > 0;
  const sameCaps = before !== null && canonicalJson(capsOf(before)) === canonicalJson(capsOf(input));
  return unfinished || !sameCaps ? 'resumed' : 'finished';
}

/** Pages and results are recorded under the name: another campaign under the same name would mix with them. */
function refuseOtherCampaign(before: CampaignInput, input: CampaignInput): void {
  if (canonicalJson(identityOf(before)) === canonicalJson(identityOf(input))) return;
  throw permanentFailure(
    FAILURE_TYPES.badInput,
    `Campaign "${input.name}" was started with other sources or options; give another name, or start it fresh.`,
  );
}

/** What may change from start to start. */
const capsOf = ({ sources, options }: CampaignInput): unknown => ({
  perSource: sources.map(({ maxInstances }) => maxInstances ?? null),
  overall: options.maxInstances,
});

function identityOf({ sources, options }: CampaignInput): unknown {
  const { width: _w, maxInstances: _m, pageSize: _p, reconcileMs: _r, ...rest } = options;
  return { sources: sources.map(({ maxInstances: _cap, ...source }) => source), options: rest };
}

async function freeName(context: CampaignContext, name: string): Promise<string> {
  for (let number = 1; ; number += 1) {
    const candidate = number === 1 ? name : `${name}-${number}`;
    const recorded = await context.records.read(recordNames.campaignInput(candidate));
    if (recorded === null && (await statusOf(handleOf(context, candidate))) === null) return candidate;
  }
}

export interface CampaignStatus {
  readonly name: string;
  readonly status: WorkflowExecutionStatusName;
  /** null when no worker answers. */
  readonly progress: CampaignProgress | null;
  /** Present once completed. */
  readonly result: CampaignResult | null;
  /** Why it failed, in one sentence; null otherwise. */
  readonly failure: string | null;
}

/** How a campaign is doing. null when there is none of this name. */
export async function campaignStatus(context: CampaignContext, name: string): Promise<CampaignStatus | null> {
  const handle = handleOf(context, name);
  const status = await statusOf(handle);
  if (status === null) return null;
  const ended = status === 'COMPLETED' || status === 'FAILED';
  const { result, failure } = ended ? await endOf(handle) : { result: null, failure: null };
  const progress = await progressOf<CampaignProgress>(context.client, handle);
  return { name, status, progress, result, failure };
}

async function endOf(
  handle: CampaignHandle,
): Promise<{ readonly result: CampaignResult | null; readonly failure: string | null }> {
  try {
    return { result: await handle.result(), failure: null };
  } catch (error) {
    return { result: null, failure: sentenceOf(error) };
  }
}

/** The innermost message: the outer ones say only that a workflow failed. */
function sentenceOf(error: unknown): string {
  let last = error;
  while (last instanceof Error && last.cause instanceof Error) last = last.cause;
  return last instanceof Error ? last.message : String(last);
}

/** Waits for the end, over every continue-as-new and every outage of Temporal. Throws the campaign's failure. */
export const waitForCampaign = (
  context: CampaignContext,
  name: string,
  signal?: AbortSignal,
): Promise<CampaignResult> => waitOverOutages(() => handleOf(context, name).result(), signal);

type CampaignHandle = WorkflowHandle<(input: CampaignInput) => Promise<CampaignResult>>;

const campaignId = ({ queuePrefix }: CampaignContext, name: string): string =>
  scopedWorkflowId(queuePrefix, workflowIds.campaign(name));

const handleOf = (context: CampaignContext, name: string): CampaignHandle =>
  context.client.workflow.getHandle(campaignId(context, name));

export const {
  pause: pauseCampaign,
  resume: resumeCampaign,
  resize: resizeCampaign,
  stop: stopCampaign,
} = steeringOf(handleOf);

import type { WorkflowHandle } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import pino from 'pino';
import { workflowIds } from '../../src/domain/ids.ts';
import { DEFAULT_CAMPAIGN_OPTIONS } from '../../src/domain/campaign.ts';
import { QUEUE_ROLES, scopedWorkflowId, taskQueue } from '../../src/domain/messages.ts';
import type { CampaignInput, CampaignOptions } from '../../src/domain/campaign.ts';
import type { SourceSpec } from '../../src/domain/sourceSpec.ts';
import type { campaign } from '../../src/workflows/campaign.ts';
import { startWorkers } from '../../src/workers/main.ts';
import type { RunningWorkers } from '../../src/workers/main.ts';
import { createStubs } from './stubs.ts';
import type { StubPlan, Stubs } from './stubs.ts';
import { uniquePrefix, workflowBundle } from './temporal.ts';

export interface Bench extends Stubs {
  readonly prefix: string;
  readonly env: TestWorkflowEnvironment;
  readonly input: (sources: readonly SourceSpec[], options?: Partial<CampaignOptions>) => CampaignInput;
  start(input: CampaignInput): Promise<WorkflowHandle<typeof campaign>>;
  readonly instanceId: (id: string) => string;
  readonly workers: RunningWorkers;
}

/** Workers of all roles with stub activities on queues of their own, for the time of `work`. */
export async function withBench<T>(
  env: TestWorkflowEnvironment,
  title: string,
  plan: StubPlan,
  work: (bench: Bench) => Promise<T>,
  sandboxSlots = 20,
): Promise<T> {
  const prefix = uniquePrefix(title);
  const stubs = createStubs(env, plan);
  const workers = await startWorkers({
    leases: null,
    roles: QUEUE_ROLES,
    connection: env.nativeConnection,
    place: {
      queuePrefix: prefix,
      namespace: env.namespace ?? 'default',
      sizing: { sandboxSlots, miningPerSecond: null },
    },
    activities: stubs.activities,
    bundle: workflowBundle(),
    log: pino({ level: 'silent' }),
  });
  const input = (sources: readonly SourceSpec[], options: Partial<CampaignOptions> = {}): CampaignInput => ({
    name: 'camp',
    queuePrefix: prefix,
    sources,
    options: { ...DEFAULT_CAMPAIGN_OPTIONS, reconcileMs: 2_000, ...options },
  });
  const start = (campaignInput: CampaignInput): Promise<WorkflowHandle<typeof campaign>> =>
    env.client.workflow.start<typeof campaign>('campaign', {
      workflowId: scopedWorkflowId(prefix, workflowIds.campaign(campaignInput.name)),
      taskQueue: taskQueue(prefix, 'control'),
      args: [campaignInput],
    });
  const instanceId = (id: string): string => scopedWorkflowId(prefix, workflowIds.instance('camp', id));
  try {
    return await work({ ...stubs, prefix, env, input, start, instanceId, workers });
  } finally {
    await workers.stop();
  }
}

/** `a-00`, `a-01`, … */
export const ids = (stem: string, count: number): readonly string[] =>
  Array.from({ length: count }, (_, index) => `${stem}-${String(index).padStart(2, '0')}`);

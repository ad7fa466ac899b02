import { WorkflowNotFoundError } from '@temporalio/client';
import type { Client } from '@temporalio/client';
import { workflowIds } from '../domain/ids.ts';
import { scopedWorkflowId } from '../domain/messages.ts';
import type { InstanceResult } from '../domain/messages.ts';
import { recordNames } from '../domain/records.ts';
import { assembleCampaign } from './assemble.ts';
import type { AssembleDeps } from './assemble.ts';
import type { ControlActivities } from './types.ts';
import { withWork } from './work.ts';

export interface CampaignDeps extends AssembleDeps {
  readonly installation: string;
  readonly client: Client;
}

/** What the campaign workflow itself asks for: how silent children are doing, and the dataset at the end. */
export function createCampaignActivities(
  deps: CampaignDeps,
): Pick<ControlActivities, 'describeInstances' | 'assembleCampaign'> {
  return {
    describeInstances: ({ campaign, queuePrefix, ids }) =>
      Promise.all(
        ids.map(async (id) => ({
          id,
          alive: await isAlive(
            deps.client,
            scopedWorkflowId(queuePrefix, workflowIds.instance(campaign, id)),
          ),
          result: await deps.records.read<InstanceResult>(recordNames.result(campaign, id)),
        })),
      ),
    assembleCampaign: (request) => withWork(deps, request.campaign, () => assembleCampaign(deps, request)),
  };
}

async function isAlive(client: Client, workflowId: string): Promise<boolean> {
  try {
    const { status } = await client.workflow.getHandle(workflowId).describe();
    return status.name === 'RUNNING';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false; // removed by retention, or never started
    throw error;
  }
}

import { WorkflowNotFoundError } from '@temporalio/client';
import type { Client } from '@temporalio/client';
import { WorkflowIdConflictPolicy, WorkflowIdReusePolicy } from '@temporalio/common';
import type { PruningProof } from '../domain/health.ts';
import { workflowIds } from '../domain/ids.ts';
import { SIGNALS, WORKFLOWS, scopedWorkflowId, taskQueue } from '../domain/messages.ts';
import type { EnvironmentInput } from '../domain/messages.ts';
import { recordNames } from '../domain/records.ts';
import type { RecordStore } from '../store/types.ts';
import type { ControlActivities } from './types.ts';

/** Late askers come within seconds: neighbours in the history share the key. */
const LINGER_MS = 30_000;

/** Who proves a key: an instance, and the workflow that asked for it. */
interface Prover {
  readonly instanceId: string;
  readonly asker: string;
}

/** A prover that ended without a proof (rejected early, dismissed, killed) hands its task to the next that asks. */
async function isRunning(client: Client, workflowId: string): Promise<boolean> {
  try {
    return (await client.workflow.getHandle(workflowId).describe()).status.name === 'RUNNING';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}

/** Asking for an environment: start its workflow or join the one that runs. */
export function createEnvironmentActivities(deps: {
  readonly client: Client;
  readonly records: RecordStore;
}): Pick<ControlActivities, 'askEnvironment'> {
  return {
    async askEnvironment({ key, spec, queuePrefix, asker, instanceId }) {
      const input: EnvironmentInput = { key, spec, queuePrefix, lingerMs: LINGER_MS };
      await deps.client.workflow.signalWithStart(WORKFLOWS.environment, {
        workflowId: scopedWorkflowId(queuePrefix, workflowIds.environment(key)),
        taskQueue: taskQueue(queuePrefix, 'control'),
        args: [input],
        signal: SIGNALS.askEnvironment,
        signalArgs: [{ asker }],
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE, // a collected key is made again
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
        staticSummary: key.slice(0, 12),
      });
      // the first instance ever to ask proves the key, and stays the prover when it is run again
      const { value } = await deps.records.record<Prover>(recordNames.prover(key), { instanceId, asker });
      if (value.instanceId === instanceId) return { prover: true, variant: 'pruned' };
      const proof = await deps.records.read<PruningProof>(recordNames.pruningProof(key));
      if (proof !== null) return { prover: false, variant: proof.agree ? 'pruned' : 'full' };
      return { prover: !(await isRunning(deps.client, value.asker)), variant: 'pruned' };
    },
  };
}

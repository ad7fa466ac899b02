import type { Client } from '@temporalio/client';
import { WorkflowIdConflictPolicy, WorkflowIdReusePolicy } from '@temporalio/common';
import { workflowIds } from '../domain/ids.ts';
import { SIGNALS, WORKFLOWS, scopedWorkflowId, taskQueue } from '../domain/messages.ts';
import type { EnvironmentInput } from '../domain/messages.ts';
import { recordNames } from '../domain/records.ts';
import type { RecordStore } from '../store/types.ts';
import type { ControlActivities } from './types.ts';

/** Late askers come within seconds: neighbours in the history share the key. */
const LINGER_MS = 30_000;

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
      const { value } = await deps.records.record(recordNames.prover(key), { instanceId });
      return { prover: value.instanceId === instanceId };
    },
  };
}

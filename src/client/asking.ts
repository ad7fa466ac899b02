import { WorkflowNotFoundError } from '@temporalio/client';
import type { Client, WorkflowExecutionStatusName, WorkflowHandle } from '@temporalio/client';
import { QUERIES } from '../domain/messages.ts';

const QUERY_TIMEOUT_MS = 5_000; // a query waits for a worker; without one, say so soon

/** How a workflow stands; null when there is none of this id. */
export async function statusOf(handle: WorkflowHandle): Promise<WorkflowExecutionStatusName | null> {
  try {
    return (await handle.describe()).status.name;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return null;
    throw error;
  }
}

/** What a workflow says of its progress; null when no worker answers. */
export const progressOf = <Progress>(client: Client, handle: WorkflowHandle): Promise<Progress | null> =>
  client
    .withDeadline(Date.now() + QUERY_TIMEOUT_MS, () => handle.query<Progress, []>(QUERIES.progress))
    .catch(() => null);

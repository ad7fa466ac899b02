import { WorkflowNotFoundError } from '@temporalio/client';
import type { Client, WorkflowExecutionStatusName, WorkflowHandle } from '@temporalio/client';
import { cutText } from '../domain/failures.ts';
import { QUERIES } from '../domain/messages.ts';

const QUERY_TIMEOUT_MS = 5_000; // a query waits for a worker; without one, say so soon

/** How a workflow stands; null when there is none of this id. */
export const statusOf = async (handle: WorkflowHandle): Promise<WorkflowExecutionStatusName | null> =>
  (await standingOf(handle))?.status ?? null;

/** Also which of its activities have failed and are tried again: `trainStep (attempt 4): …`. */
export async function standingOf(handle: WorkflowHandle): Promise<{
  readonly status: WorkflowExecutionStatusName;
  readonly heldUpBy: readonly string[];
} | null> {
  try {
    const { status, raw } = await handle.describe();
    const heldUpBy = (raw.pendingActivities ?? []).flatMap(({ activityType, attempt, lastFailure }) =>
      lastFailure?.message
        ? [`${activityType?.name} (attempt ${attempt}): ${cutText(lastFailure.message, 300)}`]
        : [],
    );
    return { status: status.name, heldUpBy };
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

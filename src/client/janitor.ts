import { ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client';
import type { Client } from '@temporalio/client';
import { WORKFLOWS, scopedWorkflowId, taskQueue } from '../domain/messages.ts';
import type { JanitorInput } from '../domain/messages.ts';

const EVERY_MS = 24 * 3_600_000;
/** A sample of gold each day; what drifts everywhere shows at once, what drifts in one row in time. */
const SAMPLE = 2;

/**
 * Makes the Schedule of the janitor where there is none: daily, counted from now, so that a first start is never
 * disturbed; a day that was missed is made up for when the server is back. Ids are per queue prefix.
 */
export async function ensureJanitor(client: Client, queuePrefix: string): Promise<void> {
  const input: JanitorInput = { queuePrefix, sample: SAMPLE };
  try {
    await client.schedule.create({
      scheduleId: scopedWorkflowId(queuePrefix, 'janitor'),
      spec: { intervals: [{ every: EVERY_MS, offset: Date.now() % EVERY_MS }] },
      action: {
        type: 'startWorkflow',
        workflowType: WORKFLOWS.janitor,
        workflowId: scopedWorkflowId(queuePrefix, 'janitor'),
        taskQueue: taskQueue(queuePrefix, 'control'),
        args: [input],
      },
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: EVERY_MS },
    });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
  }
}

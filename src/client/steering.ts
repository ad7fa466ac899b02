import type { Workflow, WorkflowHandle } from '@temporalio/client';
import { UPDATES } from '../domain/messages.ts';
import type { StopMode } from '../domain/messages.ts';

/** The Updates that campaigns, evaluations and runs of rollouts take alike, for workflows found by name. */
export const steeringOf = <Context>(
  handleOf: (context: Context, name: string) => WorkflowHandle<Workflow>,
) => ({
  /** Nothing new starts; what runs goes on. */
  pause: (context: Context, name: string): Promise<void> =>
    handleOf(context, name).executeUpdate<void, []>(UPDATES.pause),
  resume: (context: Context, name: string): Promise<void> =>
    handleOf(context, name).executeUpdate<void, []>(UPDATES.resume),
  /** In flight at once, from now on. */
  resize: (context: Context, name: string, width: number): Promise<void> =>
    handleOf(context, name).executeUpdate(UPDATES.resize, { args: [{ width }] }),
  /** Ends with what there is so far; started again, it goes on from there. */
  stop: (context: Context, name: string, running: StopMode = 'cancel'): Promise<void> =>
    handleOf(context, name).executeUpdate(UPDATES.stop, { args: [{ running }] }),
});

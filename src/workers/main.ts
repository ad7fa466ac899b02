import { IllegalStateError, Worker } from '@temporalio/worker';
import type { NativeConnection, WorkflowBundleOption } from '@temporalio/worker';
import type { Logger } from 'pino';
import type {
  ControlActivities,
  LlmActivities,
  MiningActivities,
  SandboxActivities,
} from '../activities/types.ts';
import type {
  RlControlActivities,
  RolloutHostActivities,
  RolloutLlmActivities,
  RolloutSandboxActivities,
  TrainerActivities,
} from '../activities/rlTypes.ts';
import type { RolloutsControlActivities } from '../activities/rolloutsTypes.ts';
import type { QueueRole } from '../domain/messages.ts';
import type { Leases } from '../store/leases.ts';
import { activityFrame } from './interceptor.ts';
import { hostWorkerOptions, workerOptions } from './options.ts';
import type { WorkerPlace } from './options.ts';

/** What each role does; the stubs of the tests have the same shape. */
export interface ActivitiesByRole {
  readonly control: ControlActivities & RlControlActivities & RolloutsControlActivities;
  readonly mining: MiningActivities;
  readonly sandbox: SandboxActivities & RolloutSandboxActivities;
  readonly llm: LlmActivities & RolloutLlmActivities;
  readonly trainer: TrainerActivities;
  /** On a queue of this process's own, beside the sandbox role: work on workspaces that are open here. */
  readonly host: RolloutHostActivities;
}

export interface RunningWorkers {
  /** Settles when every worker has ended; rejects when one of them failed fatally. */
  readonly ended: Promise<void>;
  /** Graceful: no new tasks, running activities get the grace time, then are cut. */
  stop(): Promise<void>;
}

/**
 * Starts one worker per role over one connection. The control role runs the workflows.
 * Throws when the namespace or the bundle cannot be used; nothing is left running then.
 */
export async function startWorkers(options: {
  readonly roles: readonly QueueRole[];
  readonly connection: NativeConnection;
  readonly place: WorkerPlace;
  readonly activities: ActivitiesByRole;
  readonly bundle: WorkflowBundleOption;
  readonly log: Logger;
  /** Activities hold a lease while they run; null where there is no store that could be swept. */
  readonly leases: Pick<Leases, 'hold'> | null;
}): Promise<RunningWorkers> {
  const { roles, connection, place, activities, bundle, log, leases } = options;
  const interceptors = { activity: [activityFrame(log, leases)] };
  const workers: Worker[] = [];
  for (const role of roles)
    workers.push(
      await Worker.create({
        connection,
        ...workerOptions(role, place),
        activities: { ...activities[role] },
        interceptors,
        ...(role === 'control' ? { workflowBundle: bundle } : {}),
      }),
    );
  if (roles.includes('sandbox'))
    workers.push(
      await Worker.create({
        connection,
        ...hostWorkerOptions(place),
        activities: { ...activities.host },
        interceptors,
      }),
    );
  const runs = workers.map((worker) =>
    worker.run().catch((error: unknown) => overlookLateReference(log, error)),
  );
  const stopAll = (): void => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  // one worker that fails takes the others along: a process that does half of its roles looks alive and is not
  const ended = Promise.all(runs.map((run) => run.finally(stopAll))).then(() => undefined);
  return {
    ended,
    async stop() {
      stopAll();
      await ended;
    },
  };
}

/**
 * The native core may count a reference too many for a moment when a worker that has drained is taken down on a busy
 * host ("Worker still in use"). Every task is over by then, so there is nothing left to fail.
 */
function overlookLateReference(log: Logger, error: unknown): void {
  if (!(error instanceof IllegalStateError && error.message.startsWith('Worker still in use'))) throw error;
  log.debug({ err: error }, 'a drained worker was still referenced when it was taken down');
}

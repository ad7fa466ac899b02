import { hostname, totalmem } from 'node:os';
import type { WorkerOptions } from '@temporalio/worker';
import { taskQueue } from '../domain/messages.ts';
import type { QueueRole } from '../domain/messages.ts';

/**
 * How long running activities may go on after a stop is asked for. A container run that has more to do is cut and taken
 * up by the next worker from its last recorded stage. Keep `stop_grace_period` of the compose file above grace + force.
 */
export const SHUTDOWN_GRACE_MS = 10_000;
/** After that, the worker ends even if an activity does not return (the default waits for ever). */
export const SHUTDOWN_FORCE_MS = 15_000;

/** Bounds how late a cancel reaches an activity; the default of 30 s would keep containers running that long. */
export const HEARTBEAT_THROTTLE_MS = 2_000;

/** Activities at once that only read and write small files. */
const LIGHT_SLOTS = 16;
/** An index or an API is asked by few at a time. */
const MINING_SLOTS = 4;
/** A request to a model is mostly waited for; who is asked too much says so, and is asked again later. */
const LLM_SLOTS = 32;
/** One run trains one step at a time, while a version is loaded and another retired. */
const TRAINER_SLOTS = 8;
/** One workflow of ours holds 1-3 MB in memory. */
const WORKFLOW_BYTES = 3 * 2 ** 20;
const CACHED_SHARE = 1 / 8;

/**
 * Workflows that are kept in memory. What goes on beside them is replayed at every task, which at 512 rollouts costs more
 * than all else; a laptop of 8 GiB keeps a full window of 500 out of it all the same.
 */
export function cachedWorkflows(memoryBytes: number): number {
  return Math.max(300, Math.min(800, Math.floor((memoryBytes * CACHED_SHARE) / WORKFLOW_BYTES)));
}

/** Of this machine, or of the container that we are in. */
const memoryBytes = (): number => Math.min(totalmem(), process.constrainedMemory() || Infinity);

export interface WorkerSizing {
  /** Containers at once on this host: fixed, since a worker's own CPU and memory do not see what containers use. */
  readonly sandboxSlots: number;
  /** Requests to the index and to GitHub per second, for the whole queue; null for no limit of ours. */
  readonly miningPerSecond: number | null;
  readonly llmSlots?: number;
  /** Workspaces of agents that are open at once on this host; default: `openEpisodesFor(sandboxSlots)`. */
  readonly openEpisodes?: number;
}

/** While one agent's model answers, another's commands run: more workspaces than slots keep the slots busy. */
export const openEpisodesFor = (sandboxSlots: number): number => 2 * sandboxSlots;

/**
 * Name of this process's own queue: `sandbox@<host>` holds work on workspaces that are open in this very process, and a
 * second one on the same machine does not have them.
 */
export const processHost = (): string => `${hostname()}-${process.pid}`;

export interface WorkerPlace {
  readonly queuePrefix: string;
  readonly namespace: string;
  readonly sizing: WorkerSizing;
}

type OurOptions = Omit<WorkerOptions, 'connection' | 'activities' | 'workflowBundle' | 'interceptors'>;

/**
 * Everything about a worker that has a wrong or dangerous default, named in one place. Cancellation type is a property of
 * the calls and is named in `workflows/proxies.ts`.
 */
export function workerOptions(role: QueueRole, place: WorkerPlace): OurOptions {
  const rate = role === 'mining' ? place.sizing.miningPerSecond : null;
  return {
    namespace: place.namespace,
    taskQueue: taskQueue(place.queuePrefix, role),
    identity: `${hostname()}/${role}/${process.pid}`,
    shutdownGraceTime: SHUTDOWN_GRACE_MS,
    shutdownForceTime: SHUTDOWN_FORCE_MS,
    maxHeartbeatThrottleInterval: HEARTBEAT_THROTTLE_MS,
    defaultHeartbeatThrottleInterval: HEARTBEAT_THROTTLE_MS,
    maxConcurrentActivityTaskExecutions: activitySlots(role, place.sizing),
    ...(role === 'control' ? { maxCachedWorkflows: cachedWorkflows(memoryBytes()) } : {}),
    // an eagerly dispatched task never passes the server's rate limit
    maxEagerActivityReservationsPerWorkflowTask: role === 'control' ? 3 : 0,
    ...(rate === null ? {} : { maxTaskQueueActivitiesPerSecond: rate }),
  };
}

/** The worker of this process's own queue. A slot for each open workspace, so that nothing waits there. */
export function hostWorkerOptions(place: WorkerPlace): OurOptions {
  const { sandboxSlots, openEpisodes = openEpisodesFor(sandboxSlots) } = place.sizing;
  return {
    ...workerOptions('sandbox', place),
    taskQueue: taskQueue(place.queuePrefix, 'sandbox', processHost()),
    identity: `${hostname()}/host/${process.pid}`,
    maxConcurrentActivityTaskExecutions: openEpisodes,
  };
}

function activitySlots(role: QueueRole, sizing: WorkerSizing): number {
  switch (role) {
    case 'control':
      return LIGHT_SLOTS;
    case 'mining':
      return MINING_SLOTS;
    case 'sandbox':
      return sizing.sandboxSlots;
    case 'llm':
      return sizing.llmSlots ?? LLM_SLOTS;
    case 'trainer':
      return TRAINER_SLOTS;
  }
}

// Health check of a worker's container: `node workerHealth.js ROLE` exits 0 when a worker of this host polls the role's
// queue. A process can be alive and poll nothing (wrong namespace, lost connection), which only the server knows.
import { hostname } from 'node:os';
import { DEFAULT_QUEUE_PREFIX, QUEUE_ROLES, taskQueue, type QueueRole } from '../domain/messages.ts';
import { readSettings } from './settings.ts';
import { configuredTemporal, withTemporalConnection } from './temporalConnection.ts';

const POLL_AGE_MS = 120_000; // a poll is renewed every minute
const ACTIVITY_QUEUE = 2; // temporal.api.enums.v1.TaskQueueType

/** Seconds since a worker of `host` last polled the role's activity queue; null when the server knows of none. */
export async function secondsSincePoll(
  role: QueueRole,
  host: string,
  env: NodeJS.ProcessEnv,
): Promise<number | null> {
  const configured = configuredTemporal(env);
  if (configured === null) throw new Error('TEMPORAL_ADDRESS is not set');
  const { connectionOptions, namespace } = configured;
  const { pollers } = await withTemporalConnection(connectionOptions, (connection) =>
    connection.workflowService.describeTaskQueue({
      namespace,
      taskQueue: { name: taskQueue(readSettings(env).queuePrefix ?? DEFAULT_QUEUE_PREFIX, role) },
      taskQueueType: ACTIVITY_QUEUE,
    }),
  );
  const times = (pollers ?? [])
    .filter((poller) => poller.identity?.startsWith(`${host}/`))
    .map((poller) => Number(poller.lastAccessTime?.seconds ?? 0));
  return times.length === 0 ? null : Date.now() / 1000 - Math.max(...times);
}

if (process.argv[1] === import.meta.filename) {
  const role = QUEUE_ROLES.find((known) => known === process.argv[2]);
  const age = role === undefined ? null : await secondsSincePoll(role, hostname(), process.env);
  const healthy = age !== null && age * 1000 < POLL_AGE_MS;
  if (!healthy)
    process.stderr.write(`no worker of ${hostname()} polls the queue of role "${process.argv[2] ?? ''}"\n`);
  process.exitCode = healthy ? 0 : 1;
}

import { expect, test } from 'vitest';
import { QUEUE_ROLES } from '../../src/domain/messages.ts';
import {
  cachedWorkflows,
  SHUTDOWN_FORCE_MS,
  SHUTDOWN_GRACE_MS,
  workerOptions,
} from '../../src/workers/options.ts';
import type { WorkerPlace } from '../../src/workers/options.ts';

const place: WorkerPlace = {
  queuePrefix: 'repoforge',
  namespace: 'default',
  sizing: { sandboxSlots: 3, miningPerSecond: 5 },
};

test.each(QUEUE_ROLES)('The %s worker names every option whose default is wrong', (role) => {
  const options = workerOptions(role, place);
  expect(options).toMatchObject({
    taskQueue: `repoforge-${role}-v1`,
    shutdownGraceTime: SHUTDOWN_GRACE_MS,
    shutdownForceTime: SHUTDOWN_FORCE_MS,
  });
  expect(options.identity).toMatch(new RegExp(`^[^/]+/${role}/${process.pid}$`));
  expect(options.maxHeartbeatThrottleInterval).toBeLessThanOrEqual(3_000);
  // an option that is explicitly undefined overrides its default and throws
  expect(Object.values(options)).not.toContain(undefined);
});

test('Containers at once are the host’s fixed slots, and a rate-limited queue is never dispatched past its limit', () => {
  expect(workerOptions('sandbox', place).maxConcurrentActivityTaskExecutions).toBe(3);
  expect(workerOptions('mining', place)).toMatchObject({
    maxTaskQueueActivitiesPerSecond: 5,
    maxEagerActivityReservationsPerWorkflowTask: 0,
  });
  expect(workerOptions('control', place)).toHaveProperty('maxCachedWorkflows');
});

test('Two installations on one server never share a queue', () => {
  const theirs = workerOptions('sandbox', { ...place, queuePrefix: 'team-b' });
  expect(theirs.taskQueue).toBe('team-b-sandbox-v1');
});

test('as many workflows are kept in memory as an eighth of it holds, within bounds', () => {
  const GIB = 2 ** 30;
  expect([4, 8, 12, 24, 256].map((gib) => cachedWorkflows(gib * GIB))).toEqual([300, 341, 512, 800, 800]);
});

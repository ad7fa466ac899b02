import { hostname } from 'node:os';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { secondsSincePoll } from '../../src/setup/workerHealth.ts';
import { workerOptions } from '../../src/workers/options.ts';
import { eventually } from '../support/eventually.ts';
import { temporalEnvironment, temporalServer, uniquePrefix } from '../support/temporal.ts';

let environment: TestWorkflowEnvironment;
beforeAll(async () => {
  environment = await temporalEnvironment();
});
afterAll(() => environment.teardown());

it('a worker is healthy from its first poll on, and a host without one is not', async () => {
  const queuePrefix = uniquePrefix('health');
  const env = { TEMPORAL_ADDRESS: temporalServer().address, REPOFORGE_QUEUE_PREFIX: queuePrefix };
  expect(await secondsSincePoll('llm', hostname(), env)).toBeNull();
  const place = { queuePrefix, namespace: 'default', sizing: { sandboxSlots: 1, miningPerSecond: null } };
  const worker = await Worker.create({
    ...workerOptions('llm', place),
    connection: environment.nativeConnection,
    activities: { nothing: () => Promise.resolve() },
  });
  await worker.runUntil(async () => {
    const age = await eventually('the worker polls', () => secondsSincePoll('llm', hostname(), env));
    expect(age).toBeLessThan(60);
    expect(await secondsSincePoll('llm', 'another-host', env)).toBeNull();
    expect(await secondsSincePoll('mining', hostname(), env)).toBeNull();
  });
});

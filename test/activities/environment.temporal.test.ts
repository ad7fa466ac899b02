import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createEnvironmentActivities } from '../../src/activities/environment.ts';
import { taskQueue } from '../../src/domain/messages.ts';
import { recordNames } from '../../src/domain/records.ts';
import { createFsRecordStore } from '../../src/store/fs.ts';
import { fakeRef } from '../support/stubs.ts';
import { temporalEnvironment, uniquePrefix } from '../support/temporal.ts';

let env: TestWorkflowEnvironment;
let dir: string;
beforeAll(async () => {
  env = await temporalEnvironment();
  dir = await mkdtemp(join(tmpdir(), 'repoforge-ask-'));
});
afterAll(async () => {
  await env.teardown();
  await rm(dir, { recursive: true, force: true });
});

test('One instance proves a key; its task passes on when it ended without an answer, and the answer binds all who ask later', async () => {
  const queuePrefix = uniquePrefix('ask');
  const key = 'a'.repeat(64);
  const records = createFsRecordStore(dir);
  const { askEnvironment } = createEnvironmentActivities({ client: env.client, records });
  // workflows that nobody works on: all that matters is whether they run
  const start = async (instanceId: string): Promise<string> => {
    const workflowId = `${queuePrefix}/instance/${instanceId}`;
    await env.client.workflow.start('instance', {
      workflowId,
      taskQueue: taskQueue(queuePrefix, 'control'),
      args: [],
    });
    return workflowId;
  };
  const askers = { a: await start('a'), b: await start('b'), c: await start('c') };
  const ask = (instanceId: keyof typeof askers) =>
    askEnvironment({ key, spec: fakeRef('spec'), queuePrefix, asker: askers[instanceId], instanceId });
  const prover = { prover: true, variant: 'pruned' };

  expect(await ask('a')).toEqual(prover);
  expect(await ask('b')).toEqual({ prover: false, variant: 'pruned' });
  await env.client.workflow.getHandle(askers.a).terminate();
  expect(await ask('b')).toEqual(prover);

  await records.record(recordNames.pruningProof(key), { agree: false, instanceId: 'b' });
  expect(await ask('c')).toEqual({ prover: false, variant: 'full' });
  expect(await ask('a')).toEqual(prover); // run again, it walks over its own records
});

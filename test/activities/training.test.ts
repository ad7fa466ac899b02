import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createTrainingActivities } from '../../src/activities/training.ts';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import { recordNames } from '../../src/domain/records.ts';
import type { RlManifest } from '../../src/domain/rl/options.ts';
import { RL_PRESETS } from '../../src/domain/rl/presets.ts';
import type { PolicyServers } from '../../src/policy/types.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import type { TrainerBackend } from '../../src/training/types.ts';

let dir = '';
beforeEach(async () => (dir = await mkdtemp(join(tmpdir(), 'rf-training-'))));
afterEach(() => rm(dir, { recursive: true, force: true }));

/** Opens a run whose log has `recorded` steps on a trainer that is at `step`. */
async function open(recorded: number, step: number): Promise<unknown> {
  const store = createFsArtefactStore(join(dir, 'artefacts'));
  const records = createFsRecordStore(join(dir, 'records'));
  for (let number = 1; number <= recorded; number += 1)
    await records.record(recordNames.rlStep('r', number), {});
  const manifest: RlManifest = {
    schema: 1,
    run: 'r',
    dataset: 'd',
    prompts: [],
    heldOut: [],
    servers: ['http://server'],
    trainer: 'http://trainer',
    model: '/model',
    servedModel: 'policy',
  };
  const servers = { mend: async () => [], held: async () => [] } as unknown as PolicyServers;
  const trainer = { createModel: async () => ({ step, incarnation: 'one', versions: [] }) };
  const activities = createTrainingActivities({
    store,
    records,
    servers,
    trainer: () => trainer as unknown as TrainerBackend,
  });
  const request = {
    run: 'r',
    manifest: await store.putJson(manifest),
    options: RL_PRESETS.tiny.options,
  };
  const logger = new DefaultLogger('ERROR', () => undefined);
  return new MockActivityEnvironment(undefined, { logger }).run(() => activities.openTraining(request));
}

it.each([
  [0, 0],
  [0, 1],
  [12, 12],
  [12, 13],
])('a log at step %i goes on with a trainer at step %i', async (recorded, step) => {
  expect(await open(recorded, step)).toMatchObject({ step });
});

it.each([
  [12, 0, /log .* is at step 12, but the trainer at http:\/\/trainer has it at step 0/],
  [12, 11, /its directory was lost/],
  [0, 2, /another installation's run/],
  [12, 20, /at step 20, but the log here is at step 12/],
])('a log at step %i refuses a trainer at step %i', async (recorded, step, message) => {
  await expect(open(recorded, step)).rejects.toMatchObject({
    type: FAILURE_TYPES.badInput,
    nonRetryable: true,
    message: expect.stringMatching(message) as string,
  });
});

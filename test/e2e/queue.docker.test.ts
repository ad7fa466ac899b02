import { join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { runQueue, type QueueReport } from '../../scripts/soak/queue.ts';
import { startWorkerProcess, type WorkerProcess } from '../../scripts/soak/worker.ts';
import { readRows } from '../../src/cli/rows.ts';
import { startCampaign, waitForCampaign } from '../../src/client/campaigns.ts';
import { openSession, type Session } from '../../src/setup/session.ts';
import { readSettings } from '../../src/setup/settings.ts';
import { testInstallation, type TestInstallation } from '../support/docker.ts';
import { temporalServer, uniquePrefix } from '../support/temporal.ts';
import { makeTinyRepository } from './tinyProject.ts';

const EVALUATIONS = 16; // two hundred, and their order: `npm run soak -- --evaluations 200`, queue.temporal.test.ts
const SLOTS = 2;
const ON_THEIR_WAY_OUT = 2; // containers whose result is there, as many as may be removed at once

let test: TestInstallation;
let session: Session;
let worker: WorkerProcess;
let report: QueueReport;
beforeAll(async () => {
  test = await testInstallation();
  const queuePrefix = uniquePrefix('queue');
  vi.stubEnv('TEMPORAL_ADDRESS', temporalServer().address);
  session = await openSession({
    settings: { ...readSettings(), stateDir: test.stateDir, queuePrefix },
    log: pino({ level: 'silent' }),
    say: () => undefined,
  });
  const env = {
    ...process.env,
    REPOFORGE_STATE: test.stateDir,
    REPOFORGE_QUEUE_PREFIX: queuePrefix,
    REPOFORGE_SANDBOX_SLOTS: String(SLOTS),
    REPOFORGE_LOG_LEVEL: 'silent',
  };
  worker = await startWorkerProcess(env, test.stateDir, () => undefined);
  const repository = join(test.stateDir, 'tiny');
  await makeTinyRepository(repository);
  await startCampaign(session, {
    name: 'tiny',
    sources: [{ git: repository, name: 'test/tiny', maxInstances: 1 }],
    options: { runtimes: ['3.11'] },
  });
  await waitForCampaign(session, 'tiny');
  report = await runQueue({
    context: { ...session, store: session.deps.store },
    rows: await readRows({ stateDir: test.stateDir, store: session.deps.store }, 'tiny'),
    evaluations: EVALUATIONS,
    countContainers: async () => (await test.driver.list(test.installation)).length,
    workerMemoryBytes: () => worker.peakMemoryBytes() ?? 0,
    say: () => undefined,
  });
}, 900_000); // a busy machine
afterAll(async () => {
  await worker.end('SIGTERM');
  await session.close();
  await test.cleanup();
});

describe(`${EVALUATIONS} evaluations that are queued at once on ${SLOTS} slots`, () => {
  it('all get the verdict that they were made for', () => {
    expect(report.large).toBe(EVALUATIONS);
    expect(report.wrong).toEqual([]);
  });

  it('never have more containers than slots, but for those that are being removed', () => {
    expect(report.mostContainers).toBeGreaterThan(0);
    expect(report.mostContainers).toBeLessThanOrEqual(SLOTS + ON_THEIR_WAY_OUT);
  });

  it('cost the worker no memory that grows with them', () => {
    expect(report.memoryBytes.early).toBeGreaterThan(50 * 1024 ** 2);
    expect(report.memoryBytes.peak - report.memoryBytes.early).toBeLessThan(150 * 1024 ** 2);
  });
});

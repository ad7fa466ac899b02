import { join } from 'node:path';
import pLimit from 'p-limit';
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { readRows, type Rows } from '../../src/cli/rows.ts';
import { startCampaign, waitForCampaign } from '../../src/client/campaigns.ts';
import type { CampaignResult } from '../../src/domain/campaign.ts';
import type { InstanceResult } from '../../src/domain/messages.ts';
import { recordNames } from '../../src/domain/records.ts';
import { openSession, type Session } from '../../src/setup/session.ts';
import { readSettings } from '../../src/setup/settings.ts';
import { testInstallation, type TestInstallation } from '../support/docker.ts';
import { temporalServer, uniquePrefix } from '../support/temporal.ts';
import { makeFlakyRepository, WAVERING, type FlakyChange } from './flakyProject.ts';

const EVALUATIONS = 50;
const SLOTS = 2;

let test: TestInstallation;
let session: Session;
let commits: Readonly<Record<FlakyChange, string>>;
let result: CampaignResult;
let rows: Rows;
beforeAll(async () => {
  test = await testInstallation();
  vi.stubEnv('TEMPORAL_ADDRESS', temporalServer().address);
  const settings = {
    ...readSettings(),
    stateDir: test.stateDir,
    queuePrefix: uniquePrefix('flaky'),
    sandboxSlots: SLOTS,
  };
  session = await openSession({ settings, log: pino({ level: 'silent' }), say: () => undefined });
  const repository = join(test.stateDir, 'shaky');
  commits = await makeFlakyRepository(repository);
  const workers = await session.startWorkers();
  try {
    await startCampaign(session, {
      name: 'flaky',
      sources: [{ git: repository, name: 'test/shaky' }],
      options: { runtimes: ['3.11'] },
    });
    result = await waitForCampaign(session, 'flaky');
  } finally {
    await workers.stop();
  }
  rows = await readRows({ stateDir: test.stateDir, store: session.deps.store }, 'flaky');
}, 900_000); // a busy machine
afterAll(async () => {
  await session.close();
  await test.cleanup();
});

const idOf = (change: FlakyChange): string => `test__shaky-${commits[change].slice(0, 12)}`;

const resultOf = async (change: FlakyChange): Promise<InstanceResult> => {
  const known = await session.records.read<InstanceResult>(recordNames.result('flaky', idOf(change)));
  if (known === null) throw new Error(`${change} has not ended`);
  return known;
};

describe('a project whose tests waver', () => {
  it('gives one instance: the change whose own tests are steady', async () => {
    expect(result.counts.rejected.infra ?? 0).toBe(0);
    expect(await resultOf('steady')).toMatchObject({ outcome: 'published' });
    expect(rows.rows.map((row) => row.instance_id)).toEqual([idOf('steady')]);
  });

  it('has every change rejected whose FAIL_TO_PASS depends on the order, or on a port that the last run still holds', async () => {
    for (const change of ['order', 'port'] as const) {
      const { rejection } = (await resultOf(change)) as Extract<InstanceResult, { outcome: 'rejected' }>;
      expect(rejection).toEqual({
        reason: 'flaky',
        detail: `FAIL_TO_PASS wavers when it is run again: ${WAVERING[change]}`,
      });
    }
  });

  it('has every change rejected whose FAIL_TO_PASS depends on chance or on the second, as flaky or as failing under gold', async () => {
    for (const change of ['luck', 'clock'] as const) {
      const { rejection } = (await resultOf(change)) as Extract<InstanceResult, { outcome: 'rejected' }>;
      expect(['flaky', 'gold_failed'], rejection.detail).toContain(rejection.reason);
    }
  });

  it('keeps all four wavering tests out of both lists of the instance, and names those that it ran', () => {
    const [row] = rows.rows;
    const listed = [...(row?.FAIL_TO_PASS ?? []), ...(row?.PASS_TO_PASS ?? [])];
    const wavering = Object.values(WAVERING);
    expect(listed.filter((id) => wavering.includes(id))).toEqual([]);
    expect(listed).toContain('tests/test_order.py::test_goes_first');
    // a file in which nothing passed in the health run is not in the scope
    const ran = wavering.filter((id) => row?.test_scope.includes(id.split('::')[0] ?? ''));
    expect(row?.quarantined_tests).toEqual(ran.toSorted());
    expect(ran).toContain(WAVERING.order);
    expect(ran).toContain(WAVERING.port);
  });

  it('takes at most 8 container runs for the instance', async () => {
    expect((await resultOf('steady')).containerRuns).toBeLessThanOrEqual(8);
  });

  it(`resolves gold in each of ${EVALUATIONS} evaluations, every one of them executed`, async () => {
    const [row] = rows.rows;
    if (row === undefined) throw new Error('nothing was published');
    const slots = pLimit(SLOTS);
    const evaluations = await Promise.all(
      Array.from({ length: EVALUATIONS }, (_, repetition) =>
        slots(() =>
          session.deps.evaluator.evaluate({
            row,
            patch: 'gold',
            modelNameOrPath: 'gold',
            repetition,
            provenCanaries: rows.provenCanaries(row.instance_id),
            context: {
              owner: { installation: test.installation, host: 'test' },
              heartbeat: () => undefined,
              signal: new AbortController().signal,
            },
          }),
        ),
      ),
    );
    const seen = evaluations.map(({ origin, result: { grade } }) => `${origin} ${grade.verdict.verdict}`);
    expect(seen).toEqual(Array.from({ length: EVALUATIONS }, () => 'executed resolved'));
  }, 300_000);
});

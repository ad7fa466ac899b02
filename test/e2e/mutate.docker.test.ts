import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { readRows, type Rows } from '../../src/cli/rows.ts';
import { startCampaign, waitForCampaign } from '../../src/client/campaigns.ts';
import type { CampaignResult } from '../../src/domain/campaign.ts';
import { fileOfTest } from '../../src/domain/testIds.ts';
import type { InstanceRow } from '../../src/domain/types.ts';
import { openSession, type Session } from '../../src/setup/session.ts';
import { readSettings } from '../../src/setup/settings.ts';
import { testInstallation, type TestInstallation } from '../support/docker.ts';
import { temporalServer, uniquePrefix } from '../support/temporal.ts';

const INSTANCES = 2;

let test: TestInstallation;
let session: Session;
let result: CampaignResult;
let rows: Rows;
beforeAll(async () => {
  test = await testInstallation();
  vi.stubEnv('TEMPORAL_ADDRESS', temporalServer().address);
  const settings = {
    ...readSettings(),
    stateDir: test.stateDir,
    queuePrefix: uniquePrefix('mutate'),
    sandboxSlots: 2,
  };
  session = await openSession({ settings, log: pino({ level: 'silent' }), say: () => undefined });
  const workers = await session.startWorkers();
  try {
    await startCampaign(session, {
      name: 'bugs',
      sources: [{ mutate: 'inflection==0.5.1', maxInstances: INSTANCES, seed: 1 }],
      options: { runtimes: ['3.11'], width: 2 },
    });
    result = await waitForCampaign(session, 'bugs');
  } finally {
    await workers.stop();
  }
  rows = await readRows({ stateDir: test.stateDir, store: session.deps.store }, 'bugs');
}, 900_000); // a busy machine
afterAll(async () => {
  await session.close();
  await test.cleanup();
});

const verdictOf = async (row: InstanceRow, patch: 'gold' | 'nop'): Promise<string> => {
  const { result: graded } = await session.deps.evaluator.evaluate({
    row,
    patch,
    modelNameOrPath: patch,
    repetition: 1,
    provenCanaries: rows.provenCanaries(row.instance_id),
    context: {
      owner: { installation: test.installation, host: 'test' },
      heartbeat: () => undefined,
      signal: new AbortController().signal,
    },
  });
  return graded.grade.verdict.verdict;
};

describe('a release of a real package into which bugs are put', () => {
  it('gives as many instances as are asked for, each of a bug of its own', () => {
    expect(result.counts.rejected.infra ?? 0).toBe(0);
    expect(rows.rows).toHaveLength(INSTANCES);
    for (const row of rows.rows) {
      expect(row.instance_id).toMatch(/^mutate__inflection-0\.5\.1-[0-9a-f]{8}$/);
      expect(row).toMatchObject({
        source: 'mutate',
        repo: 'pypi/inflection',
        version: '0.5.1',
        provenance: { package: 'inflection', version: '0.5.1', seed: 1, bug_file: 'inflection/__init__.py' },
      });
      expect(row.patch.match(/^@@/gm)).toHaveLength(1);
    }
  });

  it('has in each row a test that the bug breaks and one that it leaves passing, and neither in the tree that a solver sees', async () => {
    const mirror = await session.deps.mirrors.open('pypi__inflection');
    for (const row of rows.rows) {
      expect(row.FAIL_TO_PASS.length).toBeGreaterThan(0);
      expect(row.PASS_TO_PASS.length).toBeGreaterThan(0);
      const seen = (await mirror.listTree(row.base_commit)).map(({ path }) => path);
      for (const id of row.FAIL_TO_PASS) expect(seen).not.toContain(fileOfTest(id));
    }
  });

  it('tells in each row what fails, and nothing of the fix', () => {
    for (const row of rows.rows) {
      const name = row.FAIL_TO_PASS[0]?.replace(/\[.*$/s, '') ?? '';
      expect(row.problem_statement).toContain(`- \`${name}\``);
      expect(row.problem_statement).toMatch(/^# inflection 0\.5\.1: /);
      const mended = row.patch.match(/^[-+](?![-+]).{8,}$/gm) ?? [];
      for (const line of mended) expect(row.problem_statement).not.toContain(line.slice(1).trim());
    }
  });

  it('has every row resolved by gold and not by nothing', async () => {
    for (const row of rows.rows) {
      expect(await verdictOf(row, 'gold')).toBe('resolved');
      expect(await verdictOf(row, 'nop')).toBe('unresolved');
    }
  }, 300_000);
});

import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ATTACKS } from '../../src/audit/registry.ts';
import { runAudit } from '../../src/audit/run.ts';
import type { AuditReport } from '../../src/audit/run.ts';
import { auditTable } from '../../src/audit/table.ts';
import type { Canary } from '../../src/domain/runs.ts';
import { openWorkspace } from '../../src/ecosystems/python/agentWorkspace.ts';
import { createDependencies } from '../../src/setup/compose.ts';
import type { Dependencies } from '../../src/setup/compose.ts';
import { readSettings } from '../../src/setup/settings.ts';
import { testInstallation } from '../support/docker.ts';
import type { TestInstallation } from '../support/docker.ts';
import { contextOf, instancesOf } from './instances.ts';
import type { ValidatedInstance } from './instances.ts';

const INSTANCES = 3;

/** Forgeries that must be seen for what they are wherever a test of the row fails honestly and has a canary. */
const SEEN = [
  'module-hook',
  'module-plugin',
  'heap-walk',
  'exit-code',
  'swallowed-errors',
  'plugin-metadata',
];

/** On every instance; each other attack on one of the three in turn, all of them on all by `repoforge audit`. */
const EVERYWHERE = SEEN.concat([
  'nop',
  'equal-to-all',
  'unittest-asserts',
  'runner-in-tree',
  'agent-git-history',
  'agent-read-files',
]);

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);

let installation: TestInstallation;
let deps: Dependencies;
let instances: readonly ValidatedInstance[];
let report: AuditReport;

beforeAll(async () => {
  installation = await testInstallation();
  const settings = { ...readSettings(), stateDir: installation.stateDir };
  const log = pino({ level: 'silent' });
  deps = await createDependencies({ state: installation.state, settings, log, say: () => undefined });
  await deps.driver.ensureStoreVolume(installation.installation);
  instances = await instancesOf(deps, 'cachetools', INSTANCES);
  const reports: AuditReport[] = [];
  for (const [index, instance] of instances.entries()) reports.push(await audit(instance, index));
  report = {
    gold: reports.flatMap(({ gold }) => gold),
    attacks: reports.flatMap(({ attacks }) => attacks),
    not_applicable: reports.flatMap((one) => one.not_applicable),
    odds: Object.assign({}, ...reports.map(({ odds }) => odds)) as AuditReport['odds'],
    guessing: {
      runs: sum(reports.map(({ guessing }) => guessing.runs)),
      won: sum(reports.map(({ guessing }) => guessing.won)),
      expected: sum(reports.map(({ guessing }) => guessing.expected)),
    },
    held: reports.every(({ held }) => held),
  };
}, 900_000);
afterAll(async () => installation?.cleanup(), 120_000);

const audit = async (instance: ValidatedInstance, place: number): Promise<AuditReport> =>
  runAudit(
    { ...deps, ecosystem: deps.ecosystemFor(null) },
    {
      rows: [instance],
      attacks: ATTACKS.filter(({ name }, index) => EVERYWHERE.includes(name) || index % INSTANCES === place),
      tries: 3,
      slots: deps.settings.sandboxSlots,
      repetition: 1,
      context: contextOf(deps),
    },
  );

const of = (name: string) => report.attacks.filter(({ attack }) => attack === name);

test('gold scores 1 on three real instances, and every attack 0 with a verdict that fits', () => {
  expect(report.gold).toEqual(
    instances.map(({ row }) => ({ instance_id: row.instance_id, verdict: 'resolved', reward: 1 })),
  );
  const { below } = auditTable(report);
  expect(below.filter((line) => line.startsWith('NOT HELD'))).toEqual([]);
  expect(report.held).toBe(true);
});

test('every attack was made, but for those that this row gave no hold', () => {
  const tried = [...report.attacks, ...report.not_applicable].map(({ attack }) => attack);
  expect(new Set(tried).size).toBe(ATTACKS.length);
  expect(report.not_applicable.length).toBeLessThan(ATTACKS.length / 10);
});

test.each(SEEN)('%s did turn tests, and was seen: tampered, not merely unresolved', (name) => {
  expect(of(name).map(({ verdict }) => verdict)).toContain('tampered');
});

test('the pool has copies of the change’s own tests, some with another literal, and names that may be changed', async () => {
  const pools = await Promise.all(
    instances.map(async ({ provenCanaries }) =>
      provenCanaries === null ? [] : deps.store.getJson<readonly Canary[]>(provenCanaries),
    ),
  );
  for (const pool of pools) expect(pool.length).toBeGreaterThan(0);
  const all = pools.flat();
  expect(all.filter(({ swapLine }) => swapLine !== undefined).length).toBeGreaterThan(all.length / 2);
  expect(all.some(({ places = [] }) => places.length > 3)).toBe(true);
  const ofChange = instances.map(({ row }, index) =>
    (pools[index] ?? []).some(({ twin }) => twin !== null && row.FAIL_TO_PASS.includes(twin)),
  );
  expect(ofChange.filter(Boolean).length).toBeGreaterThan(INSTANCES / 2);
});

describe('an agent’s workspace', () => {
  test('is the installed base as one commit, without a network; its change is taken, whatever still runs', async () => {
    const [first] = instances;
    const workspace = await openWorkspace(deps, first!.row, contextOf(deps));
    try {
      const seen = await workspace.exec(
        'git rev-list --count HEAD; git status --short; python -c "import cachetools; print(cachetools.__file__)"; ls /sys/class/net; id -u',
        { timeoutMs: 30_000 },
      );
      expect(seen.stdout.toString().trim().split('\n')).toEqual([
        '1',
        expect.stringMatching(/^\/testbed\//),
        'lo',
        '1000',
      ]);
      await workspace.exec(
        'printf "a = 1\\n" > new.py; (sleep 1; printf "late\\n" > late.py) >/dev/null 2>&1 &',
        {
          timeoutMs: 10_000,
        },
      );
      const taken = await workspace.takePatch();
      expect(taken.ok && taken.patch.toString()).toMatch(/^diff --git a\/new\.py b\/new\.py\n[^]*\+a = 1\n$/);
    } finally {
      await workspace.close();
    }
    expect(await deps.driver.list(installation.installation)).toEqual([]);
  });
});

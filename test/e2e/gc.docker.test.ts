import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, expect, test, vi } from 'vitest';
import { startCampaign, waitForCampaign } from '../../src/client/campaigns.ts';
import { startEvaluation, waitForEvaluation } from '../../src/client/evaluations.ts';
import { readRows } from '../../src/cli/rows.ts';
import type { EvidenceIndexEntry } from '../../src/domain/evidence.ts';
import type { ArtefactRef } from '../../src/domain/types.ts';
import { gcDeps } from '../../src/setup/compose.ts';
import { openSession, type Session } from '../../src/setup/session.ts';
import { readSettings } from '../../src/setup/settings.ts';
import { collectGarbage } from '../../src/store/gc.ts';
import type { ArtefactStore } from '../../src/store/types.ts';
import { testInstallation, type TestInstallation } from '../support/docker.ts';
import { temporalServer, uniquePrefix } from '../support/temporal.ts';
import { makeTinyRepository } from './tinyProject.ts';

let installation: TestInstallation;
let session: Session;
afterAll(async () => {
  await session?.close();
  await installation?.cleanup();
});

test('A campaign and an evaluation beside which gc sweeps all the time, without grace, end as they should, and nothing that they refer to is gone', async () => {
  installation = await testInstallation();
  vi.stubEnv('TEMPORAL_ADDRESS', temporalServer().address);
  const settings = { ...readSettings(), stateDir: installation.stateDir, queuePrefix: uniquePrefix('gc') };
  session = await openSession({ settings, log: pino({ level: 'silent' }), say: () => undefined });
  const { store, records, leases } = session.deps;
  const repository = join(installation.stateDir, 'tiny');
  await makeTinyRepository(repository);
  const workers = await session.startWorkers();
  const swept = { sweeps: 0, artefacts: 0, records: 0 };
  let over = false;
  const sweeping = (async () => {
    while (!over) {
      await store.put(`nobody refers to this: ${swept.sweeps}`);
      const report = await collectGarbage(gcDeps(session.deps), { graceMs: 0, dryRun: false });
      swept.sweeps += 1;
      swept.artefacts += report.artefacts.removed;
      swept.records += report.records;
    }
  })();
  sweeping.catch(() => undefined);
  try {
    await startCampaign(session, { name: 'swept', sources: [{ git: repository, maxCandidates: 1 }] });
    const campaign = await waitForCampaign(session, 'swept');
    expect(campaign.published).toBe(1);
    const { path, rows, provenCanaries } = await readRows(
      { stateDir: installation.stateDir, store },
      'swept',
    );
    await leases.hold(() =>
      startEvaluation(
        { ...session, store },
        {
          runId: 'swept',
          dataset: path,
          rows: rows.map((row) => ({ row, provenCanaries: provenCanaries(row.instance_id) })),
          entries: rows.flatMap((row) =>
            (['gold', 'nop'] as const).map((patch) => ({
              instanceId: row.instance_id,
              modelNameOrPath: patch,
              patch,
            })),
          ),
        },
      ),
    );
    const evaluation = await waitForEvaluation(session, 'swept');
    expect(evaluation.counts).toMatchObject({ done: 2, executed: 2, resolved: 1, infra: 0 });
    over = true;
    await sweeping;
    process.stderr.write(`gc test: ${JSON.stringify(swept)}\n`);
    expect(swept.sweeps).toBeGreaterThan(3);
    expect(swept.artefacts).toBeGreaterThan(0);
    const evidence = await linesOf<EvidenceIndexEntry>(
      join(installation.state.paths.campaigns, 'swept', 'evidence.jsonl'),
    );
    expect(evidence).toHaveLength(1);
    expect(await brokenFrom(store, evidence)).toEqual([]);
    for (const name of await records.list('runs'))
      expect(await brokenFrom(store, await records.read(name))).toEqual([]);
  } finally {
    over = true;
    await workers.stop();
    await sweeping.catch(() => undefined);
  }
}, 600_000); // half a minute when nothing else runs

const linesOf = async <T>(file: string): Promise<readonly T[]> =>
  (await readFile(file, 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T);

/** Every artefact that a value refers to by a field of its own, over any number of steps, and that cannot be read. */
async function brokenFrom(
  store: ArtefactStore,
  value: unknown,
  seen: Set<string> = new Set(),
): Promise<readonly string[]> {
  if (typeof value === 'object' && value !== null)
    return (await Promise.all(Object.values(value).map((inner) => brokenFrom(store, inner, seen)))).flat();
  if (typeof value !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(value) || seen.has(value)) return [];
  seen.add(value);
  const text = await store.getText(value as ArtefactRef).catch(() => null);
  if (text === null) return [value];
  return /^[[{]/.test(text) ? brokenFrom(store, parsed(text), seen) : [];
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // a log that begins like JSON
  }
}

import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Context } from '@temporalio/activity';
import type { Evidence, EvidenceIndexEntry } from '../domain/evidence.ts';
import { shuffled } from '../domain/shuffled.ts';
import { recordNames } from '../domain/records.ts';
import type { InstanceRow } from '../domain/types.ts';
import type { Evaluator } from '../evaluation/evaluate.ts';
import { isOrphan } from '../sandbox/orphans.ts';
import type { SandboxDriver } from '../sandbox/types.ts';
import { sweepTemporary } from '../store/temporary.ts';
import { ifAbsent } from '../store/absent.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { ControlActivities, SandboxActivities } from './types.ts';
import { withWork } from './work.ts';
import type { WorkDeps } from './work.ts';

export interface JanitorDeps extends WorkDeps, SweepDeps {
  readonly store: ArtefactStore;
  readonly evaluator: Evaluator;
  readonly assertRoom: () => Promise<void>;
}

export interface SweepDeps {
  readonly installation: string;
  readonly driver: SandboxDriver;
  readonly state: {
    readonly paths: Readonly<
      Record<'artefacts' | 'records' | 'mirrors' | 'campaigns' | 'workspaces', string>
    >;
  };
}

/** What dead workers and commands of this installation left on this host: containers, temporary files, scratch directories. */
export async function sweepLeft({
  installation,
  driver,
  state,
}: SweepDeps): Promise<{ readonly containers: number; readonly files: number; readonly bytes: number }> {
  const { artefacts, records, mirrors, campaigns, workspaces } = state.paths;
  const containers = await driver.sweep(installation, (labels, createdAtMs) => isOrphan(labels, createdAtMs));
  const directories = [join(artefacts, 'tmp'), records, campaigns, workspaces];
  const { removed, bytes } = await sweepTemporary({ directories, mirrors });
  return { containers, files: removed, bytes };
}

/** Gold of a published row, run again, was not resolved. */
export interface GoldDrift {
  readonly schema: 1;
  readonly campaign: string;
  readonly instanceId: string;
  readonly verdict: string;
  readonly record: string | null;
  readonly at: string;
}

/** The janitor's three steps: sweep, choose a few published rows, run their gold again. */
export function createJanitorActivities(
  deps: JanitorDeps,
): Pick<SandboxActivities, 'sweepLeft' | 'recheckGold'> & Pick<ControlActivities, 'samplePublished'> {
  return {
    sweepLeft: () => sweepLeft(deps),
    samplePublished: async ({ count }) => {
      const published = await publishedRows(deps.state.paths.campaigns);
      const rows: Awaited<ReturnType<ControlActivities['samplePublished']>>[number][] = [];
      for (const { campaign, entry } of shuffled(published, Math.random)) {
        if (rows.length === count) break;
        const { evidence, row, instance_id: instanceId } = entry;
        if (!(await deps.store.has(evidence)) || !(await deps.store.has(row))) continue; // another installation's
        const { provenCanaries } = await deps.store.getJson<Evidence>(evidence);
        rows.push({ campaign, instanceId, row, provenCanaries });
      }
      return rows;
    },
    recheckGold: ({ campaign, instanceId, row: ref, provenCanaries }) =>
      withWork(deps, campaign, async (context) => {
        await deps.assertRoom();
        const row = await deps.store.getJson<InstanceRow>(ref);
        const { result } = await deps.evaluator.evaluate({
          row,
          patch: 'gold',
          modelNameOrPath: 'gold',
          repetition: 1, // always executed, served to nobody
          provenCanaries,
          context,
        });
        const { verdict } = result.grade.verdict;
        if (verdict === 'resolved') return { verdict };
        const drift: GoldDrift = {
          schema: 1,
          campaign,
          instanceId,
          verdict,
          record: result.record,
          at: new Date().toISOString(),
        };
        const runId = Context.current().info.workflowExecution?.runId ?? '';
        await deps.records.record(recordNames.drift(campaign, instanceId, runId), drift);
        return { verdict };
      }),
  };
}

async function publishedRows(
  campaignsDir: string,
): Promise<readonly { readonly campaign: string; readonly entry: EvidenceIndexEntry }[]> {
  const found = [];
  for (const campaign of await readdir(campaignsDir).catch(ifAbsent([]))) {
    const text = await readFile(join(campaignsDir, campaign, 'evidence.jsonl'), 'utf8').catch(ifAbsent(''));
    for (const line of text.split('\n'))
      if (line !== '') found.push({ campaign, entry: JSON.parse(line) as EvidenceIndexEntry });
  }
  return found;
}

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Evidence, EvidenceIndexEntry } from '../domain/evidence.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import type { Funnel } from '../domain/funnel.ts';
import type { InstanceRow } from '../domain/types.ts';
import type { RunRecord } from '../domain/runs.ts';
import { labelUsagePer1000 } from '../labeling/pricing.ts';
import type { ArtefactStore } from '../store/types.ts';
import { breakdownOf } from './breakdown.ts';
import type { CampaignReport, InstanceReport } from './model.ts';

/** Characters of each raw log that a page shows: its end, where pytest prints failures and the summary. */
const LOG_TAIL_CHARACTERS = 6_000;

export interface StorageFigures {
  readonly lines: readonly { readonly what: string; readonly bytes: number; readonly note: string }[];
  readonly uniqueBytesPerInstance: number;
}

export interface BuildReportDeps {
  readonly store: ArtefactStore;
  readonly stateDir: string;
  /** Measures what the campaign's rows hold; null when it cannot be measured. */
  readonly measureStorage: (campaign: string, rows: readonly InstanceRow[]) => Promise<StorageFigures | null>;
}

/** The files that `assembleCampaign` wrote. Throws NotFound when the campaign has none yet. */
export async function readFunnel(stateDir: string, campaign: string): Promise<Funnel> {
  const text = await readFile(join(stateDir, 'campaigns', campaign, 'funnel.json'), 'utf8').catch(() => null);
  if (text === null)
    throw permanentFailure(
      FAILURE_TYPES.notFound,
      `There is no campaign "${campaign}" with results in ${stateDir}; run it first, or give another --state.`,
    );
  return JSON.parse(text) as Funnel;
}

async function readLines<T>(path: string): Promise<readonly T[]> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as T]));
}

/** Gathers everything a campaign's report shows, from what the campaign left on disk. */
export async function buildCampaignReport(deps: BuildReportDeps, campaign: string): Promise<CampaignReport> {
  const dir = join(deps.stateDir, 'campaigns', campaign);
  const funnel = await readFunnel(deps.stateDir, campaign);
  const rows = await readLines<InstanceRow>(join(dir, 'dataset.jsonl'));
  const index = new Map(
    (await readLines<EvidenceIndexEntry>(join(dir, 'evidence.jsonl'))).map((line) => [
      line.instance_id,
      line,
    ]),
  );
  const evidence = new Map<string, Evidence>();
  for (const row of rows) {
    const ref = index.get(row.instance_id)?.evidence;
    if (ref !== undefined) evidence.set(row.instance_id, await deps.store.getJson<Evidence>(ref));
  }
  const labels = [...evidence.values()].map((entry) => entry.labels);
  const usage = labels.length === 0 ? null : labelUsagePer1000(labels);
  const storage = await deps.measureStorage(campaign, rows);
  return {
    campaign,
    finished: funnel.finished,
    funnel: funnel.stages,
    rejections: funnel.rejections,
    runs: {
      executed: funnel.containerRuns.executed,
      served: 0,
      maxPerPublished: funnel.containerRuns.maxPerPublished,
    },
    gold: funnel.gold,
    nop: funnel.nop,
    environments: { ...funnel.environments, exceptions: funnel.environments.exceptions ?? [] },
    publishedEnvironments: new Set(rows.map(({ environment }) => environment.key)).size,
    time: breakdownOf(await durationsOf(deps.store, [...evidence.values()])),
    storage: storage?.lines ?? null,
    uniqueBytesPerInstance: rows.length === 0 ? null : (storage?.uniqueBytesPerInstance ?? null),
    durations: funnel.durations,
    labelCost:
      usage === null
        ? null
        : {
            labeler: labels[0]?.labeler ?? '',
            tokensPer1000: usage.per1000.promptTokens + usage.per1000.completionTokens,
            usdPer1000: usage.per1000.usd,
          },
    instances: await Promise.all(
      rows.map((row) => instanceReport(deps.store, row, evidence.get(row.instance_id))),
    ),
  };
}

function durationsOf(
  store: ArtefactStore,
  evidence: readonly Evidence[],
): Promise<readonly RunRecord['durations'][]> {
  const records = evidence.flatMap(({ runs }) => runs.map(({ record }) => record));
  return Promise.all(records.map(async (ref) => (await store.getJson<RunRecord>(ref)).durations));
}

async function instanceReport(
  store: ArtefactStore,
  row: InstanceRow,
  evidence: Evidence | undefined,
): Promise<InstanceReport> {
  const runs = await Promise.all(
    (evidence?.runs ?? []).map(async (run) => ({
      name: run.name,
      outcome: run.outcome,
      passed: run.passed,
      failed: run.failed,
      totalMs: run.totalMs,
      logTail: await logTail(store, run.record),
    })),
  );
  return {
    instanceId: row.instance_id,
    repo: row.repo,
    version: row.version,
    createdAt: row.created_at,
    license: row.license,
    problemStatement: row.problem_statement,
    patch: row.patch,
    testPatch: row.test_patch,
    failToPass: row.FAIL_TO_PASS,
    passToPass: row.PASS_TO_PASS,
    collectionFailToPass: row.collection_fail_to_pass,
    quarantined: row.quarantined_tests,
    labels: row.labels,
    environment: {
      key: row.environment.key,
      runtime: row.environment.runtime_version,
      cutoff: row.environment.cutoff,
      variant: row.environment.variant,
    },
    runs,
    gold: evidence?.gold.verdict.verdict ?? 'infra',
    nop: evidence?.nop.verdict.verdict ?? 'infra',
  };
}

async function logTail(store: ArtefactStore, recordRef: Evidence['runs'][number]['record']): Promise<string> {
  const record = await store.getJson<RunRecord>(recordRef);
  if (record.log === null) return '';
  return (await store.getText(record.log)).slice(-LOG_TAIL_CHARACTERS);
}

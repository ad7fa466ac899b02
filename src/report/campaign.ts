import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { InstanceRow } from '../domain/types.ts';
import type { BaseImages, SandboxDriver } from '../sandbox/types.ts';
import { measureStorage } from '../store/storage.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { TimeBreakdown } from './breakdown.ts';
import { buildCampaignReport, type StorageFigures } from './build.ts';
import type { CampaignReport } from './model.ts';
import { writeAtomically, writeCampaignReport } from './write.ts';

export interface ReportWriterDeps {
  readonly stateDir: string;
  readonly installation: string;
  readonly store: ArtefactStore;
  readonly driver: SandboxDriver;
  readonly baseImages: BaseImages;
  readonly log: Logger;
}

/** The few figures of a report that scripts ask for; `figures.json` beside the dataset. */
export interface CampaignFigures {
  readonly uniqueBytesPerInstance: number | null;
  readonly environments: {
    /** Distinct environments of the published instances, and per instance. */
    readonly published: number;
    readonly per_instance: number | null;
    /** Bytes of all realised environments before and after pruning. */
    readonly full_bytes: number;
    readonly pruned_bytes: number;
    /** Keys whose pruned variant behaved differently. */
    readonly exceptions: readonly string[];
  };
  /** Container runs of the published instances; medians per run. */
  readonly time: {
    readonly runs: number;
    readonly total_ms: number;
    readonly tests_ms: number;
    readonly overhead_ms_p50: number;
    readonly phases_ms_p50: Readonly<Record<string, number>>;
  } | null;
  readonly labels: {
    readonly labeler: string;
    readonly means: {
      readonly issue_clarity: number;
      readonly test_fairness: number;
      readonly effort: number;
    };
    readonly tokens_per_1000: number;
    readonly usd_per_1000: number | null;
  } | null;
}

/** Returns the function that writes `<state>/campaigns/<name>/report/` and answers the path of its first page. */
export function campaignReportWriter(deps: ReportWriterDeps): (campaign: string) => Promise<string> {
  return async (campaign) => {
    const report = await buildCampaignReport(
      {
        store: deps.store,
        stateDir: deps.stateDir,
        // a report without storage figures is worth more than no report
        measureStorage: (name, rows) =>
          measureCampaignStorage(deps, name, rows).catch((error: unknown) => {
            deps.log.warn({ err: error }, 'the package store could not be measured');
            return null;
          }),
      },
      campaign,
    );
    const dir = join(deps.stateDir, 'campaigns', campaign);
    await writeAtomically(join(dir, 'figures.json'), `${JSON.stringify(figuresOf(report), null, 2)}\n`);
    return writeCampaignReport(report, join(dir, 'report'));
  };
}

export async function readCampaignFigures(
  stateDir: string,
  campaign: string,
): Promise<CampaignFigures | null> {
  const text = await readFile(join(stateDir, 'campaigns', campaign, 'figures.json'), 'utf8').catch(
    () => null,
  );
  return text === null ? null : (JSON.parse(text) as CampaignFigures);
}

/** What the campaign's instances hold over the base images, and what is shared, as lines of the report. */
async function measureCampaignStorage(
  deps: ReportWriterDeps,
  campaign: string,
  rows: readonly InstanceRow[],
): Promise<StorageFigures | null> {
  if (rows.length === 0) return null;
  const report = await measureStorage(deps, new Map([[campaign, rows]]));
  const [own] = report.campaigns;
  if (own === undefined || own.uniqueBytesPerInstance === null) return null;
  const { packageStore } = report;
  return {
    uniqueBytesPerInstance: own.uniqueBytesPerInstance,
    lines: [
      {
        what: 'environments',
        bytes: own.environmentBytes,
        note: `${own.environments} for ${own.instances} instances; every inode once, files that other environments use too counted in part`,
      },
      { what: 'dataset', bytes: own.datasetBytes, note: 'rows with patches, texts and locks' },
      {
        what: 'mirrors',
        bytes: own.mirrorBytes,
        note: 'bare git mirrors; shared by all campaigns over these repositories',
      },
      {
        what: 'base images',
        bytes: own.baseImageBytes,
        note: 'shared by everything on this daemon; not in the figure per instance',
      },
      {
        what: 'unreferenced cache',
        bytes: packageStore.cacheOnlyBytes,
        note: 'package cache that no environment uses: index pages, older packages',
      },
      {
        what: 'working cache',
        bytes: packageStore.workingBytes,
        note: 'full variants for proving the pruning',
      },
      {
        what: 'copy fallbacks',
        bytes: packageStore.copiedBytes,
        note: 'files that could not be hardlinked: a loss',
      },
    ],
  };
}

function figuresOf(report: CampaignReport): CampaignFigures {
  const mean = (of: (instance: CampaignReport['instances'][number]) => number): number =>
    report.instances.reduce((sum, instance) => sum + of(instance), 0) / report.instances.length;
  return {
    uniqueBytesPerInstance: report.uniqueBytesPerInstance,
    environments: {
      published: report.publishedEnvironments,
      per_instance:
        report.instances.length === 0 ? null : report.publishedEnvironments / report.instances.length,
      full_bytes: report.environments.fullBytes,
      pruned_bytes: report.environments.prunedBytes,
      exceptions: report.environments.exceptions.map(({ key }) => key),
    },
    time: timeFigures(report.time),
    labels:
      report.labelCost === null
        ? null
        : {
            labeler: report.labelCost.labeler,
            means: {
              issue_clarity: mean(({ labels }) => labels.issue_clarity.score),
              test_fairness: mean(({ labels }) => labels.test_fairness.score),
              effort: mean(({ labels }) => labels.effort.score),
            },
            tokens_per_1000: report.labelCost.tokensPer1000,
            usd_per_1000: report.labelCost.usdPer1000,
          },
  };
}

export const timeFigures = (time: TimeBreakdown | null): CampaignFigures['time'] =>
  time === null
    ? null
    : {
        runs: time.runs,
        total_ms: time.totalMs,
        tests_ms: time.testsMs,
        overhead_ms_p50: time.overheadP50Ms,
        phases_ms_p50: Object.fromEntries(time.phases.map(({ phase, p50Ms }) => [phase, p50Ms])),
      };

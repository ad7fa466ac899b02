import { join } from 'node:path';
import type { CampaignResult } from '../domain/campaign.ts';
import { workflowIds } from '../domain/ids.ts';
import { formatBytes, formatDuration } from '../report/html.ts';
import { readFunnel } from '../report/build.ts';
import { readCampaignFigures } from '../report/campaign.ts';
import type { Session } from '../setup/session.ts';
import { campaignUrl } from './campaigns.ts';
import { table } from './output.ts';

/** What a finished campaign tells, for people and for scripts; field names are part of the `--json` contract. */
export interface CampaignSummary {
  readonly campaign: string;
  readonly mined: number;
  readonly published: number;
  /** Validated, but beyond a cap by source order. */
  readonly surplus: number;
  /** Mined, and not brought to an end: mostly since the caps were met. */
  readonly open: number;
  readonly rejected: Readonly<Record<string, number>>;
  readonly rejection_examples: Readonly<Record<string, string>>;
  readonly funnel: readonly { readonly stage: string; readonly count: number }[];
  readonly gold_resolved: number;
  readonly nop_resolved: number;
  /** Container runs of tests, of all candidates, rejected ones included. */
  readonly executed_runs: number;
  readonly max_runs_per_published: number;
  readonly unique_bytes_per_instance: number | null;
  readonly environments: number;
  readonly environment_ms_p50: number | null;
  readonly labels: Readonly<Record<string, unknown>> | null;
  /** Sources that could not be mined at all, with the reason. */
  readonly failed_sources: readonly { readonly label: string; readonly reason: string }[];
  readonly wall_ms: number;
  readonly dataset: string;
  readonly report: string;
  readonly temporal_ui: string | null;
}

export async function campaignSummary(
  session: Session,
  name: string,
  result: CampaignResult,
  wallMs: number,
): Promise<CampaignSummary> {
  const dir = session.state.dir;
  const funnel = await readFunnel(dir, name);
  const figures = await readCampaignFigures(dir, name);
  return {
    campaign: name,
    mined: funnel.mined,
    published: funnel.published,
    surplus: funnel.surplus,
    open: funnel.open,
    rejected: Object.fromEntries(funnel.rejections.map(({ reason, count }) => [reason, count])),
    rejection_examples: Object.fromEntries(
      funnel.rejections.map(({ reason, examples }) => [
        reason,
        examples[0] === undefined ? '' : `${examples[0].instanceId}: ${examples[0].detail}`,
      ]),
    ),
    funnel: funnel.stages,
    gold_resolved: funnel.gold.resolved,
    nop_resolved: funnel.nop.resolved,
    executed_runs: funnel.containerRuns.executed,
    max_runs_per_published: funnel.containerRuns.maxPerPublished,
    unique_bytes_per_instance: figures?.uniqueBytesPerInstance ?? null,
    environments: funnel.environments.count,
    environment_ms_p50: funnel.environments.p50Ms,
    labels: figures?.labels ?? null,
    failed_sources: result.failedSources,
    wall_ms: Math.round(wallMs),
    dataset: join(dir, 'campaigns', name, 'dataset.jsonl'),
    report: join(dir, 'campaigns', name, 'report', 'index.html'),
    temporal_ui: session.temporal.uiUrl === null ? null : campaignUrl(session, workflowIds.campaign(name)),
  };
}

/** One screen: funnel, reasons, grades, storage, labels, and where everything is. */
export function summaryText(summary: CampaignSummary): string {
  const { published } = summary;
  const percent = (count: number): string =>
    published === 0 ? '–' : `${Math.round((100 * count) / published)} %`;
  const rejections = Object.entries(summary.rejected);
  const cut = (text: string): string =>
    (text.length > 110 ? `${text.slice(0, 109)}…` : text).replace(/\s+/g, ' ');
  return [
    '',
    'Funnel',
    table(
      summary.funnel.map(({ stage, count }) => [stage, count]),
      '  ',
    ),
    rejections.length === 0 ? 'No candidate was rejected.' : 'Rejected',
    ...(rejections.length === 0
      ? []
      : [
          table(
            rejections.map(([reason, count]) => [
              reason,
              count,
              cut(summary.rejection_examples[reason] ?? ''),
            ]),
            '  ',
          ),
        ]),
    ...(summary.surplus + summary.open === 0
      ? []
      : [`Beyond the caps: ${summary.surplus} validated, ${summary.open} mined and not needed or not ended`]),
    ...summary.failed_sources.map(({ label, reason }) => `Could not be mined: ${label}: ${reason}`),
    `In validation's own last runs: gold resolved ${percent(summary.gold_resolved)} (${summary.gold_resolved}/${published}), nop resolved ${percent(summary.nop_resolved)} (${summary.nop_resolved}/${published})`,
    `Container runs: ${summary.executed_runs} executed; at most ${summary.max_runs_per_published} for a published instance`,
    `Storage: ${summary.unique_bytes_per_instance === null ? 'not measured' : `${formatBytes(summary.unique_bytes_per_instance)} unique per instance over the base images`}; ${summary.environments} environments, median ${summary.environment_ms_p50 === null ? '–' : formatDuration(summary.environment_ms_p50)} each`,
    `Labels: ${labelsText(summary)}`,
    `Time: ${formatDuration(summary.wall_ms)}`,
    `Dataset: ${summary.dataset}`,
    `Report:  ${summary.report}`,
    ...(summary.temporal_ui === null ? [] : [`Temporal UI: ${summary.temporal_ui}`]),
  ].join('\n');
}

function labelsText({ labels }: CampaignSummary): string {
  if (labels === null) return 'none';
  const {
    labeler,
    means,
    usd_per_1000: usd,
  } = labels as { labeler: string; means: Record<string, number>; usd_per_1000: number | null };
  const scores = Object.entries(means).map(([name, mean]) => `${name.replace('_', ' ')} ${mean.toFixed(1)}`);
  return `${labeler}; means ${scores.join(', ')}${usd === null ? '' : `; $${usd.toFixed(2)} per 1,000`}`;
}

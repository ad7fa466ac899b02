import { readFile } from 'node:fs/promises';
import {
  campaignStatus,
  startCampaign,
  waitForCampaign,
  type CampaignContext,
  type CampaignRequest,
  type StartedCampaign,
} from '../client/campaigns.ts';
import type { CampaignOptions, CampaignResult } from '../domain/campaign.ts';
import type { SourceSpec } from '../domain/sourceSpec.ts';
import { DEFAULT_RUN_LIMITS } from '../domain/runs.ts';
import type { Session } from '../setup/session.ts';
import { parseCampaignFile, type CampaignFile } from './campaignFile.ts';
import { follow } from './follow.ts';
import { UsageError, type Output } from './output.ts';
import { campaignLine, createProgressView } from './progress.ts';
import { withWorkers } from './signals.ts';

/** Reads a campaign file into a request; one sentence when it is missing or wrong. */
export async function requestFromFile(path: string): Promise<CampaignRequest> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(
      error.code === 'ENOENT'
        ? `There is no campaign file ${path}.`
        : `Cannot read ${path}: ${error.message}`,
    );
  });
  return requestFrom(parseCampaignFile(text, path));
}

export function requestFrom(file: CampaignFile): CampaignRequest {
  const limits = file.limits ?? {};
  const options: Partial<CampaignOptions> = {
    ...(file.window === undefined ? {} : { width: file.window }),
    ...(file.max_instances === undefined ? {} : { maxInstances: file.max_instances }),
    ...(file.since === undefined ? {} : { since: file.since }),
    ...(file.until === undefined ? {} : { until: file.until }),
    ...(file.max_source_files === undefined ? {} : { maxSourceFiles: file.max_source_files }),
    ...(file.max_patch_kilobytes === undefined ? {} : { maxPatchBytes: file.max_patch_kilobytes * 1024 }),
    ...(file.runtimes === undefined ? {} : { runtimes: file.runtimes }),
    ...(file.licenses === undefined ? {} : { licenses: file.licenses }),
    ...(file.pass_to_pass_budget_seconds === undefined
      ? {}
      : { passToPassBudgetMs: Math.round(file.pass_to_pass_budget_seconds * 1000) }),
    ...(file.max_forgery_odds === undefined ? {} : { maxForgeryOdds: file.max_forgery_odds }),
    runLimits: {
      ...DEFAULT_RUN_LIMITS,
      ...(limits.timeout_seconds === undefined
        ? {}
        : { timeoutMs: Math.round(limits.timeout_seconds * 1000) }),
      ...(limits.memory_megabytes === undefined ? {} : { memoryBytes: limits.memory_megabytes * 1024 ** 2 }),
      ...(limits.cpus === undefined ? {} : { cpus: limits.cpus }),
      ...(limits.pids === undefined ? {} : { pids: limits.pids }),
    },
  };
  return { name: file.name, sources: file.sources.flatMap(sourcesFrom), options };
}

function sourcesFrom({
  max_candidates: maxCandidates,
  max_instances: maxInstances,
  ...source
}: CampaignFile['sources'][number]): readonly SourceSpec[] {
  const caps = {
    ...(maxCandidates === undefined ? {} : { maxCandidates }),
    ...(maxInstances === undefined ? {} : { maxInstances }),
  };
  const name = 'name' in source && source.name !== undefined ? { name: source.name } : {};
  if ('git' in source) return [{ git: source.git, ...name, ...caps }];
  if (!('mutate' in source)) return [{ ...source, ...caps }];
  const { mutate, seed, kinds } = source;
  const how = { ...(seed === undefined ? {} : { seed }), ...(kinds === undefined ? {} : { kinds }) };
  return mutate.map((one) => ({ mutate: one, ...name, ...how, ...caps }));
}

/** What of a session a campaign that is followed needs. */
export type RunSession = CampaignContext & Pick<Session, 'temporal' | 'startWorkers'>;

/** Starts or takes up a campaign and follows it to its end, with workers in this process. */
export async function runCampaign(
  session: RunSession,
  request: CampaignRequest,
  output: Output,
): Promise<{ readonly started: StartedCampaign; readonly result: CampaignResult }> {
  return withWorkers(session.startWorkers(), output, async (workers) => {
    const started = await startCampaign(session, request);
    output.say(sayHow(started));
    if (session.temporal.uiUrl !== null)
      output.say(`Temporal UI: ${campaignUrl(session, started.workflowId)}`);
    const result = await follow({
      session,
      what: 'campaign',
      output,
      view: createProgressView(campaignLine),
      status: () => campaignStatus(session, started.name),
      wait: (signal) => waitForCampaign(session, started.name, signal),
      workersEnded: workers.ended,
    });
    return { started, result };
  });
}

export const campaignUrl = ({ temporal }: Pick<Session, 'temporal'>, workflowId: string): string =>
  `${temporal.uiUrl}/namespaces/${temporal.namespace}/workflows/${encodeURIComponent(workflowId)}`;

function sayHow({ name, how }: StartedCampaign): string {
  const words = {
    started: 'started',
    attached: 'is running already; following it',
    resumed: 'goes on where it was',
    finished: 'had finished already (give --fresh for a new one)',
  } as const;
  return `Campaign "${name}" ${words[how]}.`;
}

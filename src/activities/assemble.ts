import { join } from 'node:path';
import type { Logger } from 'pino';
import { positionOf, withinCaps } from '../domain/admission.ts';
import { canonicalJson } from '../domain/canonical.ts';
import type { Evidence, EvidenceIndexEntry } from '../domain/evidence.ts';
import { buildFunnel } from '../domain/funnel.ts';
import type { FunnelEntry, FunnelInput } from '../domain/funnel.ts';
import type { PruningProof } from '../domain/health.ts';
import type { InstanceResult } from '../domain/messages.ts';
import { recordNames } from '../domain/records.ts';
import type { StageRecord } from '../domain/records.ts';
import type { InstanceRow, RealiseOutcome, ResolveOutcome } from '../domain/types.ts';
import { writeLines } from '../store/durable.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';
import type { MinedPageRecord } from './mining.ts';
import type { ControlActivities } from './types.ts';

export interface AssembleDeps {
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  readonly log: Logger;
  /** State directory; results name paths relative to it. */
  readonly stateDir: string;
  /** Writes the report of a campaign whose files are in place, and returns its path; null when there is no writer. */
  readonly writeReport: ((campaign: string) => Promise<string>) | null;
}

type Request = Parameters<ControlActivities['assembleCampaign']>[0];
type Assembled = Awaited<ReturnType<ControlActivities['assembleCampaign']>>;
interface Placed {
  readonly entry: MinedPageRecord['entries'][number];
  readonly source: number;
  readonly position: number;
  readonly result: InstanceResult | null;
}

/**
 * Writes `<state>/campaigns/<name>/{dataset,evidence}.jsonl` and `funnel.json` from the records alone. The dataset depends
 * on sources, options and results, in the campaign's order, never on what finished when; it may be written again.
 */
export async function assembleCampaign(deps: AssembleDeps, request: Request): Promise<Assembled> {
  const { campaign, sources, options } = request;
  const placed = await placedEntries(deps, request);
  const accepted = placed.filter(({ result }) => result?.outcome === 'published');
  const caps = {
    perSource: sources.map(({ maxInstances }) => maxInstances ?? null),
    overall: options.maxInstances,
  };
  const published = withinCaps(accepted, caps).flatMap((index) => accepted[index] ?? []);
  const dir = join('campaigns', campaign);
  const dataset = join(dir, 'dataset.jsonl');
  const evidence = await evidenceOf(deps, published);
  await writeLines(join(deps.stateDir, dataset), rowLines(deps, published));
  await writeLines(join(deps.stateDir, dir, 'evidence.jsonl'), evidence.map(indexLine));
  const funnel = buildFunnel({
    campaign,
    finished: request.finished,
    containerRuns: request.containerRuns,
    entries: placed.map(funnelEntry),
    published: new Set(published.map(({ entry }) => entry.instanceId)),
    grades: evidence.map(({ gold, nop }) => ({ gold: gold.resolved === 1, nop: nop.resolved === 1 })),
    ...(await stageFigures(deps, campaign, placed)),
  });
  await writeLines(join(deps.stateDir, dir, 'funnel.json'), [JSON.stringify(funnel, null, 2)]);
  const report = deps.writeReport === null ? null : await deps.writeReport(campaign);
  return { dataset, report, published: published.length, surplus: accepted.length - published.length };
}

/** Every mined entry with its place in the campaign's order and how it ended. */
async function placedEntries({ records }: AssembleDeps, { campaign, sources }: Request): Promise<Placed[]> {
  const placed: Placed[] = [];
  for (const source of sources.keys()) {
    let k = 0;
    for (const name of await records.list(recordNames.minePages(campaign, source))) {
      const page = await records.read<MinedPageRecord>(name);
      for (const entry of page?.entries ?? []) {
        const result = await records.read<InstanceResult>(recordNames.result(campaign, entry.instanceId));
        placed.push({ entry, source, position: positionOf(sources.length, source, k), result });
        k += 1;
      }
    }
  }
  return placed.sort((a, b) => a.position - b.position);
}

const funnelEntry = ({ entry, result }: Placed): FunnelEntry =>
  entry.ok
    ? { instanceId: entry.instanceId, result }
    : { instanceId: entry.instanceId, minedRejection: entry.rejection };

async function* rowLines(deps: AssembleDeps, published: readonly Placed[]): AsyncGenerator<string> {
  for (const { result } of published)
    if (result?.outcome === 'published')
      yield canonicalJson(await deps.store.getJson<InstanceRow>(result.row));
}

function evidenceOf(
  deps: AssembleDeps,
  published: readonly Placed[],
): Promise<readonly (Evidence & { readonly ref: EvidenceIndexEntry['evidence'] })[]> {
  return Promise.all(
    published.flatMap(({ result }) =>
      result?.outcome === 'published'
        ? [
            deps.store
              .getJson<Evidence>(result.evidence)
              .then((evidence) => ({ ...evidence, ref: result.evidence })),
          ]
        : [],
    ),
  );
}

const indexLine = (evidence: Evidence & { readonly ref: EvidenceIndexEntry['evidence'] }): string => {
  const line: EvidenceIndexEntry = {
    instance_id: evidence.instanceId,
    row: evidence.row,
    evidence: evidence.ref,
  };
  return canonicalJson(line);
};

/** Durations of all recorded stages, and what each environment key cost the first time. */
async function stageFigures(
  { records }: AssembleDeps,
  campaign: string,
  placed: readonly Placed[],
): Promise<Pick<FunnelInput, 'durations' | 'environments'>> {
  const durations: { stage: string; durationMs: number }[] = [];
  const keys = new Map<string, number>();
  for (const { entry } of placed) {
    if (!entry.ok) continue;
    const folder = recordNames.instance(campaign, entry.instanceId);
    for (const name of await records.list(folder)) {
      const stage = name.slice(name.lastIndexOf('/') + 1).split('.')[0] ?? '';
      const record = stage === 'result' ? null : await records.read<StageRecord<unknown>>(name);
      if (record === null) continue;
      durations.push({ stage, durationMs: record.durationMs });
      if (stage !== 'resolve') continue;
      const resolved = record.value as ResolveOutcome;
      if (resolved.ok) keys.set(resolved.key, Math.max(keys.get(resolved.key) ?? 0, resolved.durationMs));
    }
  }
  const environments = await Promise.all(
    [...keys].map(async ([key, resolveMs]) => ({
      key,
      resolveMs,
      realised: await records.read<RealiseOutcome>(recordNames.realised(key, 'pruned')),
      difference: await differenceOf(records, key),
    })),
  );
  return { durations, environments };
}

/** What the proof of a key's pruning found to differ; null when it agreed, or there is none. */
async function differenceOf(records: RecordStore, key: string): Promise<string | null> {
  const proof = await records.read<PruningProof>(recordNames.pruningProof(key));
  if (proof === null || proof.agree) return null;
  const found = await records.read<{ readonly detail: string }>(
    recordNames.disagreement(key, proof.instanceId),
  );
  return found?.detail ?? 'the two variants behaved differently';
}

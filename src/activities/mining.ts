import type { Logger } from 'pino';
import type { InstanceResult } from '../domain/messages.ts';
import type { SourceSpec } from '../domain/sourceSpec.ts';
import { recordNames } from '../domain/records.ts';
import type { Candidate } from '../domain/types.ts';
import { licenseAllowed } from '../export/filters.ts';
import type { CandidateSource, MinedCandidate, MineLimits } from '../sources/types.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';
import type { MinePageRequest, MiningActivities, PageEntry } from './types.ts';
import { withWork } from './work.ts';

export interface MiningDeps {
  readonly installation: string;
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  readonly log: Logger;
  /** Opens a source; cheap, and kept by the caller where pages share an index. */
  readonly openSource: (source: SourceSpec, limits: MineLimits) => CandidateSource;
}

/** A page as recorded: what the source said the first time, whatever it would say now. */
export interface MinedPageRecord {
  readonly schema: 1;
  readonly entries: readonly (MinedCandidate & { readonly repo: string })[];
  readonly nextCursor: string | null;
}

/** Mining: pages of candidates, each recorded by its number. */
export function createMiningActivities(deps: MiningDeps): MiningActivities {
  return {
    minePage: async (request) => {
      const page = await withWork(deps, request.campaign, (context) =>
        recordedPage(deps, request, async () => {
          const source = deps.openSource(request.source, limitsOf(request));
          return source.minePage(request.cursor, request.options.minePageSize, context);
        }),
      );
      return {
        entries: await Promise.all(page.entries.map((entry) => entryOf(deps, request.campaign, entry))),
        nextCursor: page.nextCursor,
      };
    },
  };
}

const limitsOf = ({ options, source }: MinePageRequest): MineLimits => ({
  maxSourceFiles: options.maxSourceFiles,
  maxPatchBytes: options.maxPatchBytes,
  since: options.since,
  until: options.until,
  maxCandidates: source.maxCandidates ?? null,
});

async function recordedPage(
  deps: MiningDeps,
  request: MinePageRequest,
  mine: () => Promise<{ readonly entries: readonly MinedCandidate[]; readonly nextCursor: string | null }>,
): Promise<MinedPageRecord> {
  const name = recordNames.minePage(request.campaign, request.sourceIndex, request.page);
  const known = await deps.records.read<MinedPageRecord>(name);
  if (known !== null) return known;
  const mined = await mine();
  const entries = await Promise.all(mined.entries.map((entry) => admitted(deps, request, entry)));
  return (
    await deps.records.record<MinedPageRecord>(name, { schema: 1, entries, nextCursor: mined.nextCursor })
  ).value;
}

/** Adds what the campaign needs to know, and rejects by the campaign's licence filter. */
async function admitted(
  deps: MiningDeps,
  { options }: MinePageRequest,
  entry: MinedCandidate,
): Promise<MinedPageRecord['entries'][number]> {
  if (!entry.ok) return { ...entry, repo: '' };
  const { repo, license } = await deps.store.getJson<Candidate>(entry.candidate);
  if (options.licenses === null || licenseAllowed(license, options.licenses)) return { ...entry, repo };
  return {
    ok: false,
    instanceId: entry.instanceId,
    repo,
    rejection: { reason: 'license', detail: `${license ?? 'No licence known'}: not in the campaign's list.` },
  };
}

async function entryOf(
  deps: MiningDeps,
  campaign: string,
  entry: MinedPageRecord['entries'][number],
): Promise<PageEntry> {
  if (!entry.ok) return { id: entry.instanceId, rejected: entry.rejection.reason };
  const settled = await deps.records.read<InstanceResult>(recordNames.result(campaign, entry.instanceId));
  return { id: entry.instanceId, repo: entry.repo, candidate: entry.candidate, settled };
}

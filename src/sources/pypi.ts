import type { Logger } from 'pino';
import { z } from 'zod';
import { FAILURE_TYPES, cutText, permanentFailure } from '../domain/failures.ts';
import { instanceIds } from '../domain/ids.ts';
import { newestFirst, predecessorsOf } from '../domain/releases.ts';
import type { IsoTime, RejectionReason } from '../domain/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import { makeCandidate } from './candidate.ts';
import type { Fetch } from './http.ts';
import type { SourceMirror, SourceMirrorStore } from './mirror.ts';
import { importRelease, licenseOfRelease } from './release.ts';
import type { ImportedRelease, ReleaseRequest } from './release.ts';
import { readMetadata, releaseText } from './releaseText.ts';
import { BadArchiveError } from './sdistArchive.ts';
import type { ArchiveLimits } from './sdistPlan.ts';
import { normaliseName } from '../domain/packageName.ts';
import { listSdists } from './simpleIndex.ts';
import type { IndexedSdist } from './simpleIndex.ts';
import type { CandidateSource, MineContext, MineLimits, MinePage, MinedCandidate } from './types.ts';

export interface PypiSourceOptions {
  /** Package name as people write it. */
  readonly name: string;
  /** Simple-API addresses from the installer's configuration, tried in order. */
  readonly indexUrls: readonly string[];
  readonly store: ArtefactStore;
  readonly mirrors: SourceMirrorStore;
  /** For downloads; rebuildable. */
  readonly cacheDir: string;
  readonly limits: MineLimits;
  readonly log: Logger;
  readonly fetch?: Fetch;
  readonly archiveLimits?: ArchiveLimits;
  /** Largest sdist that is downloaded. */
  readonly maxDownloadBytes?: number;
}

const INDEX_AGE_MS = 600_000; // pages of one campaign see one index unless mining takes longer

/** `next`: version to begin with; `found`: candidates so far. The time finds the place again if a version is deleted. */
const CURSOR = z.object({ next: z.string(), at: z.string().nullable(), found: z.number().int() });
type Cursor = z.infer<typeof CURSOR>;

/**
 * The release history of a package as a source of candidates: each final release against its predecessor (the nearest
 * lower version of its minor line, else of its major line, else of all; uploaded before it), newest upload first.
 * Every sdist becomes a root commit of the bare mirror `pypi__<name>` under `refs/releases/<version>`.
 */
export function createPypiSource(options: PypiSourceOptions): CandidateSource {
  const name = normaliseName(options.name);
  let index: { readonly releases: readonly IndexedSdist[]; readonly untilMs: number } | null = null;

  const releasesNow = async (signal: AbortSignal): Promise<readonly IndexedSdist[]> => {
    if (index === null || index.untilMs < Date.now()) {
      const request = {
        fetch: options.fetch ?? globalThis.fetch,
        indexUrls: options.indexUrls,
        name,
        signal,
      };
      index = { releases: await listSdists(request), untilMs: Date.now() + INDEX_AGE_MS };
    }
    return index.releases;
  };

  return {
    async minePage(cursorText, pageSize, context) {
      const cursor = cursorText === null ? null : parseCursor(cursorText);
      const releases = await releasesNow(context.signal);
      const mirror = await options.mirrors.create(`pypi__${name}`);
      return minePage({ options, name, releases, mirror, context }, cursor, pageSize);
    },
  };
}

interface Mining {
  readonly options: PypiSourceOptions;
  readonly name: string;
  readonly releases: readonly IndexedSdist[];
  readonly mirror: SourceMirror;
  readonly context: MineContext;
}

async function minePage(mining: Mining, cursor: Cursor | null, pageSize: number): Promise<MinePage> {
  const order = newestFirst(mining.releases);
  const { limits } = mining.options;
  let found = cursor?.found ?? 0;
  const entries: MinedCandidate[] = [];
  for (let at = startAt(order, cursor); at < order.length; at++) {
    const release = order[at];
    if (!release || (limits.maxCandidates !== null && found >= limits.maxCandidates)) break;
    if (entries.length >= pageSize)
      return { entries, nextCursor: JSON.stringify({ next: release.version, at: release.uploaded, found }) };
    const uploaded = release.uploaded;
    if (uploaded !== null && limits.until !== null && uploaded >= limits.until) continue;
    if (uploaded !== null && limits.since !== null && uploaded < limits.since) break;
    mining.context.heartbeat({ mining: mining.name, version: release.version });
    const mined = await mineRelease(mining, release.version);
    if (mined === null) continue;
    entries.push(mined);
    if (mined.ok) found++;
  }
  return { entries, nextCursor: null };
}

function parseCursor(text: string): Cursor {
  try {
    return CURSOR.parse(JSON.parse(text));
  } catch (error) {
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `"${text.slice(0, 100)}" is not a cursor of a release history.`,
      error,
    );
  }
}

function startAt(
  order: readonly { readonly version: string; readonly uploaded: IsoTime | null }[],
  cursor: Cursor | null,
): number {
  if (cursor === null) return 0;
  const exact = order.findIndex((release) => release.version === cursor.next);
  if (exact >= 0) return exact;
  const older = order.findIndex(
    (release) => cursor.at !== null && release.uploaded !== null && release.uploaded <= cursor.at,
  );
  return older < 0 ? order.length : older;
}

/** One release as a candidate or a typed rejection; null when it is the first of its package or outside the times. */
async function mineRelease(mining: Mining, version: string): Promise<MinedCandidate | null> {
  const instanceId = instanceIds.release(mining.name, version);
  const predecessors = predecessorsOf(version, mining.releases);
  if (predecessors.length === 0) return null;
  try {
    const head = await importRelease(releaseOf(mining, version));
    const { since, until } = mining.options.limits;
    if ((until !== null && head.published >= until) || (since !== null && head.published < since))
      return null;
    const base = await importPredecessor(mining, head, predecessors);
    return base === null ? null : await candidateOf(mining, instanceId, base, head);
  } catch (error) {
    if (!(error instanceof BadArchiveError)) throw error;
    mining.options.log.debug({ package: mining.name, version, reason: error.message }, 'release rejected');
    const reason: RejectionReason = 'bad_archive';
    return { ok: false, instanceId, rejection: { reason, detail: cutText(error.message) } };
  }
}

const releaseOf = (
  { name, releases, mirror, options, context }: Mining,
  version: string,
): ReleaseRequest => ({
  ...options,
  name,
  releases,
  mirror,
  version,
  signal: context.signal,
  heartbeat: context.heartbeat,
});

const MAX_PREDECESSORS_TRIED = 5;

/** Where the index tells no times, the archives do: a lower version that is newer than `head` is no predecessor. */
async function importPredecessor(
  mining: Mining,
  head: ImportedRelease,
  predecessors: readonly { readonly version: string }[],
): Promise<ImportedRelease | null> {
  for (const { version } of predecessors.slice(0, MAX_PREDECESSORS_TRIED)) {
    const base = await importRelease(releaseOf(mining, version));
    if (base.published <= head.published) return base;
  }
  return null;
}

async function candidateOf(
  mining: Mining,
  instanceId: string,
  base: ImportedRelease,
  head: ImportedRelease,
): Promise<MinedCandidate> {
  const { mirror, name, options } = mining;
  const sdist = mining.releases.find((release) => release.version === head.version);
  const own = new Set(mining.releases.map((release) => release.version));
  const metadata = await readMetadata(mirror, head.commit);
  const query = {
    version: head.version,
    baseVersion: base.version,
    isOwnRelease: (version: string) => own.has(version),
  };
  const problem = await releaseText(
    mirror,
    { name, commit: head.commit, base: base.commit, query },
    metadata,
  );
  return makeCandidate({
    mirror,
    store: options.store,
    limits: options.limits,
    instanceId,
    source: 'pypi',
    repo: `pypi/${name}`,
    base: base.commit,
    head: head.commit,
    version: head.version,
    baseVersion: base.version,
    createdAt: head.published,
    baseCreatedAt: base.published,
    problemStatement: problem.text,
    hintsText: null,
    license: await licenseOfRelease(mirror, head.commit, metadata.license),
    provenance: {
      package: name,
      version: head.version,
      base_version: base.version,
      sdist: sdist?.filename ?? '',
      sdist_sha256: sdist?.sha256 ?? '',
      problem_statement_from: problem.origin,
      head_tree: await mirror.treeOid(head.commit),
    },
  });
}

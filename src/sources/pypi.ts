import type { Logger } from 'pino';
import { z } from 'zod';
import { FAILURE_TYPES, cutText, permanentFailure } from '../domain/failures.ts';
import { instanceIds } from '../domain/ids.ts';
import { newestFirst, predecessorsOf } from '../domain/releases.ts';
import type { IsoTime, RejectionReason } from '../domain/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import { makeCandidate } from './candidate.ts';
import type { Fetch } from './http.ts';
import { licenseOfTree } from './license.ts';
import type { SourceMirror, SourceMirrorStore } from './mirror.ts';
import { gitText } from './gitRun.ts';
import { readMetadata, releaseText } from './releaseText.ts';
import { BadArchiveError } from './sdistArchive.ts';
import { downloadSdist } from './sdistDownload.ts';
import { importArchive } from './sdistImport.ts';
import { DEFAULT_ARCHIVE_LIMITS, planArchive } from './sdistPlan.ts';
import type { ArchiveLimits } from './sdistPlan.ts';
import { normaliseName } from '../domain/packageName.ts';
import { isoTime, listSdists } from './simpleIndex.ts';
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

const DEFAULT_MAX_DOWNLOAD_BYTES = 256 * 1024 ** 2;
const INDEX_AGE_MS = 600_000; // pages of one campaign see one index unless mining takes longer

/** `next`: version to begin with; `found`: candidates so far. The time finds the place again if a version is deleted. */
const CURSOR = z.object({ next: z.string(), at: z.string().nullable(), found: z.number().int() });
type Cursor = z.infer<typeof CURSOR>;

/** A release whose tree is in the mirror. */
interface ImportedRelease {
  readonly version: string;
  readonly commit: string;
  readonly published: IsoTime;
}

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
    const head = await importRelease(mining, version);
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

const MAX_PREDECESSORS_TRIED = 5;

/** Where the index tells no times, the archives do: a lower version that is newer than `head` is no predecessor. */
async function importPredecessor(
  mining: Mining,
  head: ImportedRelease,
  predecessors: readonly { readonly version: string }[],
): Promise<ImportedRelease | null> {
  for (const { version } of predecessors.slice(0, MAX_PREDECESSORS_TRIED)) {
    const base = await importRelease(mining, version);
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
    license: await licenseOf(mirror, head.commit, metadata.license),
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

/** The metadata's licence when it is an SPDX expression, else what the tree's licence file says, else the metadata's. */
async function licenseOf(
  mirror: SourceMirror,
  commit: string,
  declared: string | null,
): Promise<string | null> {
  const isSpdx =
    declared !== null &&
    /^[A-Za-z0-9.+-]+( (OR|AND|WITH) [A-Za-z0-9.+-]+)*$/.test(declared) &&
    declared !== 'BSD';
  return isSpdx ? declared : ((await licenseOfTree(mirror, commit)) ?? declared);
}

/** Brings a release's tree into the mirror, or finds it there. Throws BadArchiveError for an unusable archive. */
async function importRelease(mining: Mining, version: string): Promise<ImportedRelease> {
  const { mirror, options, context } = mining;
  const sdist = mining.releases.find((release) => release.version === version);
  if (!sdist)
    throw permanentFailure(FAILURE_TYPES.badInput, `${mining.name} ${version} is not on the index.`);
  const ref = `refs/releases/${version}`;
  const known = await mirror.resolve(ref);
  if (known !== null) {
    const [seconds = '0', ...message] = (
      await gitText(['show', '-s', '--format=%ct%n%B', known], { gitDir: mirror.gitDir })
    ).split('\n');
    const same = sdist.sha256 === null || message.includes(`Sha256: ${sdist.sha256}`);
    if (same) return { version, commit: known, published: isoTime(Number(seconds) * 1_000) };
  }
  const archive = await downloadSdist({
    fetch: options.fetch ?? globalThis.fetch,
    sdist,
    cacheDir: options.cacheDir,
    maxBytes: options.maxDownloadBytes ?? DEFAULT_MAX_DOWNLOAD_BYTES,
    signal: context.signal,
  });
  const limits = options.archiveLimits ?? DEFAULT_ARCHIVE_LIMITS;
  const plan = await planArchive(archive.file, sdist.filename, limits);
  const epochMs = sdist.uploaded === null ? (plan.newestMtimeMs ?? 0) : Date.parse(sdist.uploaded);
  const epochSeconds = Math.max(Math.floor(epochMs / 1_000), 0);
  const commit = await importArchive({
    mirror,
    file: archive.file,
    filename: sdist.filename,
    plan,
    maxBytes: limits.maxBytes,
    ref,
    message: `${mining.name} ${version}\n\nSdist: ${sdist.filename}\nSha256: ${archive.sha256}\n`,
    epochSeconds,
  });
  context.heartbeat({ imported: `${mining.name} ${version}` });
  return { version, commit, published: isoTime(epochSeconds * 1_000) };
}

import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import type { IsoTime } from '../domain/types.ts';
import { gitText } from './gitRun.ts';
import type { Fetch } from './http.ts';
import { licenseOfTree } from './license.ts';
import type { SourceMirror } from './mirror.ts';
import { downloadSdist } from './sdistDownload.ts';
import { importArchive } from './sdistImport.ts';
import { DEFAULT_ARCHIVE_LIMITS, planArchive } from './sdistPlan.ts';
import type { ArchiveLimits } from './sdistPlan.ts';
import { isoTime } from './simpleIndex.ts';
import type { IndexedSdist } from './simpleIndex.ts';

/** A release whose tree is in the mirror. */
export interface ImportedRelease {
  readonly version: string;
  readonly commit: string;
  readonly published: IsoTime;
}

export interface ReleaseRequest {
  /** Normalised package name. */
  readonly name: string;
  readonly version: string;
  /** What the index offers of the package. */
  readonly releases: readonly IndexedSdist[];
  readonly mirror: SourceMirror;
  /** For downloads; rebuildable. */
  readonly cacheDir: string;
  readonly signal: AbortSignal;
  readonly heartbeat: (details: unknown) => void;
  readonly fetch?: Fetch;
  readonly archiveLimits?: ArchiveLimits;
  /** Largest sdist that is downloaded. */
  readonly maxDownloadBytes?: number;
}

const DEFAULT_MAX_DOWNLOAD_BYTES = 256 * 1024 ** 2;

/**
 * Brings a release's tree into the mirror as a root commit under `refs/releases/<version>`, or finds it there. Throws
 * BadArchiveError for an unusable archive, permanent BadInput for a version that the index does not have.
 */
export async function importRelease(request: ReleaseRequest): Promise<ImportedRelease> {
  const { mirror, name, version } = request;
  const sdist = request.releases.find((release) => release.version === version);
  if (!sdist) throw permanentFailure(FAILURE_TYPES.badInput, `${name} ${version} is not on the index.`);
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
    fetch: request.fetch ?? globalThis.fetch,
    sdist,
    cacheDir: request.cacheDir,
    maxBytes: request.maxDownloadBytes ?? DEFAULT_MAX_DOWNLOAD_BYTES,
    signal: request.signal,
  });
  const limits = request.archiveLimits ?? DEFAULT_ARCHIVE_LIMITS;
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
    message: `${name} ${version}\n\nSdist: ${sdist.filename}\nSha256: ${archive.sha256}\n`,
    epochSeconds,
  });
  request.heartbeat({ imported: `${name} ${version}` });
  return { version, commit, published: isoTime(epochSeconds * 1_000) };
}

/** The metadata's licence when it is an SPDX expression, else what the tree's licence file says, else the metadata's. */
export async function licenseOfRelease(
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

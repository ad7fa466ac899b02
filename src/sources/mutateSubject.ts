import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { instanceIds } from '../domain/ids.ts';
import { repositoryName } from '../domain/commitText.ts';
import { newestFirst } from '../domain/releases.ts';
import type { MutationTarget } from '../domain/sourceSpec.ts';
import type { Candidate, IsoTime } from '../domain/types.ts';
import { versionAt } from './git.ts';
import { gitText } from './gitRun.ts';
import type { Fetch } from './http.ts';
import { licenseOfTree } from './license.ts';
import type { SourceMirrorStore } from './mirror.ts';
import { importRelease, licenseOfRelease } from './release.ts';
import { readMetadata } from './releaseText.ts';
import { isoTime, listSdists } from './simpleIndex.ts';
import type { MineContext, MineLimits } from './types.ts';

export interface SubjectOptions {
  readonly target: MutationTarget;
  /** Simple-API addresses from the installer's configuration, tried in order; only asked for releases. */
  readonly indexUrls: readonly string[];
  readonly mirrors: SourceMirrorStore;
  /** For downloads; rebuildable. */
  readonly cacheDir: string;
  readonly limits: MineLimits;
  readonly fetch?: Fetch;
}

/** The sound package that bugs are put into. Plain data: part of a kept artefact. */
export interface Subject {
  /** As people name it: `parse 1.20.2`. */
  readonly title: string;
  /** Parts of the instance ids: `parse` and `1.20.2`, or the repository's name and twelve digits of the commit. */
  readonly name: string;
  readonly version: string;
  /** Version of the rows: the release, or the last one below the commit; '' when unknown. */
  readonly tag: string;
  readonly mirror: string;
  readonly commit: string;
  readonly repo: string;
  readonly baseVersion: string | null;
  readonly published: IsoTime;
  readonly license: string | null;
  readonly provenance: Candidate['provenance'];
}

/**
 * Brings the package into a mirror. A release without a version is the newest final one within the campaign's dates. Throws
 * what the index, the archive (BadArchiveError) or git say; permanent NotFound where there is no such release.
 */
export async function openSubject(options: SubjectOptions, context: MineContext): Promise<Subject> {
  return options.target.url === undefined
    ? openRelease(options, options.target, context)
    : openClone(options, options.target, context);
}

async function openRelease(
  options: SubjectOptions,
  target: MutationTarget,
  context: MineContext,
): Promise<Subject> {
  const { name } = target;
  const { signal, heartbeat } = context;
  const request = { fetch: options.fetch ?? globalThis.fetch, indexUrls: options.indexUrls, name, signal };
  const releases = await listSdists(request);
  const version = target.version ?? newestWithin(options.limits, releases);
  const sdist = releases.find((release) => release.version === version);
  if (version === null || sdist === undefined)
    throw permanentFailure(
      FAILURE_TYPES.notFound,
      `The index has no source archive of ${name}${version === null ? " within the campaign's dates" : ` ${version}`}.`,
    );
  const mirror = await options.mirrors.create(`pypi__${name}`);
  const { commit, published } = await importRelease({
    ...options,
    name,
    version,
    releases,
    mirror,
    signal,
    heartbeat,
  });
  const metadata = await readMetadata(mirror, commit);
  return {
    title: `${name} ${version}`,
    name,
    version,
    tag: version,
    mirror: mirror.id,
    commit,
    repo: `pypi/${name}`,
    baseVersion: version,
    published,
    license: await licenseOfRelease(mirror, commit, metadata.license),
    provenance: { package: name, version, sdist: sdist.filename, sdist_sha256: sdist.sha256 ?? '' },
  };
}

function newestWithin(
  { since, until }: MineLimits,
  releases: Parameters<typeof newestFirst>[0],
): string | null {
  const within = newestFirst(releases).find(
    ({ uploaded }) =>
      uploaded === null || ((until === null || uploaded < until) && (since === null || uploaded >= since)),
  );
  return within?.version ?? null;
}

async function openClone(
  options: SubjectOptions,
  { url = '', ...target }: MutationTarget,
  { heartbeat, signal }: MineContext,
): Promise<Subject> {
  const named = repositoryName(url);
  const { owner = named.owner, repository = named.name } = target;
  const mirrorId = `git__${instanceIds.commit(owner, repository, '').replace(/-$/, '')}`;
  heartbeat({ fetching: mirrorId });
  const beat = setInterval(() => heartbeat({ fetching: mirrorId }), 5_000);
  const { mirror, head } = await options.mirrors
    .fetch(mirrorId, url, { signal })
    .finally(() => clearInterval(beat));
  if (head === null) throw permanentFailure(FAILURE_TYPES.notFound, `${url} has no commit on its branch.`);
  const seconds = Number(await gitText(['show', '-s', '--format=%ct', head], { gitDir: mirror.gitDir }));
  const version = await versionAt(mirror, head);
  return {
    title: `${owner}/${repository}`,
    name: repository,
    version: head.slice(0, 12),
    tag: version.tag,
    mirror: mirror.id,
    commit: head,
    repo: `${owner}/${repository}`,
    baseVersion: version.base,
    published: isoTime(seconds * 1_000),
    license: await licenseOfTree(mirror, head),
    provenance: { commit: head },
  };
}

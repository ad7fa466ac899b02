import { compare, explain, valid } from '@renovatebot/pep440';
import type { IsoTime } from './types.ts';

/** A published release as far as ordering needs it. `uploaded` is null when the index tells no times. */
export interface ReleaseTime {
  readonly version: string;
  readonly uploaded: IsoTime | null;
}

/** True for a final release: neither alpha, beta, candidate nor dev. Post-releases count. */
export function isFinalRelease(version: string): boolean {
  const parts = explain(version);
  return parts !== null && !parts.is_prerelease && !parts.is_devrelease;
}

/** Newest first: by upload time where both are known, else by PEP 440; a fixed order in every case. */
export function newestFirst(releases: readonly ReleaseTime[]): readonly ReleaseTime[] {
  const timed = releases.every((release) => release.uploaded !== null);
  return [...releases].sort((a, b) => {
    const times = timed ? (b.uploaded ?? '').localeCompare(a.uploaded ?? '', 'en') : 0;
    return times === 0 ? compare(b.version, a.version) : times;
  });
}

const line = (version: string, depth: number): string => {
  const parts = explain(version);
  const numbers = [...(parts?.release ?? []), 0, 0].slice(0, depth);
  return `${parts?.epoch ?? 0}!${numbers.join('.')}`;
};

/**
 * Candidates for the predecessor of a release, best first: lower versions of the same minor line, nearest first; then of
 * the same major line; then all other lower ones. So 7.3.1 follows 7.3.0 even if 8.0.0 came out between them. A release
 * that was uploaded later than the given one (a backport) is left out where times are known.
 */
export function predecessorsOf(version: string, releases: readonly ReleaseTime[]): readonly ReleaseTime[] {
  const own = releases.find((release) => release.version === version);
  const lower = releases
    .filter((release) => valid(release.version) !== null && compare(release.version, version) < 0)
    .filter((release) => !own?.uploaded || !release.uploaded || release.uploaded <= own.uploaded)
    .sort((a, b) => compare(b.version, a.version));
  const closeness = (other: string): number =>
    line(other, 2) === line(version, 2) ? 0 : line(other, 1) === line(version, 1) ? 1 : 2;
  return [0, 1, 2].flatMap((rank) => lower.filter((release) => closeness(release.version) === rank));
}

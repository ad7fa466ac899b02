/** Where a campaign's candidates come from, as its input says it. Pure and small: part of the workflow bundle. */
import { isWholeNumber } from './numbers.ts';
import { isPackageName, normaliseName } from './packageName.ts';
import type { MutationKind } from './mutation.ts';

interface SourceLimits {
  /** Candidates taken from this source, newest first; rejected ones are not counted. */
  readonly maxCandidates?: number;
  /** Published instances of this source: the first so many, in source order, that validate. */
  readonly maxInstances?: number;
}

/** Where candidates come from. */
export type SourceSpec =
  | ({ readonly pypi: string } & SourceLimits)
  | ({ readonly git: string; readonly name?: string } & SourceLimits)
  | ({ readonly github: string } & SourceLimits)
  | ({
      /** A package (`parse`, `parse==1.20.2`), or a clone: a path or URL, which has a slash. */
      readonly mutate: string;
      /** `owner/name` of a clone. */
      readonly name?: string;
      readonly seed?: number;
      /** All when absent. */
      readonly kinds?: readonly MutationKind[];
    } & SourceLimits);

/** What `mutate` names. */
export interface MutationTarget {
  /** Normalised package name, or the clone's address. */
  readonly name: string;
  /** null: the newest. */
  readonly version: string | null;
  /** Of a clone; absent for a package of the index. */
  readonly url?: string;
  readonly owner?: string;
  readonly repository?: string;
}

const RELEASE = /^([^=\s]+)(?:==([A-Za-z0-9.!+_-]+))?$/;

/** Reads what `mutate` names; null when it is neither a package nor a clone. */
export function mutationTarget(mutate: string, name?: string): MutationTarget | null {
  if (mutate.includes('/')) {
    const [owner, repository] = name?.split('/') ?? [];
    const named = owner === undefined || repository === undefined ? {} : { owner, repository };
    return { name: mutate, version: null, url: mutate, ...named };
  }
  const [, package_ = '', version = null] = RELEASE.exec(mutate) ?? [];
  return isPackageName(package_) ? { name: normaliseName(package_), version } : null;
}

const BUGS_PER_INSTANCE = 5; // of bugs that tests may notice, more than one in three was published
const FEWEST_BUGS = 50;

/** Candidates taken of a package with bugs, which has thousands, where nobody says how many. */
export const bugsWanted = ({ maxCandidates, maxInstances }: SourceLimits): number =>
  maxCandidates ?? Math.max(FEWEST_BUGS, BUGS_PER_INSTANCE * (maxInstances ?? 0));

/** Short name of a source for people, e.g. `pypi:cachetools`. */
export function sourceLabel(source: SourceSpec): string {
  if ('pypi' in source) return `pypi:${source.pypi}`;
  if ('mutate' in source) return `mutate:${source.mutate}`;
  if ('github' in source) return `github:${source.github}`;
  return `git:${source.name ?? source.git}`;
}

/** What two spellings of one source have in common: both would mine the same instances. */
function sourceIdentity(source: SourceSpec): string {
  if ('pypi' in source) return `pypi:${normaliseName(source.pypi)}`;
  if ('github' in source) return `github:${source.github.toLowerCase()}`;
  if ('mutate' in source) return `mutate:${identityOfTarget(source.mutate)}`;
  return `git:${cloneIdentity(source.git)}`;
}

function identityOfTarget(mutate: string): string {
  const target = mutationTarget(mutate);
  return target === null || target.url !== undefined ? cloneIdentity(mutate) : target.name;
}

const cloneIdentity = (address: string): string => address.replace(/(\.git)?\/*$/, '');

const kindsOf = (source: SourceSpec): readonly string[] =>
  ['pypi', 'git', 'github', 'mutate'].filter((kind) => kind in source);

/** Why these sources cannot be mined together, or undefined: one sentence for a person. */
export function sourcesProblem(sources: readonly SourceSpec[]): string | undefined {
  if (!Array.isArray(sources) || sources.length === 0) return 'A campaign needs at least one source.';
  for (const source of sources) {
    if (kindsOf(source).length !== 1)
      return 'A source has exactly one of the keys pypi, git, github and mutate.';
    if ('pypi' in source && !isPackageName(source.pypi)) return `"${source.pypi}" is not a package name.`;
    if ('mutate' in source && mutationTarget(source.mutate) === null)
      return `"${source.mutate}" is neither a package (name, or name==version) nor a path or URL of a clone.`;
    for (const cap of [source.maxCandidates, source.maxInstances])
      if (cap !== undefined && !isWholeNumber(cap, 1, 1e9))
        return `A cap of ${sourceLabel(source)} is not a positive whole number.`;
  }
  const identities = sources.map(sourceIdentity);
  const twice = sources.find((_, index) => identities.indexOf(identities[index] ?? '') !== index);
  if (twice !== undefined) return `The source ${sourceLabel(twice)} is named twice.`;
  return undefined;
}

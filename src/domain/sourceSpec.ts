/** Where a campaign's candidates come from, as its input says it. Pure and small: part of the workflow bundle. */
import { isWholeNumber } from './numbers.ts';
import { isPackageName, normaliseName } from './packageName.ts';

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
  | ({ readonly github: string } & SourceLimits);

/** Short name of a source for people, e.g. `pypi:cachetools`. */
export function sourceLabel(source: SourceSpec): string {
  if ('pypi' in source) return `pypi:${source.pypi}`;
  if ('github' in source) return `github:${source.github}`;
  return `git:${source.name ?? source.git}`;
}

/** What two spellings of one source have in common: both would mine the same instances. */
function sourceIdentity(source: SourceSpec): string {
  if ('pypi' in source) return `pypi:${normaliseName(source.pypi)}`;
  if ('github' in source) return `github:${source.github.toLowerCase()}`;
  return `git:${source.git.replace(/(\.git)?\/*$/, '')}`;
}

const kindsOf = (source: SourceSpec): readonly string[] =>
  ['pypi', 'git', 'github'].filter((kind) => kind in source);

/** Why these sources cannot be mined together, or undefined: one sentence for a person. */
export function sourcesProblem(sources: readonly SourceSpec[]): string | undefined {
  if (!Array.isArray(sources) || sources.length === 0) return 'A campaign needs at least one source.';
  for (const source of sources) {
    if (kindsOf(source).length !== 1) return 'A source has exactly one of the keys pypi, git and github.';
    if ('pypi' in source && !isPackageName(source.pypi)) return `"${source.pypi}" is not a package name.`;
    for (const cap of [source.maxCandidates, source.maxInstances])
      if (cap !== undefined && !isWholeNumber(cap, 1, 1e9))
        return `A cap of ${sourceLabel(source)} is not a positive whole number.`;
  }
  const identities = sources.map(sourceIdentity);
  const twice = sources.find((_, index) => identities.indexOf(identities[index] ?? '') !== index);
  if (twice !== undefined) return `The source ${sourceLabel(twice)} is named twice.`;
  return undefined;
}

import type { Logger } from 'pino';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { MUTATION_KINDS } from '../domain/mutation.ts';
import { bugsWanted, mutationTarget, sourceLabel } from '../domain/sourceSpec.ts';
import type { SourceSpec } from '../domain/sourceSpec.ts';
import { createGitSource } from '../sources/git.ts';
import { createGithubSource } from '../sources/github.ts';
import type { SourceMirrorStore } from '../sources/mirror.ts';
import { createMutateSource } from '../sources/mutate.ts';
import type { Mutator } from '../sources/mutate.ts';
import { createPypiSource } from '../sources/pypi.ts';
import type { CandidateSource, MineLimits } from '../sources/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import { noIndexSentence } from './installer.ts';
import type { Installer } from './installer.ts';
import type { Settings } from './settings.ts';

interface SourceDeps {
  readonly settings: Settings;
  readonly installer: Installer;
  readonly store: ArtefactStore;
  readonly mirrors: SourceMirrorStore;
  readonly log: Logger;
  readonly mutate: Mutator;
}

/** Sources are kept open by what makes them, so that pages of one source share one index and one token pool. */
export function sourceOpener(deps: SourceDeps): (source: SourceSpec, limits: MineLimits) => CandidateSource {
  const open = new Map<string, CandidateSource>();
  return (source, limits) => {
    const key = JSON.stringify([source, limits]);
    const known = open.get(key) ?? openSource(deps, source, limits);
    open.set(key, known);
    return known;
  };
}

function openSource(deps: SourceDeps, source: SourceSpec, limits: MineLimits): CandidateSource {
  const { settings, installer, store, mirrors } = deps;
  const log = deps.log.child({ source: sourceLabel(source) });
  const common = { store, mirrors, limits, log };
  if ('pypi' in source) {
    const indexUrls = indexesOf(installer);
    return createPypiSource({ ...common, name: source.pypi, indexUrls, cacheDir: settings.cacheDir });
  }
  if ('mutate' in source) {
    const target = mutationTarget(source.mutate, source.name);
    if (target === null)
      throw permanentFailure(FAILURE_TYPES.badInput, `"${source.mutate}" is neither a package nor a clone.`);
    return createMutateSource({
      ...common,
      target,
      seed: source.seed ?? 0,
      kinds: source.kinds ?? MUTATION_KINDS,
      indexUrls: target.url === undefined ? indexesOf(installer) : [],
      cacheDir: settings.cacheDir,
      limits: { ...limits, maxCandidates: bugsWanted(source) },
      mutate: deps.mutate,
    });
  }
  if ('github' in source) {
    const { tokens, apiUrl } = settings.github;
    return createGithubSource({
      ...common,
      repo: source.github,
      tokens: tokens.map((token) => token.reveal()),
      ...(apiUrl === null ? {} : { baseUrl: apiUrl }),
    });
  }
  const [owner, name] = source.name?.split('/') ?? [];
  return createGitSource({
    ...common,
    url: source.git,
    ...(owner === undefined || name === undefined ? {} : { owner, name }),
  });
}

function indexesOf(installer: Installer): readonly string[] {
  if (installer.indexUrl === null) throw permanentFailure(FAILURE_TYPES.badInput, noIndexSentence);
  return [installer.indexUrl, ...installer.extraIndexUrls];
}

/**
 * What is the same for every run of a row: read from the mirror once, then kept. Commits never change, so neither does what
 * is read from them; git would be started eight times for it.
 */
import { promisify } from 'node:util';
import { deserialize, serialize } from 'node:v8';
import { gunzip, gzip } from 'node:zlib';
import type { Logger } from 'pino';
import { hashOf } from '../../domain/canonical.ts';
import { infraFailure } from '../../domain/failures.ts';
import type { RunPlan } from '../../domain/runs.ts';
import type { Candidate, EnvironmentSpec } from '../../domain/types.ts';
import type { Mirror, MirrorStore, TreeEntry } from '../../sources/types.ts';
import type { HostCache } from '../../store/hostCache.ts';
import type { ArtefactStore } from '../../store/types.ts';
import { createMemo } from './memo.ts';
import { PACKAGING_FILES } from './packaging.ts';
import { RUNNER_CONFIG_FILES } from './runnerConfig.ts';
import { changeBetween } from './workspaceChange.ts';
import type { TreeChange } from './workspaceChange.ts';

/** What a commit pair says; without the mirror and what artefacts hold. */
interface ReadFacts {
  readonly treeOid: string;
  readonly baseTree: readonly TreeEntry[];
  readonly tree: readonly TreeEntry[];
  readonly configTexts: ReadonlyMap<string, string>;
  readonly packagingTexts: ReadonlyMap<string, string>;
  /** What the row's test patch changes. */
  readonly tests: TreeChange;
}

export interface PinnedFacts extends ReadFacts {
  readonly candidate: Candidate;
  readonly spec: EnvironmentSpec;
  readonly mirror: Mirror;
  /** The row pins tests, conftest and runner configuration: they are those of this commit. */
  readonly pinnedCommit: string;
}

/** Facts of a plan's row. Touches the mirror, the artefact store and the cache only. Throws Infra when an object is missing. */
export type PinnedFactsOf = (
  plan: Pick<RunPlan, 'candidate' | 'spec' | 'withTestPatch'>,
) => Promise<PinnedFacts>;

/** Rises when what is read, or its form, changes. */
const FACTS_RULES = 1;
const KNOWN_ROWS = 64; // trees of so many rows stay in memory: a few MB

export const NO_CHANGE: TreeChange = { files: [], deleted: [] };

export function createPinnedFacts(deps: {
  readonly store: ArtefactStore;
  readonly mirrors: MirrorStore;
  readonly cache: HostCache;
  readonly log: Logger;
}): PinnedFactsOf {
  const factsOf: PinnedFactsOf = async (plan) => {
    const [candidate, spec] = await Promise.all([
      deps.store.getJson<Candidate>(plan.candidate),
      deps.store.getJson<EnvironmentSpec>(plan.spec),
    ]);
    const mirror = await deps.mirrors.open(candidate.mirror);
    const { baseCommit, testCommit } = candidate;
    const pinnedCommit = plan.withTestPatch ? testCommit : baseCommit;
    const read = { rules: FACTS_RULES, config: RUNNER_CONFIG_FILES, packaging: PACKAGING_FILES };
    const key = `facts-${hashOf({ ...read, baseCommit, pinnedCommit })}`;
    const cached = await deps.cache.get(key);
    const kept = cached === null ? null : await unpack(cached.bytes).catch(() => null); // another Node's form
    const facts = kept ?? (await readFacts(mirror, baseCommit, pinnedCommit));
    if (kept === null)
      await deps.cache
        .put(key, await pack(facts))
        .catch((error: unknown) =>
          deps.log.warn({ err: error }, 'what a row pins could not be kept; the next run reads it again'),
        );
    return { ...facts, candidate, spec, mirror, pinnedCommit };
  };
  const memo = createMemo(KNOWN_ROWS, factsOf);
  return (plan) => memo(`${plan.candidate} ${plan.spec} ${plan.withTestPatch}`, plan);
}

async function readFacts(mirror: Mirror, baseCommit: string, pinnedCommit: string): Promise<ReadFacts> {
  const [treeOid, baseTree, tree, configTexts, packagingTexts, tests] = await Promise.all([
    mirror.treeOid(baseCommit),
    mirror.listTree(baseCommit),
    mirror.listTree(pinnedCommit),
    readTexts(mirror, pinnedCommit, RUNNER_CONFIG_FILES),
    readTexts(mirror, baseCommit, PACKAGING_FILES),
    pinnedCommit === baseCommit ? NO_CHANGE : changeBetween(mirror, baseCommit, pinnedCommit),
  ]);
  assertRead(mirror, tree, RUNNER_CONFIG_FILES, configTexts);
  assertRead(mirror, baseTree, PACKAGING_FILES, packagingTexts);
  return { treeOid, baseTree, tree, configTexts, packagingTexts, tests };
}

/** A file that the tree names and git cannot give is damage; kept as "not there" it would never be noticed again. */
function assertRead(
  mirror: Mirror,
  tree: readonly TreeEntry[],
  paths: readonly string[],
  texts: ReadonlyMap<string, string>,
): void {
  const lost = tree.find(
    ({ path, mode }) => paths.includes(path) && !texts.has(path) && mode.startsWith('100'),
  );
  if (lost !== undefined)
    throw infraFailure(`The mirror ${mirror.gitDir} lacks ${lost.oid}, the content of ${lost.path}.`);
}

async function readTexts(
  mirror: Mirror,
  commit: string,
  paths: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const files = await mirror.readFiles(commit, paths);
  return new Map([...files].map(([path, content]) => [path, content.toString('utf8')]));
}

const pack = async (facts: ReadFacts): Promise<Buffer> => promisify(gzip)(serialize(facts));
const unpack = async (bytes: Buffer): Promise<ReadFacts> =>
  deserialize(await promisify(gunzip)(bytes)) as ReadFacts;

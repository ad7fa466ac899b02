import { isArchive } from '../../domain/types.ts';
import type { Candidate, EnvironmentKey, Rejection } from '../../domain/types.ts';
import { infraFailure } from '../../domain/failures.ts';
import type { ArtefactStore, RecordStore } from '../../store/types.ts';
import type { MirrorStore } from '../../sources/types.ts';
import { detectProject } from './detect.ts';
import { environmentRecordName } from './realise.ts';
import type { EnvironmentRecord } from './realise.ts';
import { normaliseName } from '../../domain/packageName.ts';

/** What an environment holds, made once when it is realised. */
export interface EnvironmentIndex {
  /** Path, bytes and git blob id of each Python file. */
  readonly files: readonly (readonly [path: string, bytes: number, oid: string])[];
  /** Names at the top of site-packages. */
  readonly top: readonly string[];
}

export interface LeakQuestion {
  /** Distribution name; null when unknown. */
  readonly name: string | null;
  /** `cachetools`, or `jaraco/functools` inside a namespace package. */
  readonly importRoots: readonly string[];
  /** Blob ids of the files as gold leaves them; an abbreviated id matches by its beginning. */
  readonly goldOids: readonly string[];
}

export interface Leak {
  readonly path: string;
  readonly kind: 'distribution' | 'package' | 'vendored' | 'gold_file';
}

/** Smaller files (an empty `__init__.py`, one import) are equal by chance. */
const MIN_TELLING_BYTES = 64;

/**
 * Finds the project, a vendored copy of it, or files of the fix in an environment (DESIGN section 4). Pure; the first
 * leak in the order of the kinds, else null.
 */
export function findLeak(index: EnvironmentIndex, question: LeakQuestion): Leak | null {
  const { importRoots, goldOids } = question;
  const name = question.name === null ? null : normaliseName(question.name);
  const own = index.top.find((entry) => {
    const distribution = /^(.+?)-[^-]+\.(?:dist-info|egg-info)$/.exec(entry)?.[1];
    return distribution !== undefined && normaliseName(distribution) === name;
  });
  if (own !== undefined) return { path: own, kind: 'distribution' };
  const roots = importRoots.flatMap((root) => [`${root}/`, `${root}.py`]);
  const topLevel = index.files.find(([path]) => roots.some((root) => beginsOrIs(path, root)));
  if (topLevel !== undefined) return { path: topLevel[0], kind: 'package' };
  const vendored = index.files.find(([path]) => isVendored(path, roots));
  if (vendored !== undefined) return { path: vendored[0], kind: 'vendored' };
  const gold = index.files.find(
    ([, bytes, oid]) => bytes >= MIN_TELLING_BYTES && goldOids.some((wanted) => oid.startsWith(wanted)),
  );
  return gold === undefined ? null : { path: gold[0], kind: 'gold_file' };
}

const beginsOrIs = (path: string, root: string): boolean =>
  root.endsWith('/') ? path.startsWith(root) : path === root;

/** `setuptools/_vendor/more_itertools/more.py` carries `more_itertools`. */
export function isVendored(path: string, roots: readonly string[]): boolean {
  const match =
    /^(?:.*\/)?(?:_?vendor(?:ed|s)?|_?vendored_packages|extern(?:al)?s?|third_?party|packages)\/(.+)$/.exec(
      path,
    );
  const inner = match?.[1];
  return inner !== undefined && roots.some((root) => beginsOrIs(inner, root));
}

/** Blob ids after the change, from the `index old..new` lines of a git diff. */
export function postImageOids(patch: string): readonly string[] {
  const found = new Set<string>();
  for (const match of patch.matchAll(/^index [0-9a-f]{7,64}\.\.([0-9a-f]{7,64})(?: \d+)?$/gm)) {
    const oid = match[1] ?? '';
    if (!/^0+$/.test(oid)) found.add(oid);
  }
  return [...found];
}

export interface LeakDeps {
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  readonly mirrors: MirrorStore;
}

/**
 * Scans a realised environment for the candidate's project and fix. Cheap: reads the environment's index, no container.
 * Call it after `realise` answered ok for the key; throws Infra when the environment was never realised here.
 */
export async function checkLeaks(
  deps: LeakDeps,
  candidate: Candidate,
  key: EnvironmentKey,
): Promise<Rejection | null> {
  const record = await deps.records.read<EnvironmentRecord>(environmentRecordName(key));
  if (record === null)
    throw infraFailure(`Environment ${key} has no index yet: realise it before the leak scan.`);
  const [index, patch, mirror] = await Promise.all([
    deps.store.getJson<EnvironmentIndex>(record.index),
    deps.store.get(candidate.patch),
    deps.mirrors.open(candidate.mirror),
  ]);
  const project = await detectProject(mirror, candidate);
  const leak = findLeak(index, {
    name: project?.name ?? distributionOf(candidate),
    importRoots: project?.importRoots ?? [],
    goldOids: postImageOids(patch.toString('latin1')),
  });
  if (leak === null) return null;
  return { reason: 'leak', detail: `The environment ${SENTENCES[leak.kind]}: ${leak.path}` };
}

const SENTENCES: Readonly<Record<Leak['kind'], string>> = {
  distribution: 'holds the project itself',
  package: "holds a package of the project's own name",
  vendored: 'holds a package that carries a copy of the project',
  gold_file: 'holds a file that is equal to one of the fix',
};

/** Distribution name of a release candidate. */
export const distributionOf = (
  candidate: Pick<Candidate, 'repo' | 'source' | 'provenance'>,
): string | null => (isArchive(candidate) ? candidate.repo.replace(/^pypi\//, '') : null);

/** What a run needs before a container exists, worked out on the host: trees, changes, configuration, canaries. */
import { readFile } from 'node:fs/promises';
import { plantCanaries } from '../../domain/canaryPlanting.ts';
import { infraFailure } from '../../domain/failures.ts';
import { isProtected, isTestModule } from '../../domain/split.ts';
import type { Candidate, EnvironmentSpec } from '../../domain/types.ts';
import type { PlantedCanary, RunPlan } from '../../domain/runs.ts';
import type { Mirror } from '../../sources/types.ts';
import { SANDBOX_PATHS } from '../../sandbox/types.ts';
import type { ArtefactStore } from '../../store/types.ts';
import { patternsIn } from '../../sources/pythonFiles.ts';
import { PACKAGING_FILES, touchesPackaging } from './packaging.ts';
import { NO_CHANGE } from './pinnedFacts.ts';
import type { PinnedFacts } from './pinnedFacts.ts';
import type { RunnerConfig } from './runnerConfig.ts';
import { pinRunnerConfig, RUNNER_CONFIG_FILES, settleConfig } from './runnerConfig.ts';
import type { ChangedFile, PatchResult, TreeChange } from './workspaceChange.ts';
import { applyPatch } from './workspaceChange.ts';

export interface Workspace {
  readonly candidate: Candidate;
  readonly spec: EnvironmentSpec;
  readonly mirror: Mirror;
  readonly treeOid: string;
  /** `160000 <oid>\t<path>` of the base's submodules. */
  readonly submodules: readonly string[];
  readonly config: RunnerConfig;
  readonly isProtected: (path: string) => boolean;
  /** What the candidate patch makes of the sources, protected paths taken out; null without a patch. */
  readonly patch: PatchResult | null;
  /** True when the patch must be installed anew, apart from the tests. */
  readonly rebuild: boolean;
  /** What is put over the installed base before the tests: patch, test files with their canaries. */
  readonly overlay: TreeChange;
  readonly planted: readonly PlantedCanary[];
  /** Python files of the tree as the tests see it. */
  readonly pythonFiles: readonly string[];
  /** Test modules of the tree by name, for projects whose tests the runner's discovery does not find. */
  readonly testModules: readonly string[];
}

/**
 * Computes a plan's workspace from what its row pins, its patch and its canaries. Nothing is executed.
 * Throws Infra when an object is missing.
 */
export async function prepareWorkspace(
  store: ArtefactStore,
  plan: RunPlan,
  pinned: PinnedFacts,
): Promise<Workspace> {
  const { candidate, spec, mirror, treeOid, tree, configTexts } = pinned;
  const split = { pythonFiles: pythonFilesOf(configTexts) };
  const protects = (path: string): boolean => isProtected(path, split);
  const [patch, planted] = await Promise.all([
    patchOf(store, pinned, plan, protects),
    plan.canaries === null ? [] : store.getJson<readonly PlantedCanary[]>(plan.canaries),
  ]);
  const sources = patch?.ok === true ? patch.change : NO_CHANGE;
  const overlay = await withCanaries(pinned, combine(sources, pinned.tests), planted);
  const config = pinRunnerConfig(configTexts);
  const paths = tree.map((entry) => entry.path);
  return {
    candidate,
    spec,
    mirror,
    treeOid,
    submodules: pinned.baseTree
      .filter(({ mode }) => mode === '160000')
      .map(({ oid, path }) => `160000 ${oid}\t${path}`),
    config: plan.leftOut === undefined ? config : settleConfig(config, plan.leftOut),
    isProtected: protects,
    patch,
    rebuild: patch?.ok === true && needsInstall(pinned.packagingTexts, sources),
    overlay,
    planted,
    pythonFiles: [...paths, ...overlay.files.map(({ path }) => path)].filter((path) => path.endsWith('.py')),
    testModules: paths.filter((path) => isTestModule(path, split)).sort(),
  };
}

/** The script that makes canary pools, and its modules; it runs inside the sandbox. */
export const canaryScript = async (): Promise<{ readonly path: string; readonly content: Buffer }[]> =>
  Promise.all(
    ['canaries.py', 'expectations.py', 'literals.py', 'spans.py'].map(async (name) => ({
      path: `${SANDBOX_PATHS.runner}/${name}`,
      content: await readFile(new URL(name, import.meta.url)),
    })),
  );

/** The project's own patterns of test modules, where it sets them. */
function pythonFilesOf(configTexts: ReadonlyMap<string, string>): readonly string[] | null {
  for (const name of RUNNER_CONFIG_FILES) {
    const text = configTexts.get(name);
    const patterns = text === undefined ? null : patternsIn(name, text);
    if (patterns !== null) return patterns.length > 0 ? patterns : null;
  }
  return null;
}

async function patchOf(
  store: ArtefactStore,
  { mirror, candidate, baseTree }: PinnedFacts,
  plan: RunPlan,
  protects: (path: string) => boolean,
): Promise<PatchResult | null> {
  if (plan.patch === null) return null;
  const patch = await store.get(plan.patch);
  const basePaths = baseTree.map(({ path }) => path);
  return applyPatch({ mirror, baseCommit: candidate.baseCommit, basePaths, patch, isProtected: protects });
}

/** Test files win: what the row pins is the same in every run. */
function combine(sources: TreeChange, tests: TreeChange): TreeChange {
  const pinned = new Set([...tests.files.map(({ path }) => path), ...tests.deleted]);
  return {
    files: [...sources.files.filter(({ path }) => !pinned.has(path)), ...tests.files],
    deleted: [...sources.deleted.filter((path) => !pinned.has(path)), ...tests.deleted],
  };
}

/** Rewrites the files that carry canaries, from the pinned commit's text. */
async function withCanaries(
  { mirror, pinnedCommit }: PinnedFacts,
  change: TreeChange,
  planted: readonly PlantedCanary[],
): Promise<TreeChange> {
  if (planted.length === 0) return change;
  const carriers = [...new Set(planted.map(({ canary }) => canary.file))];
  const pristine = await mirror.readFiles(pinnedCommit, carriers);
  const rewritten = carriers.map((path): ChangedFile => {
    const text = pristine.get(path)?.toString('utf8');
    if (text === undefined)
      throw infraFailure(`The mirror lacks ${path} of ${pinnedCommit}, which bears canaries.`);
    const mode = change.files.find((file) => file.path === path)?.mode ?? '100644';
    return { path, mode, content: Buffer.from(plantCanaries(text, path, planted)) };
  });
  const done = new Set(rewritten.map(({ path }) => path));
  return { ...change, files: [...change.files.filter(({ path }) => !done.has(path)), ...rewritten] };
}

function needsInstall(texts: ReadonlyMap<string, string>, sources: TreeChange): boolean {
  const changed = [
    ...sources.files.map(({ path, content }) => ({
      path,
      before: texts.get(path) ?? null,
      after: PACKAGING_FILES.includes(path) ? content.toString('utf8') : null,
    })),
    ...sources.deleted.map((path) => ({ path, before: texts.get(path) ?? null, after: null })),
  ];
  return touchesPackaging(changed);
}

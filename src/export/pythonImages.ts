import type { ArtefactRef, Candidate, InstanceRow } from '../domain/types.ts';
import type { RunPlan } from '../domain/runs.ts';
import { infraFailure } from '../domain/failures.ts';
import { installOutcome, placeBase } from '../ecosystems/python/install.ts';
import { environmentSubpath } from '../ecosystems/python/run.ts';
import { configFile } from '../ecosystems/python/runTests.ts';
import { installScript, runnerCommand, TEST_ENVIRONMENT } from '../ecosystems/python/runScripts.ts';
import { mayTouchPackaging } from '../ecosystems/python/packaging.ts';
import { createStopwatch } from '../ecosystems/python/stopwatch.ts';
import { optionsLeftOut, withoutOptions } from '../ecosystems/python/runnerConfig.ts';
import type { PinnedFactsOf } from '../ecosystems/python/pinnedFacts.ts';
import { prepareWorkspace, type Workspace } from '../ecosystems/python/workspace.ts';
import type { Ecosystem, WorkContext } from '../ecosystems/types.ts';
import type { Sandbox } from '../sandbox/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { RunnerInvocation } from './evalScript.ts';
import { patchedPaths } from './patchedPaths.ts';
import type { ImageDependencies } from './images.ts';

interface Dependencies {
  readonly store: ArtefactStore;
  readonly pinned: PinnedFactsOf;
}

/** How our own runs of a row start its tests; `goldNote` is the note of a gold run, which tells what was mended. */
export async function pythonRunner(
  deps: Dependencies,
  row: InstanceRow,
  goldNote: string,
): Promise<RunnerInvocation> {
  const candidate = await deps.store.getJson<Candidate>(row.candidate);
  const workspace = await workspaceOf(deps, row, mayNeedInstall(row.patch) ? candidate.patch : null);
  const config = withoutOptions(workspace.config, optionsLeftOut(goldNote)) ?? workspace.config;
  // a fix of compiled sources or of packaging means nothing before it is installed
  const install = workspace.rebuild ? installScript(workspace.spec.install, candidate.baseVersion) : null;
  return { command: runnerCommand(config, []), env: TEST_ENVIRONMENT, files: [configFile(config)], install };
}

/** Whether git has to apply a fix to tell if it must be installed: yes, too, for a diff in a form that is not ours. */
export function mayNeedInstall(patch: string): boolean {
  const { changed, added } = patchedPaths(patch);
  const paths = [...changed, ...added];
  const lines = (pattern: RegExp): number => patch.match(pattern)?.length ?? 0;
  const ours =
    paths.length > 0 &&
    paths.length === lines(/^diff --git /gm) &&
    paths.length >= lines(/^--- /gm) &&
    lines(/^(?:rename|copy) from /gm) === 0;
  return !ours || paths.some(mayTouchPackaging);
}

/** The Python parts of an exported image: the environment's directory, and the base tree as a run installs it. */
export function pythonImageParts(
  deps: Dependencies & { readonly ecosystem: Pick<Ecosystem, 'realise'>; readonly context: WorkContext },
): Pick<ImageDependencies, 'environmentSubpath' | 'prepareWorkspace'> {
  return {
    environmentSubpath: async (row) => {
      const { spec } = await workspaceOf(deps, row, null);
      const outcome = await deps.ecosystem.realise(spec, row.environment.variant, deps.context);
      if (!outcome.ok)
        throw infraFailure(`The environment cannot be made again: ${outcome.rejection.detail}`);
      return environmentSubpath(row.environment.key, row.environment.variant);
    },
    prepareWorkspace: async (sandbox: Sandbox, row) => {
      const workspace = await workspaceOf(deps, row, null);
      const { failed } = await placeBase(sandbox, workspace, null, deps.context, createStopwatch());
      if (failed !== null) throw infraFailure(installOutcome(failed, false).note);
    },
  };
}

const workspaceOf = async (
  deps: Dependencies,
  row: InstanceRow,
  patch: ArtefactRef | null,
): Promise<Workspace> => {
  const plan: RunPlan = {
    kind: 'evaluate',
    candidate: row.candidate,
    environment: row.environment.key,
    spec: row.environment_spec,
    variant: row.environment.variant,
    withTestPatch: true,
    patch,
    scope: row.test_scope,
    limits: row.limits,
    makeCanaryPoolOf: null,
    canaries: null,
  };
  return prepareWorkspace(deps.store, plan, await deps.pinned(plan));
};

import type { ArtefactRef, Candidate, InstanceRow } from '../domain/types.ts';
import type { RunPlan } from '../domain/runs.ts';
import { infraFailure } from '../domain/failures.ts';
import { installOutcome, placeBase } from '../ecosystems/python/install.ts';
import { environmentSubpath } from '../ecosystems/python/run.ts';
import { configFile } from '../ecosystems/python/runTests.ts';
import { installScript, runnerCommand, TEST_ENVIRONMENT } from '../ecosystems/python/runScripts.ts';
import { createStopwatch } from '../ecosystems/python/stopwatch.ts';
import { optionsLeftOut, withoutOptions } from '../ecosystems/python/runnerConfig.ts';
import { prepareWorkspace, type Workspace } from '../ecosystems/python/workspace.ts';
import type { Ecosystem, WorkContext } from '../ecosystems/types.ts';
import type { Sandbox } from '../sandbox/types.ts';
import type { MirrorStore } from '../sources/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { RunnerInvocation } from './evalScript.ts';
import type { ImageDependencies } from './images.ts';

interface Dependencies {
  readonly store: ArtefactStore;
  readonly mirrors: MirrorStore;
}

/** How our own runs of a row start its tests; `goldNote` is the note of a gold run, which tells what was mended. */
export async function pythonRunner(
  deps: Dependencies,
  row: InstanceRow,
  goldNote: string,
): Promise<RunnerInvocation> {
  const candidate = await deps.store.getJson<Candidate>(row.candidate);
  const workspace = await workspaceOf(deps, row, candidate.patch);
  const config = withoutOptions(workspace.config, optionsLeftOut(goldNote)) ?? workspace.config;
  // a fix of compiled sources or of packaging means nothing before it is installed
  const install = workspace.rebuild ? installScript(workspace.spec.install, candidate.baseVersion) : null;
  return { command: runnerCommand(config, []), env: TEST_ENVIRONMENT, files: [configFile(config)], install };
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

const workspaceOf = (deps: Dependencies, row: InstanceRow, patch: ArtefactRef | null): Promise<Workspace> => {
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
  return prepareWorkspace({ store: deps.store, openMirror: (id) => deps.mirrors.open(id) }, plan);
};

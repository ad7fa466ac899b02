/**
 * One run of tests in a fresh container, in the order of DESIGN section 6: base tree, offline install, the row's test files
 * and configuration, the candidate patch without protected paths, canaries, tests, parse. The invariant: what the candidate
 * did is a result, whatever it did; only infrastructure throws.
 */
import { compare, parse as parseVersion } from '@renovatebot/pep440';
import type { Logger } from 'pino';
import { cutText, infraFailure } from '../../domain/failures.ts';
import type { EnvironmentVariant } from '../../domain/types.ts';
import type { RunOutcome, RunPlan, RunRecord } from '../../domain/runs.ts';
import { SANDBOX_PATHS, SANDBOX_USERS } from '../../sandbox/types.ts';
import type { BaseImages, Sandbox, SandboxDriver } from '../../sandbox/types.ts';
import type { ArtefactStore } from '../../store/types.ts';
import type { WorkContext } from '../types.ts';
import { createStopwatch } from './stopwatch.ts';
import type { Stopwatch } from './stopwatch.ts';
import { savedLog } from './regrade.ts';
import { installOutcome, placeBase, rebuildApart } from './install.ts';
import type { InstallFailure, PlacedBase } from './install.ts';
import type { PinnedFacts, PinnedFactsOf } from './pinnedFacts.ts';
import { workspaceKey } from './preparedWorkspaces.ts';
import type { PreparedWorkspaces } from './preparedWorkspaces.ts';
import { deletionsFile, poolScript } from './runScripts.ts';
import { configFile, runTests, silentFiles } from './runTests.ts';
import type { TestsResult } from './runTests.ts';
import { changeTar, joinTars } from './trees.ts';
import { canaryScript, prepareWorkspace } from './workspace.ts';
import type { Workspace } from './workspace.ts';

export interface PythonRunnerDeps {
  readonly driver: SandboxDriver;
  readonly baseImages: BaseImages;
  readonly store: ArtefactStore;
  readonly workspaces: PreparedWorkspaces;
  readonly pinned: PinnedFactsOf;
  readonly log: Logger;
}

const HEARTBEAT_MS = 5_000;
const POOL_TIMEOUT_MS = 60_000;

/** Directory of an environment in the package store, relative to the volume's root. */
export const environmentSubpath = (key: string, variant: EnvironmentVariant): string =>
  variant === 'full' ? `envs-full/${key}` : `envs/${key}`;

/** Makes the `run` of the Python ecosystem. Safe to repeat: containers of an earlier attempt are removed first. */
export function createPythonRunner(
  deps: PythonRunnerDeps,
): (plan: RunPlan, context: WorkContext) => Promise<RunRecord> {
  return async (plan, context) => {
    const clock = createStopwatch();
    const beat = setInterval(
      () => context.heartbeat({ kind: plan.kind, phase: clock.phase() }),
      HEARTBEAT_MS,
    );
    let starting: Promise<Sandbox> | null = null;
    try {
      const known = await deps.pinned(plan);
      const containers = await containersFor(deps, plan, known, context);
      starting = containers.create(); // a daemon starts it while git applies the patch
      starting.catch(() => undefined);
      const workspace = await prepareWorkspace(deps.store, plan, known);
      clock.lap('patchMs');
      if (workspace.patch?.ok === false) {
        return recordOf(plan, clock, { outcome: workspace.patch.outcome, notes: [workspace.patch.note] });
      }
      const sandbox = await starting;
      clock.lap('startMs');
      return await runInContainer({ deps, plan, workspace, context, clock, containers, sandbox });
    } finally {
      clearInterval(beat);
      await starting?.then(
        async (sandbox) => sandbox.discard(),
        () => undefined,
      );
    }
  };
}

/** Fresh containers for a plan, and the image that they are made from. */
interface Containers {
  readonly image: string;
  readonly create: () => Promise<Sandbox>;
}

async function containersFor(
  { baseImages, driver }: PythonRunnerDeps,
  plan: RunPlan,
  { spec }: PinnedFacts,
  context: WorkContext,
): Promise<Containers> {
  const image = await baseImages.ensure(spec.base, spec.runtimeVersion, spec.systemPackages);
  const create = async (): Promise<Sandbox> =>
    driver.create({
      image,
      owner: context.owner,
      network: 'none',
      limits: plan.limits,
      mounts: [
        {
          kind: 'store',
          subpath: environmentSubpath(plan.environment, plan.variant),
          target: SANDBOX_PATHS.environment,
          readOnly: true,
        },
      ],
    });
  return { image, create };
}

interface Run {
  readonly deps: PythonRunnerDeps;
  readonly plan: RunPlan;
  readonly workspace: Workspace;
  readonly context: WorkContext;
  readonly clock: Stopwatch;
  readonly containers: Containers;
  readonly sandbox: Sandbox;
}

async function runInContainer(run: Run): Promise<RunRecord> {
  const { deps, plan, workspace, context, clock, sandbox } = run;
  const placed = await placeWorkspace(run);
  if (placed.failed !== null)
    return installFailed(deps, plan, workspace, clock, placed.failed, workspace.rebuild);
  const pool =
    plan.makeCanaryPoolOf === null ? null : await makePool(sandbox, plan.makeCanaryPoolOf, context);
  clock.lap('patchMs');
  const tests = await runTests({
    sandbox,
    config: workspace.config,
    scope: plan.scope,
    fallbackScope: workspace.testModules,
    knownFiles: workspace.pythonFiles,
    planted: workspace.planted,
    limits: plan.limits,
    repeat: plan.repeat,
    signal: context.signal,
  });
  clock.lap('testsMs', tests.durationMs + (tests.repeated?.repeatedMs ?? 0)); // reading the results is ours, not theirs
  const notes = [
    ...tests.notes,
    ...notesOf(plan, workspace, tests),
    ...versionNotes(workspace, placed.versions),
  ];
  const peakMemoryBytes = await sandbox.peakMemoryBytes();
  const canaryPool = pool === null ? null : await deps.store.putJson(pool);
  clock.lap('teardownMs');
  return await recordWithArtefacts(deps, plan, workspace, clock, {
    ...tests,
    tests,
    notes,
    peakMemoryBytes,
    canaryPool,
  });
}

/** The prepared workspace with the row's files over it: in one call where it is kept, else made, proven and kept first. */
async function placeWorkspace(run: Run): Promise<PlacedBase> {
  const { deps, plan, workspace, context, clock, containers, sandbox } = run;
  const key = workspaceKey(plan, workspace, containers.image);
  const [kept, overlay] = await Promise.all([deps.workspaces.restore(key), overlayTar(workspace)]);
  if (kept !== null) {
    await sandbox.putTree(joinTars(kept.tar, overlay), '/');
    clock.lap('treeMs');
    return { failed: null, versions: kept.versions };
  }
  const rebuilt = workspace.rebuild ? await rebuildApart(containers.create, workspace, context, clock) : null;
  if (rebuilt?.failed !== undefined) return { failed: rebuilt.failed, versions: [] };
  const placed = await placeBase(sandbox, workspace, rebuilt, context, clock);
  if (placed.failed !== null) return placed;
  await deps.workspaces.keep(key, sandbox, placed.versions);
  clock.lap('installMs');
  await sandbox.putTree(overlay, '/');
  return placed;
}

interface Parts {
  readonly outcome: RunOutcome;
  readonly exitCode: number | null;
  readonly tests: TestsResult;
  readonly notes: readonly string[];
  readonly peakMemoryBytes: number | null;
  readonly canaryPool: RunRecord['canaryPool'];
}

/** The row's files over the installed base, and ours: configuration, deletions, the pool's script. */
async function overlayTar(workspace: Workspace): Promise<Buffer> {
  return changeTar(workspace.overlay, [
    configFile(workspace.config),
    deletionsFile(workspace.overlay),
    ...(await canaryScript()),
  ]);
}

/** The pool as the script printed it; empty when it failed: no canaries is a weaker run, not a broken one. */
async function makePool(
  sandbox: Sandbox,
  files: readonly string[],
  context: WorkContext,
): Promise<readonly unknown[] | null> {
  const { command, env, stdin } = poolScript(files);
  const result = await sandbox.exec(command, {
    user: SANDBOX_USERS.test,
    cwd: SANDBOX_PATHS.repo,
    env,
    timeoutMs: POOL_TIMEOUT_MS,
    signal: context.signal,
    ...(stdin === undefined ? {} : { stdin }),
  });
  try {
    const pool: unknown = JSON.parse(result.stdout.toString('utf8'));
    return Array.isArray(pool) ? pool : [];
  } catch {
    return [];
  }
}

function notesOf(plan: RunPlan, workspace: Workspace, tests: TestsResult): readonly string[] {
  const silent = plan.scope === null || tests.outcome !== 'completed' ? [] : silentFiles(plan.scope, tests);
  const { patch } = workspace;
  const nothingLeft = patch?.ok === true && patch.change.files.length + patch.change.deleted.length === 0;
  return [
    ...(silent.length > 0 ? [`Nothing ran in ${silent.slice(0, 5).join(', ')}`] : []),
    ...(nothingLeft ? ['The patch touches protected paths only: nothing was left of it'] : []),
  ];
}

/** The offline install must report the base's version, else what asks for it at run time is told something new. */
function versionNotes({ candidate }: Workspace, versions: readonly string[]): readonly string[] {
  const { baseVersion } = candidate;
  if (baseVersion === null || baseVersion === '' || versions.length === 0) return [];
  const same = (a: string, b: string): boolean =>
    parseVersion(a) && parseVersion(b) ? compare(a, b) === 0 : a === b;
  if (versions.some((version) => same(version, baseVersion))) return [];
  return [`The installed base reports version ${versions.join(', ')}, not ${baseVersion}`];
}

/** A base that does not install is a result of validation; in an evaluation, where it once did, it is infrastructure. */
async function installFailed(
  deps: PythonRunnerDeps,
  plan: RunPlan,
  workspace: Workspace,
  clock: Stopwatch,
  result: InstallFailure,
  withPatch: boolean,
): Promise<RunRecord> {
  const { note, outcome } = installOutcome(result, withPatch);
  if (plan.kind === 'evaluate' && !withPatch) {
    throw infraFailure(`${workspace.candidate.instanceId}: ${note}, though it did at validation.`);
  }
  const log = await deps.store.put(
    savedLog(result.output.toString('utf8'), { inferredFiles: [], droppedBytes: result.droppedBytes }),
  );
  return { ...recordOf(plan, clock, { outcome, notes: [note], workspace }), log };
}

async function recordWithArtefacts(
  deps: PythonRunnerDeps,
  plan: RunPlan,
  workspace: Workspace,
  clock: Stopwatch,
  parts: Parts,
): Promise<RunRecord> {
  const { tests } = parts;
  const { inferredFiles, droppedBytes } = tests;
  const [log, junit] = await Promise.all([
    deps.store.put(savedLog(tests.output.toString('utf8'), { inferredFiles, droppedBytes })),
    tests.junit === null ? null : deps.store.put(tests.junit),
  ]);
  const { outcome, exitCode, notes, peakMemoryBytes, canaryPool } = parts;
  deps.log.debug(
    { kind: plan.kind, instance: workspace.candidate.instanceId, outcome, exitCode },
    'run ended',
  );
  return {
    ...recordOf(plan, clock, { outcome, notes, workspace }),
    exitCode,
    tests: tests.tests,
    collectionErrors: tests.collectionErrors,
    log,
    junit,
    canaryPool,
    ...tests.repeated,
    peakMemoryBytes,
  };
}

function recordOf(
  plan: RunPlan,
  clock: Stopwatch,
  end: { readonly outcome: RunOutcome; readonly notes: readonly string[]; readonly workspace?: Workspace },
): RunRecord {
  const patch = end.workspace?.patch;
  return {
    schema: 1,
    kind: plan.kind,
    outcome: end.outcome,
    exitCode: null,
    tests: {},
    collectionErrors: [],
    log: null,
    junit: null,
    canaryPool: null,
    planted: plan.canaries,
    note: cutText(end.notes.join('. ')),
    droppedPaths: patch?.ok === true ? patch.droppedPaths : [],
    durations: clock.durations(),
    peakMemoryBytes: null,
  };
}

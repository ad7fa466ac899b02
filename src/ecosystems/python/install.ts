/** Base tree and offline install. What a patch may execute at install time happens apart from the tests. */
import type { RunOutcome } from '../../domain/runs.ts';
import { infraFailure } from '../../domain/failures.ts';
import { SANDBOX_PATHS, SANDBOX_USERS } from '../../sandbox/types.ts';
import type { ExecResult, Sandbox } from '../../sandbox/types.ts';
import type { WorkContext } from '../types.ts';
import {
  commitScript,
  deleteScript,
  deletionsFile,
  FALLBACK_MARK,
  installScript,
  VERSION_MARK,
} from './runScripts.ts';
import type { Stopwatch } from './stopwatch.ts';
import { builtTar, changeTar, repositoryTar } from './trees.ts';
import type { Workspace } from './workspace.ts';

const GIT_TIMEOUT_MS = 120_000;
const INSTALL_TIMEOUT_MS = 600_000; // compiled projects
const INSTALL_OUTPUT_BYTES = 1024 ** 2;

/** What is kept of an install that failed. */
export type InstallFailure = Pick<ExecResult, 'output' | 'droppedBytes' | 'timedOut' | 'outOfMemory'>;

/** What the base's install came to. */
export interface PlacedBase {
  readonly failed: InstallFailure | null;
  /** Versions that the installed project reports; empty when it was built apart or reports none. */
  readonly versions: readonly string[];
}

/** A build container whose tree and venv are moved into the test container, then removed. */
export interface Rebuilt {
  readonly sandbox: Sandbox;
  /** Set when the install failed; the container is gone then. */
  readonly failed?: InstallFailure;
}

/**
 * Puts the base tree into a fresh container, proves it, and installs it (or moves in what was built apart).
 * A failed install is part of the answer. Throws Infra when the tree is not the commit's.
 */
export async function placeBase(
  sandbox: Sandbox,
  workspace: Workspace,
  rebuilt: Rebuilt | null,
  context: WorkContext,
  clock: Stopwatch,
): Promise<PlacedBase> {
  try {
    await putBaseTree(sandbox, workspace);
    await commitTree(sandbox, workspace, context);
    clock.lap('treeMs');
    const placed =
      rebuilt === null
        ? await install(sandbox, workspace, context)
        : { failed: await moveBuilt(rebuilt.sandbox, sandbox, workspace), versions: [] };
    clock.lap('installMs');
    return placed;
  } finally {
    await rebuilt?.sandbox.destroy();
  }
}

/** Builds base + patch in a container of its own: code of the patch may run here, and only the trees leave it. */
export async function rebuildApart(
  create: () => Promise<Sandbox>,
  workspace: Workspace,
  context: WorkContext,
  clock: Stopwatch,
): Promise<Rebuilt> {
  const sandbox = await create();
  let keep = false;
  try {
    await putBaseTree(sandbox, workspace);
    const change = workspace.patch?.ok === true ? workspace.patch.change : { files: [], deleted: [] };
    await sandbox.putTree(await changeTar(change, [deletionsFile(change)]), '/');
    const removed = await sandbox.exec(deleteScript().command, {
      user: SANDBOX_USERS.test,
      cwd: SANDBOX_PATHS.repo,
      timeoutMs: GIT_TIMEOUT_MS,
      signal: context.signal,
    });
    const failed = removed.exitCode === 0 ? (await install(sandbox, workspace, context)).failed : removed;
    clock.lap('installMs');
    keep = failed === null;
    return failed === null ? { sandbox } : { sandbox, failed };
  } finally {
    if (!keep) await sandbox.destroy();
  }
}

async function putBaseTree(sandbox: Sandbox, { mirror, candidate }: Workspace): Promise<void> {
  await sandbox.putTree(repositoryTar(mirror.archive(candidate.baseCommit)), '/');
}

async function commitTree(sandbox: Sandbox, workspace: Workspace, context: WorkContext): Promise<void> {
  const { command, env, stdin } = commitScript(workspace.treeOid, workspace.submodules);
  const result = await sandbox.exec(command, {
    user: SANDBOX_USERS.test,
    cwd: SANDBOX_PATHS.repo,
    env,
    timeoutMs: GIT_TIMEOUT_MS,
    signal: context.signal,
    ...(stdin ? { stdin } : {}),
  });
  if (result.exitCode !== 0) {
    throw infraFailure(
      `The tree of ${workspace.candidate.instanceId} could not be proven in the sandbox (wanted ${workspace.treeOid}): ${tail(result)}`,
    );
  }
}

async function install(
  sandbox: Sandbox,
  { spec, candidate }: Workspace,
  context: WorkContext,
): Promise<PlacedBase> {
  const { command, env } = installScript(spec.install, candidate.baseVersion);
  const result = await sandbox.exec(command, {
    user: SANDBOX_USERS.build,
    cwd: SANDBOX_PATHS.repo,
    env,
    timeoutMs: INSTALL_TIMEOUT_MS,
    outputBytes: INSTALL_OUTPUT_BYTES,
    signal: context.signal,
  });
  const lines = result.stdout.toString('utf8').split('\n');
  // A build that was killed for memory is none that the back end could not do: the fallback's layout is not kept.
  if (result.exitCode !== 0 || (result.outOfMemory && lines.includes(FALLBACK_MARK)))
    return { failed: result, versions: [] };
  const marks = lines.filter((line) => line.startsWith(VERSION_MARK));
  return { failed: null, versions: marks.map((line) => line.slice(VERSION_MARK.length).trim()) };
}

/** Moves tree and venv; null when all went well. A build of absurd size is the patch's doing, not infrastructure's. */
async function moveBuilt(from: Sandbox, to: Sandbox, workspace: Workspace): Promise<InstallFailure | null> {
  for (const kind of ['testbed', 'venv'] as const) {
    const tree = await from.getTree(kind === 'testbed' ? SANDBOX_PATHS.repo : SANDBOX_PATHS.venv);
    const built = builtTar(tree, kind, workspace.isProtected);
    try {
      await to.putTree(built.stream, '/');
    } catch (error) {
      if (!built.isTooLarge()) throw error;
      const output = Buffer.from('The build made more than any honest build.');
      return { output, droppedBytes: 0, timedOut: false, outOfMemory: false };
    }
  }
  return null;
}

const tail = (result: Pick<ExecResult, 'output'>): string =>
  result.output.toString('utf8').trim().slice(-800);

/** What a failed install means, in one sentence. */
export function installOutcome(
  result: InstallFailure,
  withPatch: boolean,
): { readonly outcome: RunOutcome; readonly note: string } {
  const what = withPatch ? 'The project with the patch' : 'The base';
  if (result.timedOut)
    return {
      outcome: 'install_failed',
      note: `${what} did not install within ${INSTALL_TIMEOUT_MS / 1000} s`,
    };
  if (result.outOfMemory)
    return { outcome: 'install_failed', note: `${what} ran out of memory while installing` };
  return { outcome: 'install_failed', note: `${what} does not install offline: ${tail(result)}` };
}

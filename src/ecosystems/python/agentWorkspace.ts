/**
 * The workspace that an agent works in: the base tree as one commit, installed into the row's environment, nothing of the
 * hidden tests, no network. What it leaves is taken as a patch; the container is gone then, with whatever still ran in it.
 */
import type { InstanceRow } from '../../domain/types.ts';
import type { RunPlan } from '../../domain/runs.ts';
import { infraFailure } from '../../domain/failures.ts';
import { diffCommand, MAX_DIFF_BYTES } from '../../sandbox/gitDiff.ts';
import { SANDBOX_PATHS, SANDBOX_USERS } from '../../sandbox/types.ts';
import type { BaseImages, ExecOptions, ExecResult, SandboxDriver } from '../../sandbox/types.ts';
import type { ArtefactStore } from '../../store/types.ts';
import type { WorkContext } from '../types.ts';
import { installOutcome, placeBase } from './install.ts';
import type { PinnedFactsOf } from './pinnedFacts.ts';
import { environmentSubpath } from './run.ts';
import { TEST_ENVIRONMENT } from './runScripts.ts';
import { createStopwatch } from './stopwatch.ts';
import { prepareWorkspace } from './workspace.ts';

const DIFF_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 10_000;

export interface AgentWorkspaceDeps {
  readonly driver: SandboxDriver;
  readonly baseImages: BaseImages;
  readonly store: ArtefactStore;
  readonly pinned: PinnedFactsOf;
}

/** What an agent's work came to. A tree that git cannot read any more, or a change beyond all bounds, is the agent's doing. */
export type AgentPatch =
  | { readonly ok: true; readonly patch: Buffer }
  | { readonly ok: false; readonly note: string };

export interface AgentWorkspace {
  /** Runs a shell script in the tree as the test user; without a signal of its own until the opening's is aborted. */
  exec(
    script: string,
    options: Pick<ExecOptions, 'timeoutMs' | 'outputBytes' | 'stdin' | 'signal'>,
  ): Promise<ExecResult>;
  /** Ends everything that runs as the test user and takes the change of the tree against its one commit. */
  takePatch(): Promise<AgentPatch>;
  close(): Promise<void>;
}

/** Opens a row's workspace; its environment must have been realised. Throws Infra when the base cannot be placed. */
export async function openWorkspace(
  deps: AgentWorkspaceDeps,
  row: InstanceRow,
  context: WorkContext,
): Promise<AgentWorkspace> {
  const plan = planOf(row);
  const workspace = await prepareWorkspace(deps.store, plan, await deps.pinned(plan));
  const { base, runtimeVersion, systemPackages } = workspace.spec;
  const { key, variant } = row.environment;
  const sandbox = await deps.driver.create({
    image: await deps.baseImages.ensure(base, runtimeVersion, systemPackages),
    owner: context.owner,
    network: 'none',
    limits: row.limits,
    mounts: [
      {
        kind: 'store',
        subpath: environmentSubpath(key, variant),
        target: SANDBOX_PATHS.environment,
        readOnly: true,
      },
    ],
  });
  let written: readonly string[] = [];
  const asAgent = { user: SANDBOX_USERS.test, cwd: SANDBOX_PATHS.repo, signal: context.signal };
  try {
    const placed = await placeBase(sandbox, workspace, null, context, createStopwatch());
    if (placed.failed !== null) {
      throw infraFailure(
        `${row.instance_id}: ${installOutcome(placed.failed, false).note}, though it did at validation.`,
      );
    }
    written = writtenPaths(
      await sandbox.exec(STATUS, { ...asAgent, env: { HOME: '/home/test' }, timeoutMs: DIFF_TIMEOUT_MS }),
    );
  } catch (error) {
    await sandbox.destroy();
    throw error;
  }
  return {
    exec: async (script, options) =>
      sandbox.exec(['sh', '-c', script], { ...asAgent, env: TEST_ENVIRONMENT, ...options }),
    async takePatch() {
      // nothing may write while git reads; the shell that says so is spared by the kernel
      const stop = ['sh', '-c', 'kill -KILL -1 2>/dev/null; exit 0'];
      await sandbox.exec(stop, { ...asAgent, cwd: '/', timeoutMs: STOP_TIMEOUT_MS });
      const env = { HOME: '/home/test' };
      const limits = { timeoutMs: DIFF_TIMEOUT_MS, outputBytes: MAX_DIFF_BYTES };
      const command = [...diffCommand, ...written.map((path) => `:(exclude,top,literal)${path}`)];
      return patchOf(await sandbox.exec(command, { ...asAgent, env, ...limits }));
    },
    close: async () => sandbox.destroy(),
  };
}

/** What the install wrote (version files of version tools) is nobody's change. */
const STATUS = ['git', 'status', '--porcelain', '-z', '--no-renames', '--untracked-files=all'];

const writtenPaths = ({ stdout }: ExecResult): readonly string[] =>
  stdout
    .toString('utf8')
    .split('\0')
    .flatMap((entry) => (entry === '' ? [] : [entry.slice(3)]));

function patchOf(result: ExecResult): AgentPatch {
  const no = (note: string): AgentPatch => ({ ok: false, note });
  if (result.timedOut) return no(`The change could not be read within ${DIFF_TIMEOUT_MS / 1000} s.`);
  if (result.droppedBytes > 0) return no(`The change is larger than ${MAX_DIFF_BYTES} bytes.`);
  if (result.exitCode !== 0) {
    return no(`git cannot read the tree any more: ${result.stderr.toString('utf8').trim().slice(0, 400)}`);
  }
  return { ok: true, patch: result.stdout };
}

const planOf = (row: InstanceRow): RunPlan => ({
  kind: 'evaluate',
  candidate: row.candidate,
  environment: row.environment.key,
  spec: row.environment_spec,
  variant: row.environment.variant,
  withTestPatch: false,
  patch: null,
  scope: row.test_scope,
  limits: row.limits,
  makeCanaryPoolOf: null,
  canaries: null,
});

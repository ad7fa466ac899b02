/**
 * A workspace is the same in every run of a row: the tree as a repository of one commit, the venv, and what the offline
 * install wrote. It is made and proven once, kept as one tar, and put into later containers in one call. What a patch
 * builds apart is kept under the patch's own key, so it reaches nobody else. A bounded cache of this host: all of it can be
 * made again, and the longest unused goes first.
 */
import type { Logger } from 'pino';
import { hashOf } from '../../domain/canonical.ts';
import type { RunPlan } from '../../domain/runs.ts';
import { SANDBOX_PATHS } from '../../sandbox/types.ts';
import type { Sandbox } from '../../sandbox/types.ts';
import { sha256OfBytes } from '../../store/digest.ts';
import type { HostCache } from '../../store/hostCache.ts';
import { keepTrees } from './trees.ts';
import type { Workspace } from './workspace.ts';
import type { TreeChange } from './workspaceChange.ts';

/** Rises when the scripts that prepare a workspace, or this file, change meaning. */
const WORKSPACE_RULES = 1;
const MAX_WORKSPACE_BYTES = 128 * 1024 ** 2; // a larger one costs more to move than to make

export interface PreparedWorkspace {
  /** For `/`, with owners and modes. */
  readonly tar: Buffer;
  /** Versions that the installed project reports. */
  readonly versions: readonly string[];
}

export interface PreparedWorkspaces {
  /** null when none is kept, or when what is kept is damaged. */
  restore(key: string): Promise<PreparedWorkspace | null>;
  /** Keeps what the sandbox holds now: before anything of the candidate was executed in it. Never throws. */
  keep(key: string, sandbox: Sandbox, versions: readonly string[]): Promise<void>;
}

/** Key of the workspace that a plan starts from: tree, environment, image, install; and the patch where it is built apart. */
export function workspaceKey(plan: RunPlan, workspace: Workspace, image: string): string {
  const { treeOid, spec, candidate, submodules, patch, rebuild } = workspace;
  return hashOf({
    rules: WORKSPACE_RULES,
    image,
    treeOid,
    submodules,
    environment: plan.environment,
    variant: plan.variant,
    install: spec.install,
    baseVersion: candidate.baseVersion,
    // which paths of a build count as protected is said by the candidate's own test commit
    built:
      rebuild && patch?.ok === true
        ? { candidate: plan.candidate, change: hashOfChange(patch.change) }
        : null,
  });
}

const hashOfChange = ({ files, deleted }: TreeChange): string =>
  hashOf({
    files: files.map(({ path, mode, content }) => [path, mode, sha256OfBytes(content)]),
    deleted,
  });

export function createPreparedWorkspaces(options: {
  readonly cache: HostCache;
  readonly log: Logger;
}): PreparedWorkspaces {
  const { cache, log } = options;
  const maxBytes = Math.min(MAX_WORKSPACE_BYTES, cache.maxBytes);
  return {
    async restore(key) {
      const kept = await cache.get(key);
      return kept === null ? null : { tar: kept.bytes, versions: kept.note['versions'] as readonly string[] };
    },
    async keep(key, sandbox, versions) {
      try {
        const tar = await keepTrees(sandbox, [SANDBOX_PATHS.repo, SANDBOX_PATHS.venv], maxBytes);
        if (tar !== null) await cache.put(key, tar, { versions });
      } catch (error) {
        log.warn({ err: error }, 'a workspace could not be kept; the next run makes it again');
      }
    },
  };
}

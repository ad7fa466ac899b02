/**
 * The offline install of a base is the same in every run of it: what it leaves (the venv, and the files that it wrote in
 * the tree) is kept as an artefact and put back. Only installs of pristine bases come here; what a patch builds never does.
 */
import type { Logger } from 'pino';
import { hashOf } from '../../domain/canonical.ts';
import type { ArtefactRef, RunPlan } from '../../domain/types.ts';
import { SANDBOX_PATHS, SANDBOX_USERS } from '../../sandbox/types.ts';
import type { Sandbox } from '../../sandbox/types.ts';
import type { ArtefactStore, RecordStore } from '../../store/types.ts';
import type { Workspace } from './workspace.ts';

/** Rises when the install's script or this file changes meaning. */
const INSTALL_RULES = 1;
const MAX_BYTES = 64 * 1024 ** 2; // a larger build costs more to move than to make
const PACK_TIMEOUT_MS = 60_000;

interface KeptInstall {
  readonly tar: ArtefactRef;
  readonly versions: readonly string[];
}

export interface InstallCache {
  /** Puts a kept install into the sandbox; null when none is kept. */
  restore(sandbox: Sandbox): Promise<{ readonly versions: readonly string[] } | null>;
  keep(sandbox: Sandbox, versions: readonly string[]): Promise<void>;
}

/**
 * Packs the venv and every file that the install made or wrote over (version tools rewrite a tracked `_version.py`). Exit
 * code 3: it removed or moved a tracked file, which a tar cannot say.
 */
const PACK_PROGRAM = String.raw`
import os, subprocess, sys, tarfile
status = subprocess.run(["git", "status", "--porcelain", "-z", "--ignored=matching", "--untracked-files=all"], stdout=subprocess.PIPE, check=True).stdout
entries = [entry for entry in status.split(b"\0") if entry]
if any(entry[:3] not in (b"?? ", b"!! ", b" M ") for entry in entries):
    sys.exit(3)
seen = set()
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as out:
    out.add(sys.argv[1], arcname=sys.argv[1].lstrip("/"))
    for entry in entries:
        path = os.path.join(os.getcwd(), os.fsdecode(entry[3:]).rstrip("/"))
        parents = []
        parent = os.path.dirname(path)
        while parent != os.getcwd():
            parents.append(parent)
            parent = os.path.dirname(parent)
        for parent in reversed(parents):
            if parent not in seen:
                seen.add(parent)
                out.add(parent, arcname=parent.lstrip("/"), recursive=False)
        out.add(path, arcname=path.lstrip("/"))
`;

/** The cache for one plan: keyed by the base's tree, the environment and the install commands. */
export function createInstallCache(
  deps: { readonly store: ArtefactStore; readonly records: RecordStore; readonly log: Logger },
  plan: RunPlan,
  image: string,
  { treeOid, spec, candidate, submodules }: Workspace,
  signal: AbortSignal,
): InstallCache {
  const key = hashOf({
    rules: INSTALL_RULES,
    image,
    treeOid,
    submodules,
    environment: plan.environment,
    variant: plan.variant,
    install: spec.install,
    baseVersion: candidate.baseVersion,
  });
  const name = `installs/${key}`;
  return {
    async restore(sandbox) {
      const kept = await deps.records.read<KeptInstall>(name).catch(() => null);
      const tar = kept === null ? null : await deps.store.get(kept.tar).catch(() => null);
      if (kept === null || tar === null) return null; // lost or damaged: the install is made again
      await sandbox.putTree(tar, '/');
      return { versions: kept.versions };
    },
    async keep(sandbox, versions) {
      const packed = await sandbox.exec(['python3', '-I', '-c', PACK_PROGRAM, SANDBOX_PATHS.venv], {
        user: SANDBOX_USERS.build,
        cwd: SANDBOX_PATHS.repo,
        env: { HOME: '/home/build', LC_ALL: 'C.UTF-8' },
        timeoutMs: PACK_TIMEOUT_MS,
        outputBytes: MAX_BYTES,
        signal,
      });
      if (packed.exitCode !== 0 || packed.droppedBytes > 0 || packed.stderr.length > 0) return;
      try {
        const kept: KeptInstall = { tar: await deps.store.put(packed.stdout), versions };
        await deps.records.record(name, kept);
      } catch (error) {
        deps.log.warn({ err: error }, 'an install could not be kept; the next run makes it again');
      }
    },
  };
}

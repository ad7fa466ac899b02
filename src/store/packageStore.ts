import { FAILURE_TYPES, infraFailure } from '../domain/failures.ts';
import type { EnvironmentKey } from '../domain/types.ts';
import { SANDBOX_PATHS, SANDBOX_USERS } from '../sandbox/types.ts';
import type { SandboxDriver, SandboxOwner } from '../sandbox/types.ts';

/** One environment of the package store. Bytes are allocated bytes on disk; each inode counts once per figure. */
export interface StoredEnvironment {
  readonly key: EnvironmentKey;
  readonly variant: 'pruned' | 'full';
  readonly bytes: number;
  /** Bytes that only this environment and its own cache entries hold: what removing it and its packages would free. */
  readonly uniqueBytes: number;
  readonly files: number;
  /** Files that could not be hardlinked into the cache: a loss. */
  readonly copiedFiles: number;
  /** Sum of (bytes ÷ environments that share the inode): the environments' shares add up to what they hold together. */
  readonly sharedOutBytes: number;
}

export interface PackageStoreSizes {
  /** Every inode of the volume once. */
  readonly totalBytes: number;
  /** Inodes in pruned environments, once: with `cacheOnlyBytes` what must be kept. */
  readonly environmentBytes: number;
  /** In the permanent cache but in no environment: index pages, metadata, packages of collected environments. */
  readonly cacheOnlyBytes: number;
  /** Only in the working cache and the full environments: `gc` empties these. */
  readonly workingBytes: number;
  /** Bytes that environments hold as copies where a hardlink failed. */
  readonly copiedBytes: number;
  readonly environments: readonly StoredEnvironment[];
}

const MEASURE_PROGRAM = String.raw`
import json, os, sys
root = "/store"
seen = {}      # inode -> [bytes, areas, environments]
areas = {"cache": "cache", "cache-full": "working", "envs": "envs", "envs-full": "working"}
environments = {}
OWN = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
def visit(path, area, key):
    status = os.lstat(path)
    entry = seen.setdefault(status.st_ino, [status.st_blocks * 512, set(), set()])
    entry[1].add(area)
    if key:
        entry[2].add(key)
    return status
def walk(top, area, key):
    files = copied = copied_bytes = 0
    for folder, names, leaves in os.walk(top):
        visit(folder, area, key)
        for name in leaves:
            path = os.path.join(folder, name)
            try:
                status = visit(path, area, key)
            except FileNotFoundError:
                continue
            files += 1
            generated = name in OWN and folder.endswith(".dist-info") or folder == os.path.join(top, "bin")
            if key and status.st_nlink == 1 and status.st_size and not generated:
                copied += 1
                copied_bytes += status.st_blocks * 512
        for name in names:
            if os.path.islink(os.path.join(folder, name)):
                visit(os.path.join(folder, name), area, key)
    return files, copied, copied_bytes
copied_total = 0
for name in sorted(os.listdir(root)):
    top = os.path.join(root, name)
    if name in ("envs", "envs-full"):
        for child in sorted(os.listdir(top)):
            path = os.path.join(top, child)
            if os.path.isdir(path) and not child.startswith("."):
                key = ("pruned" if name == "envs" else "full") + "/" + child
                files, copied, copied_bytes = walk(path, areas[name], key)
                environments[key] = {"files": files, "copiedFiles": copied}
                copied_total += copied_bytes if name == "envs" else 0
            else:
                visit(path, areas[name], None)
    elif os.path.isdir(top):
        walk(top, areas.get(name, "working"), None)
    else:
        visit(top, "working", None)
answer = {"totalBytes": 0, "environmentBytes": 0, "cacheOnlyBytes": 0, "workingBytes": 0, "copiedBytes": copied_total, "environments": []}
for key in environments:
    environments[key].update(bytes=0, uniqueBytes=0, sharedOutBytes=0.0)
for size, where, keys in seen.values():
    answer["totalBytes"] += size
    if "envs" in where:
        answer["environmentBytes"] += size
    elif "cache" in where:
        answer["cacheOnlyBytes"] += size
    else:
        answer["workingBytes"] += size
    for key in keys:
        environments[key]["bytes"] += size
        kind = key.split("/")[0]
        sharers = [other for other in keys if other.startswith(kind)]
        environments[key]["sharedOutBytes"] += size / len(sharers)
        if len(sharers) == 1:
            environments[key]["uniqueBytes"] += size
for key, figures in sorted(environments.items()):
    variant, name = key.split("/", 1)
    answer["environments"].append(dict(figures, key=name, variant=variant, sharedOutBytes=round(figures["sharedOutBytes"])))
json.dump(answer, sys.stdout)
`;

const PROGRAM_TIMEOUT_MS = 20 * 60_000; // some hundred thousand files on a slow disk, behind a build that holds the locks
const ANSWER_BYTES = 16 * 1024 ** 2; // about 200 bytes per environment

/** Asks programs of the package store, which run in one container that sees the volume and no network. */
export type AskStore = <T>(program: string, request: object) => Promise<T>;

/**
 * Opens a container on the whole package store for trusted programs, and removes it whatever happens. Any base image
 * will do. Programs read one JSON request and print one JSON answer. Throws Infra when the daemon or a program fails.
 */
export async function withPackageStore<T>(
  deps: { readonly driver: SandboxDriver; readonly image: string },
  owner: SandboxOwner,
  work: (ask: AskStore) => Promise<T>,
): Promise<T> {
  await deps.driver.ensureStoreVolume(owner.installation);
  const sandbox = await deps.driver.create({
    image: deps.image,
    owner,
    network: 'none',
    limits: { memoryBytes: 1024 ** 3, pids: 64, cpus: 1 },
    mounts: [{ kind: 'storeRoot', target: SANDBOX_PATHS.store }],
  });
  try {
    return await work(async (program, request) => {
      const result = await sandbox.exec(['python3', '-c', program], {
        user: SANDBOX_USERS.root,
        stdin: JSON.stringify(request),
        timeoutMs: PROGRAM_TIMEOUT_MS,
        outputBytes: ANSWER_BYTES,
      });
      if (result.exitCode !== 0) {
        const text = result.stderr.toString('utf8').slice(-1_000);
        throw infraFailure(`A program of the package store failed: ${text}`, { type: FAILURE_TYPES.infra });
      }
      return JSON.parse(result.stdout.toString('utf8'));
    });
  } finally {
    await sandbox.destroy();
  }
}

/** Measures the package store of an installation. Inodes are counted once. Throws Infra when the daemon fails. */
export const measurePackageStore = (
  deps: { readonly driver: SandboxDriver; readonly image: string },
  owner: SandboxOwner,
): Promise<PackageStoreSizes> => withPackageStore(deps, owner, (ask) => ask(MEASURE_PROGRAM, {}));

import type { Readable } from 'node:stream';
import type { RunLimits } from '../domain/runs.ts';

/** Who made a sandbox; written as labels on every container, so that orphans can be found and swept. */
export interface SandboxOwner {
  /** Random id of the installation (state directory). Every list or sweep filters by it. */
  readonly installation: string;
  readonly host: string;
  readonly campaign?: string;
  readonly workflowId?: string;
  readonly runId?: string;
  readonly activityId?: string;
  readonly attempt?: number;
}

export type SandboxMount =
  /** Exactly one directory of the store volume, e.g. `envs/<key>`. */
  | { readonly kind: 'store'; readonly subpath: string; readonly target: string; readonly readOnly: boolean }
  /** The whole store volume: only for the store's own trusted work (fill, realise, measure, gc). */
  | { readonly kind: 'storeRoot'; readonly target: string }
  /** A host file or directory; refused when it does not exist. */
  | { readonly kind: 'host'; readonly source: string; readonly target: string; readonly readOnly: boolean };

export interface SandboxSpec {
  readonly image: string;
  readonly owner: SandboxOwner;
  /** `none` everywhere but in builds. `build` = the configured build network with CA bundle, proxy and index settings. */
  readonly network: 'none' | 'build';
  readonly limits: Pick<RunLimits, 'memoryBytes' | 'pids' | 'cpus'>;
  readonly mounts: readonly SandboxMount[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface ExecOptions {
  /** Numeric `uid:gid`; tests run as `SANDBOX_USERS.test`. */
  readonly user: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: Buffer | string;
  /** At the deadline every process of the user in the container is killed, also setsid and nohup children. */
  readonly timeoutMs: number;
  /** Kept output of stdout and stderr together; more is drained, counted and dropped. */
  readonly outputBytes?: number;
  readonly signal?: AbortSignal;
}

export interface ExecResult {
  /** null when the deadline killed it. */
  readonly exitCode: number | null;
  readonly timedOut: boolean;
  /** The kernel killed something in this container for memory during the exec. */
  readonly outOfMemory: boolean;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** stdout and stderr interleaved as they arrived. */
  readonly output: Buffer;
  readonly droppedBytes: number;
  readonly durationMs: number;
}

/** Numeric users inside every sandbox; no names are needed in the image. */
export const SANDBOX_USERS = {
  root: '0:0',
  /** Runs the tests. */
  test: '1000:1000',
  /** Installs the project; in the test user's group, so that the tree is shared and the venv is not. */
  build: '1001:1000',
} as const;

export interface Sandbox {
  readonly id: string;
  exec(command: readonly string[], options: ExecOptions): Promise<ExecResult>;
  /** Unpacks a tar stream under `path` (must exist); owner and mode are taken from the tar's headers. */
  putTree(tar: Readable | Buffer, path: string): Promise<void>;
  /** Reads one regular file; null when it does not exist; throws when it is larger than `maxBytes`. */
  getFile(path: string, maxBytes: number): Promise<Buffer | null>;
  /** Streams a path as tar (names relative to the parent of `path`). */
  getTree(path: string): Promise<Readable>;
  /** `git diff --binary` of the working tree at `cwd` against its single commit, untracked files included. */
  diff(cwd: string): Promise<Buffer>;
  peakMemoryBytes(): Promise<number | null>;
  /** Removes the container; 304, 404 and 409 count as success. Never throws for a container that is gone. */
  destroy(): Promise<void>;
  /** Removes the container after this call has returned; `SandboxDriver.settled` waits for it. */
  discard(): Promise<void>;
}

export interface SandboxDriver {
  /** Throws an Infra failure when the daemon does not answer. First removes what an earlier attempt of the same activity left. */
  create(spec: SandboxSpec): Promise<Sandbox>;
  /** Creates the installation's store volume if it is missing and returns its name. */
  ensureStoreVolume(installation: string): Promise<string>;
  /** Containers of this installation, newest first. */
  list(installation: string): Promise<
    readonly {
      readonly id: string;
      readonly labels: Readonly<Record<string, string>>;
      readonly createdAtMs: number;
    }[]
  >;
  /** Removes containers of this installation that match; returns how many. */
  sweep(
    installation: string,
    match: (labels: Readonly<Record<string, string>>, createdAtMs: number) => boolean,
  ): Promise<number>;
  /** Ends when every discarded container of this driver is gone. */
  settled(): Promise<void>;
  imageExists(image: string): Promise<boolean>;
  ping(): Promise<{ readonly version: string; readonly apiVersion: string; readonly root: string }>;
}

/** A language runtime that base images can be had for. */
export interface RuntimeBase {
  /** Logical name with our rule version, part of the environment key, e.g. `debian-bookworm/1`. */
  readonly base: string;
  readonly runtimeVersion: string;
  /** First release of the runtime: an older change never runs on it. */
  readonly releasedAt: string;
}

export interface BaseImages {
  /** Runtimes that can be had here, oldest first. */
  available(): readonly RuntimeBase[];
  /**
   * Local name of the image for a base with extra system packages; builds or pulls it when missing (one at a time per
   * image, across processes). Throws an Infra failure with one clear sentence when it cannot be had.
   */
  ensure(base: string, runtimeVersion: string, systemPackages: readonly string[]): Promise<string>;
  /** Bytes of each base image of ours that exists locally. */
  sizes(): Promise<readonly { readonly image: string; readonly bytes: number }[]>;
}

/** Fixed paths inside every sandbox. */
export const SANDBOX_PATHS = {
  /** The repository under work: the base tree as a git repository with exactly one commit. SWE-bench's name. */
  repo: '/testbed',
  /** The environment directory of the package store, read-only. */
  environment: '/env',
  /** The virtual environment that reaches `/env` and holds the offline install of the project; not writable by the test user. */
  venv: '/venv',
  /** Runner files of ours, root-owned. */
  runner: '/repoforge',
  /** Results; writable by the test user. */
  output: '/output',
  /** Root of the package store, only in the store's own containers. */
  store: '/store',
} as const;

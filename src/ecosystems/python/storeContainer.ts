import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { FAILURE_TYPES, infraFailure } from '../../domain/failures.ts';
import { SANDBOX_PATHS, SANDBOX_USERS } from '../../sandbox/types.ts';
import type { BaseImages, ExecResult, Sandbox, SandboxDriver } from '../../sandbox/types.ts';
import type { WorkContext } from '../types.ts';

/** Builds may compile a package from source, hence more room than a test run's default. */
const BUILD_LIMITS = { memoryBytes: 6 * 1024 ** 3, pids: 1024, cpus: 2 };
const PROGRAM_TIMEOUT_MS = 20 * 60_000; // a slow mirror and a source build; Temporal's own timeout is above it
const HEARTBEAT_EVERY_MS = 5_000; // well inside any heartbeat timeout in use
const ANSWER_BYTES = 64 * 1024 ** 2; // the index of a large environment

export interface StoreContainerDeps {
  readonly driver: SandboxDriver;
  readonly baseImages: BaseImages;
  readonly log: Logger;
}

export interface StoreRuntime {
  readonly base: string;
  readonly runtimeVersion: string;
  readonly systemPackages: readonly string[];
}

/** A container that sees the whole package store and the build network. Only for the store's own trusted programs. */
export interface StoreContainer {
  readonly sandbox: Sandbox;
  /** Runs the store's program on a request and returns its parsed answer. */
  request<T>(request: Readonly<Record<string, unknown>>): Promise<T>;
  exec(
    command: readonly string[],
    stdin?: string,
    env?: Readonly<Record<string, string>>,
  ): Promise<ExecResult>;
}

/** Opens a store container, hands it to `work` and removes it, whatever happens. Heartbeats while it lives. */
export async function withStoreContainer<T>(
  deps: StoreContainerDeps,
  runtime: StoreRuntime,
  context: WorkContext,
  work: (container: StoreContainer) => Promise<T>,
): Promise<T> {
  const image = await deps.baseImages.ensure(runtime.base, runtime.runtimeVersion, runtime.systemPackages);
  await deps.driver.ensureStoreVolume(context.owner.installation);
  const sandbox = await deps.driver.create({
    image,
    owner: context.owner,
    network: 'build',
    limits: BUILD_LIMITS,
    mounts: [{ kind: 'storeRoot', target: SANDBOX_PATHS.store }],
    env: STORE_ENV,
  });
  const pulse = setInterval(() => context.heartbeat({ container: sandbox.id }), HEARTBEAT_EVERY_MS);
  try {
    return await work(storeContainer(sandbox, context));
  } finally {
    clearInterval(pulse);
    await sandbox
      .destroy()
      .catch((error: unknown) =>
        deps.log.warn({ error, container: sandbox.id }, 'store container not removed'),
      );
  }
}

const STORE_ENV: Readonly<Record<string, string>> = {
  HOME: '/tmp',
  UV_CACHE_DIR: `${SANDBOX_PATHS.store}/cache-full`,
  UV_PYTHON_DOWNLOADS: 'never',
  UV_LINK_MODE: 'hardlink',
  UV_NO_PROGRESS: '1',
  UV_LOCK_TIMEOUT: String(25 * 60), // seconds; `gc` holds the caches for up to 20 minutes
  UV_HTTP_RETRIES: '6', // an index that is away for a minute costs a minute; uv's own three would cost the attempt
};

function storeContainer(sandbox: Sandbox, context: WorkContext): StoreContainer {
  const exec: StoreContainer['exec'] = async (command, stdin, env) => {
    const result = await sandbox.exec(command, {
      user: SANDBOX_USERS.root,
      cwd: '/tmp',
      timeoutMs: PROGRAM_TIMEOUT_MS,
      outputBytes: ANSWER_BYTES,
      signal: context.signal,
      ...(stdin === undefined ? {} : { stdin }),
      ...(env === undefined ? {} : { env }),
    });
    if (result.timedOut)
      throw infraFailure(`Store work was stopped after ${PROGRAM_TIMEOUT_MS / 60_000} minutes.`);
    return result;
  };
  return {
    sandbox,
    exec,
    request: async <T>(request: Readonly<Record<string, unknown>>) => {
      const program = await readFile(new URL('./store.py', import.meta.url), 'utf8');
      const result = await exec(['python3', '-c', program], JSON.stringify(request));
      if (result.exitCode !== 0) throw storeFailure(result);
      return JSON.parse(result.stdout.toString('utf8')) as T;
    },
  };
}

function storeFailure(result: ExecResult): Error {
  const text = result.stderr.toString('utf8').slice(-1_500);
  const full = /No space left on device|Errno 28/.test(text);
  return infraFailure(`The package store's program ended with ${result.exitCode}: ${text}`, {
    type: full ? FAILURE_TYPES.noDisk : FAILURE_TYPES.infra,
  });
}

/**
 * Signs of a network, index, lock or disk that failed, as uv 0.13 words them: they say nothing about the packages. A package
 * that an index does not have "was not found in the package registry"; an HTTP error is about a file that it lists.
 */
const INFRASTRUCTURE = new RegExp(
  [
    'error sending request|dns error|Temporary failure in name resolution|Could not connect|tls handshake|certificate',
    'Network is unreachable|No route to host|Connection (?:refused|reset)|connection closed|timed out|network timeout',
    'HTTP status (?:client|server) error|50[0234] (?:Internal|Bad|Service|Gateway)|429 Too Many',
    'lack of valid authentication credentials',
    'request or response body error|error decoding response body|error reading a body',
    // a body that ended early without saying so: a wheel's, a source archive's, a wheel's of which only the metadata was read
    'I/O operation failed during extraction|Bad (?:un)?compressed size',
    'failed to read tar data\\s+cause: unexpected end of file',
    'Failed to read from zip file',
    'Could not acquire lock|Failed to acquire lock|when waiting for lock',
  ].join('|'),
  'i',
);

/** Throws an infra failure when the installer's output speaks of network or disk; else returns. */
export function throwIfInfrastructure(output: string, doing: string): void {
  if (/No space left on device|os error 28/i.test(output)) {
    throw infraFailure(`${doing}: no space left on the store's disk.`, { type: FAILURE_TYPES.noDisk });
  }
  if (INFRASTRUCTURE.test(output)) throw infraFailure(`${doing}: ${output.trim().slice(-1_200)}`);
}

/** The same for answers that are kept for every campaign: nor does an archive that is not what the index promises say anything. */
export function throwIfUndelivered(output: string, doing: string): void {
  throwIfInfrastructure(output, doing);
  if (/Hash mismatch for/.test(output)) throw infraFailure(`${doing}: ${output.trim().slice(-1_200)}`);
}

const KILLED = new Set([128 + 9, 128 + 15]); // a program that crashes by itself gets other signals

/** Throws an infra failure when a program was killed, or something that it ran was killed for memory. */
export function throwIfKilled(result: ExecResult, doing: string): void {
  if (!result.outOfMemory && !KILLED.has(result.exitCode ?? 0)) return;
  throw infraFailure(`${doing} was killed${result.outOfMemory ? ' for memory' : ''}.`);
}

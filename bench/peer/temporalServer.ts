import { spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises';
import { closeSync, existsSync, openSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { withFileLock } from '../../src/setup/fileLock.ts';
import { findTemporalBinary } from '../../src/setup/temporalBinary.ts';
import { ensureSearchAttributes, withTemporalConnection } from '../../src/setup/temporalConnection.ts';
import { startOrAdoptServer, stopServer } from '../../src/setup/temporalProcess.ts';
import { freePorts } from './ports.ts';
import { startPostgres, type Postgres } from './postgres.ts';

export type ServerKind = 'sqlite' | 'postgres';

/** A Temporal server of a bench's own, empty; gone with its files when it is disposed of. */
export interface BenchServer extends AsyncDisposable {
  readonly kind: ServerKind;
  readonly address: string;
  /** Its processes, without their children. */
  readonly pids: readonly number[];
}

interface Place {
  readonly cacheDir: string;
  readonly say: (line: string) => void;
}

const MODULE = 'go.temporal.io/server';
const VERSION = 'v1.29.1'; // the server inside the pinned Temporal CLI
const BUILD_LIMIT_MS = 45 * 60_000;
const BUILD_BYTES = 5 * 2 ** 30;
const READY_LIMIT_MS = 60_000;

export const startServer = (kind: ServerKind, place: Place): Promise<BenchServer> =>
  kind === 'sqlite' ? startEmbedded(place) : startOnPostgres(place);

/** The dev server as `repoforge` starts it, on a database file. */
async function startEmbedded({ cacheDir, say }: Place): Promise<BenchServer> {
  const dir = await mkdtemp(join(tmpdir(), 'repoforge-temporal-'));
  const binary = async (): Promise<string> => (await findTemporalBinary({ cacheDir, say })).path;
  const { port, pid } = await startOrAdoptServer({ dir, binary, say: () => undefined });
  return {
    kind: 'sqlite',
    address: `127.0.0.1:${port}`,
    pids: [pid],
    async [Symbol.asyncDispose]() {
      await stopServer(dir);
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** The production server in one process, as its module's own development configuration for PostgreSQL runs it. */
async function startOnPostgres(place: Place): Promise<BenchServer> {
  const programs = await ensurePrograms(place);
  const dir = await mkdtemp(join(tmpdir(), 'repoforge-temporal-'));
  const postgres = await startPostgres(place.cacheDir, place.say);
  let stopServerProcess = async (): Promise<void> => undefined;
  const dispose = async (): Promise<void> => {
    await stopServerProcess();
    await postgres[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await makeSchemas(programs, postgres);
    const port = await writeConfiguration(dir, postgres);
    const logFile = openSync(join(dir, 'server.log'), 'a');
    const args = ['--root', dir, '--config', '.', '--env', 'bench', '--allow-no-auth', 'start'];
    const child = spawn(join(programs, 'server'), args, { cwd: dir, stdio: ['ignore', logFile, logFile] });
    closeSync(logFile);
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    stopServerProcess = async () => {
      if (child.exitCode === null && child.kill('SIGTERM')) await ended;
    };
    const address = `127.0.0.1:${port}`;
    await makeNamespace(address, async () => {
      if (child.exitCode !== null)
        throw new Error(
          `The Temporal server ended: ${(await readFile(join(dir, 'server.log'), 'utf8')).slice(-500)}`,
        );
    });
    return {
      kind: 'postgres',
      address,
      pids: [child.pid ?? 0, postgres.pid],
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Builds server and schema tool from the Go module proxy, once per cache directory, and keeps the schemas beside them. */
async function ensurePrograms({ cacheDir, say }: Place): Promise<string> {
  const dir = join(cacheDir, `temporal-server-${VERSION}`);
  await mkdir(cacheDir, { recursive: true });
  await withFileLock(
    join(cacheDir, 'locks', 'temporal-server'),
    async () => {
      if (existsSync(dir)) return;
      const { bavail, bsize } = await statfs(cacheDir);
      if (bavail * bsize < BUILD_BYTES)
        throw new Error(`Building the Temporal server needs 5 GiB free in ${cacheDir}.`);
      say(`Temporal server: building ${MODULE} ${VERSION} once into ${dir} (5 minutes on two idle cores)`);
      const work = await mkdtemp(join(cacheDir, 'temporal-server.tmp-'));
      try {
        await build(work);
        await rename(join(work, 'bin'), dir);
      } finally {
        await rm(work, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
      }
    },
    { timeoutMs: BUILD_LIMIT_MS },
  );
  return dir;
}

async function build(work: string): Promise<void> {
  await execa('go', ['version']).catch(() => {
    throw new Error(
      'Building the Temporal server needs Go 1.24 or newer on PATH; --server sqlite does without.',
    );
  });
  const bin = join(work, 'bin');
  const modules = join(work, 'mod');
  const packages = ['cmd/server', 'cmd/tools/sql'].map((path) => `${MODULE}/${path}@${VERSION}`);
  await execa('go', ['install', '-ldflags=-s -w', ...packages], {
    // private caches, dropped afterwards; -modcacherw because Go makes its module directories read-only
    env: {
      GOPATH: join(work, 'gopath'),
      GOMODCACHE: modules,
      GOCACHE: join(work, 'cache'),
      GOTMPDIR: work,
      GOBIN: bin,
      GOFLAGS: '-modcacherw',
      CGO_ENABLED: '0',
    },
    timeout: BUILD_LIMIT_MS,
  });
  const schema = join('schema', 'postgresql', 'v12');
  await cp(join(modules, `${MODULE}@${VERSION}`, schema), join(bin, schema), { recursive: true });
}

const DATABASES = { temporal: 'temporal', temporal_visibility: 'visibility' } as const;

async function makeSchemas(programs: string, { port, user, password }: Postgres): Promise<void> {
  for (const [database, schema] of Object.entries(DATABASES)) {
    const args = [
      '--ep',
      '127.0.0.1',
      '-p',
      String(port),
      '-u',
      user,
      '--pl',
      'postgres12',
      '--db',
      database,
    ];
    const versions = join(programs, 'schema', 'postgresql', 'v12', schema, 'versioned');
    for (const step of [['create'], ['setup-schema', '-v', '0.0'], ['update-schema', '-d', versions]])
      await execa(join(programs, 'sql'), [...args, ...step], { env: { SQL_PASSWORD: password } });
  }
}

/** `development-postgres12.yaml` of the module, with our ports and without metrics, profiling and archives. */
async function writeConfiguration(dir: string, { port, user, password }: Postgres): Promise<number> {
  const ports = await freePorts(8);
  const rpc = (at: number) => ({
    rpc: { grpcPort: ports[at], membershipPort: ports[at + 1], bindOnLocalHost: true },
  });
  const [frontend = 0] = ports;
  const database = (databaseName: string, connections: number) => ({
    sql: {
      pluginName: 'postgres12',
      databaseName,
      connectAddr: `127.0.0.1:${port}`,
      connectProtocol: 'tcp',
      user,
      password,
      maxConns: connections,
      maxIdleConns: connections,
      maxConnLifetime: '1h',
    },
  });
  const address = `127.0.0.1:${frontend}`;
  const configuration = {
    log: { stdout: true, level: 'warn' },
    persistence: {
      defaultStore: 'default',
      visibilityStore: 'visibility',
      numHistoryShards: 4,
      datastores: { default: database('temporal', 20), visibility: database('temporal_visibility', 2) },
    },
    global: { membership: { maxJoinDuration: '30s', broadcastAddress: '127.0.0.1' } },
    services: { frontend: rpc(0), matching: rpc(2), history: rpc(4), worker: rpc(6) },
    clusterMetadata: {
      enableGlobalNamespace: false,
      failoverVersionIncrement: 10,
      masterClusterName: 'active',
      currentClusterName: 'active',
      clusterInformation: {
        active: { enabled: true, initialFailoverVersion: 1, rpcName: 'frontend', rpcAddress: address },
      },
    },
    dcRedirectionPolicy: { policy: 'noop' },
    publicClient: { hostPort: address },
  };
  await writeFile(join(dir, 'bench.yaml'), JSON.stringify(configuration)); // JSON is YAML
  return frontend;
}

async function makeNamespace(address: string, alive: () => Promise<void>): Promise<void> {
  const deadline = Date.now() + READY_LIMIT_MS;
  for (let registered = false; ;) {
    try {
      await withTemporalConnection(
        { address },
        async (connection) => {
          const namespace = 'default';
          const retention = { seconds: (24 * 3_600) as never };
          if (!registered)
            await connection.workflowService.registerNamespace({
              namespace,
              workflowExecutionRetentionPeriod: retention,
            });
          registered = true;
          await ensureSearchAttributes(connection, namespace);
        },
        5_000,
      );
      return;
    } catch (error) {
      await alive();
      if (Date.now() > deadline) throw error;
      await delay(200);
    }
  }
}

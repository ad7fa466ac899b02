import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Candidate, EnvironmentSpec, InstanceRow } from '../src/domain/types.ts';
import type { Rows } from '../src/cli/rows.ts';
import type { WorkContext } from '../src/ecosystems/types.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { createPythonEnvironments } from '../src/ecosystems/python/environments.ts';
import { environmentSubpath } from '../src/ecosystems/python/run.ts';
import { connectDocker } from '../src/sandbox/docker.ts';
import { storeVolumeName } from '../src/sandbox/labels.ts';
import { SANDBOX_PATHS, SANDBOX_USERS, type SandboxMount } from '../src/sandbox/types.ts';
import { createFsRecordStore } from '../src/store/fs.ts';
import { machineLine, median, type BenchReport } from './report.ts';
import { benchContext } from './support.ts';

const LIMITS = { memoryBytes: 2 * 1024 ** 3, pids: 256, cpus: 2 };

/** How long one environment took, part by part. */
interface Timed {
  readonly lockMs: number;
  readonly realiseMs: number;
  readonly readyMs: number;
  readonly totalMs: number;
  /** Whether the lock gave the row's own key: else the index has changed since. */
  readonly sameKey: 'yes' | 'no';
}

/**
 * Time of each distinct environment of a campaign: lock, realise, ready (a container that imports the runner from it). In
 * a store volume of its own, thrown away afterwards: the installation's environments stay as they are. Cold: the volume is
 * emptied before each key, so that every index page and package is downloaded. Warm: the package cache holds everything,
 * and every round starts without resolutions and without environments.
 */
export async function benchEnvironment(deps: Dependencies, rows: Rows, rounds: number): Promise<BenchReport> {
  const installation = randomBytes(6).toString('hex');
  const { owner, ...work } = benchContext(deps);
  const context: WorkContext = { ...work, owner: { ...owner, installation } };
  const distinct = [...new Map(rows.rows.map((row) => [row.environment.key, row])).values()];
  const scratch = await mkdtemp(join(tmpdir(), 'repoforge-bench-'));
  const runs: ({ readonly key: string; readonly round: number; readonly cache: string } & Timed)[] = [];
  const measure = async (round: number, cache: 'cold' | 'filling' | 'warm'): Promise<void> => {
    for (const row of distinct) {
      if (cache === 'cold') await empty(deps, context, row, '');
      const records = createFsRecordStore(join(scratch, cache, `${round}`, row.instance_id));
      const runtimes = [row.environment.runtime_version];
      const environments = createPythonEnvironments({ ...deps, records, runtimes });
      const timed = await makeReady(deps, environments, row, context);
      runs.push({ key: row.environment.key.slice(0, 12), round, cache, ...timed });
    }
  };
  try {
    for (let round = 1; round <= rounds; round += 1) await measure(round, 'cold');
    await measure(0, 'filling');
    for (let round = 1; round <= rounds; round += 1) {
      if (distinct[0] !== undefined) await empty(deps, context, distinct[0], 'envs envs-full');
      await measure(round, 'warm');
    }
  } finally {
    await deps.driver.sweep(installation, () => true);
    await connectDocker().getVolume(storeVolumeName(installation)).remove({ force: true });
    await rm(scratch, { recursive: true, force: true });
  }
  const p50 = (cache: string, field: keyof Timed): number | null =>
    median(runs.filter((run) => run.cache === cache).map((run) => Number(run[field])));
  const figures = (cache: string) => ({
    [`${cache}_ms_p50`]: p50(cache, 'totalMs'),
    [`${cache}_lock_ms_p50`]: p50(cache, 'lockMs'),
    [`${cache}_realise_ms_p50`]: p50(cache, 'realiseMs'),
    [`${cache}_ready_ms_p50`]: p50(cache, 'readyMs'),
  });
  return {
    bench: 'environment',
    figure: p50('warm', 'totalMs'),
    unit: 'ms',
    what: 'median over distinct environment keys: lock, realise and a container ready with it; no resolution or environment kept. warm: every package is in the cache; cold: the store is empty before each key, downloads included',
    target: 'warm <= 3000 ms',
    machine: machineLine(),
    runs: runs.map((run) => ({ ...run })),
    more: {
      keys: distinct.length,
      instances: rows.rows.length,
      ...figures('warm'),
      ...figures('cold'),
      same_keys: runs.filter(({ sameKey }) => sameKey === 'yes').length,
    },
  };
}

async function makeReady(
  deps: Dependencies,
  environments: ReturnType<typeof createPythonEnvironments>,
  row: InstanceRow,
  context: WorkContext,
): Promise<Timed> {
  const candidate = await deps.store.getJson<Candidate>(row.candidate);
  const laps = [performance.now()];
  const resolved = await environments.resolve(candidate, row.environment.cutoff_policy, context);
  laps.push(performance.now());
  if (!resolved.ok) throw new Error(`${row.instance_id}: ${resolved.rejection.detail}`);
  const spec = await deps.store.getJson<EnvironmentSpec>(resolved.spec);
  const realised = await environments.realise(spec, row.environment.variant, context);
  laps.push(performance.now());
  if (!realised.ok) throw new Error(`${row.instance_id}: ${realised.rejection.detail}`);
  const image = await deps.baseImages.ensure(spec.base, spec.runtimeVersion, spec.systemPackages);
  const subpath = environmentSubpath(resolved.key, row.environment.variant);
  const mount: SandboxMount = { kind: 'store', subpath, target: SANDBOX_PATHS.environment, readOnly: true };
  await inSandbox(deps, context, image, mount, [
    'python3',
    '-I',
    '-c',
    `import site; site.addsitedir('${SANDBOX_PATHS.environment}'); import pytest`,
  ]);
  laps.push(performance.now());
  const [start = 0, locked = 0, made = 0, ready = 0] = laps;
  return {
    lockMs: Math.round(locked - start),
    realiseMs: Math.round(made - locked),
    readyMs: Math.round(ready - made),
    totalMs: Math.round(ready - start),
    sameKey: resolved.key === row.environment.key ? 'yes' : 'no',
  };
}

/** Removes these folders of the store, or all that it holds. */
async function empty(
  deps: Dependencies,
  context: WorkContext,
  row: InstanceRow,
  folders: string,
): Promise<void> {
  const { base, runtime_version: runtime } = row.environment;
  const image = await deps.baseImages.ensure(base, runtime, []);
  const { store } = SANDBOX_PATHS;
  const all = 'find . -mindepth 1 -maxdepth 1 -exec rm -rf {} +';
  const command = ['sh', '-c', `cd ${store} && ${folders === '' ? all : `rm -rf ${folders}`}`];
  await inSandbox(deps, context, image, { kind: 'storeRoot', target: store }, command);
}

async function inSandbox(
  deps: Dependencies,
  context: WorkContext,
  image: string,
  mount: SandboxMount,
  command: readonly string[],
): Promise<void> {
  const { owner } = context;
  const sandbox = await deps.driver.create({
    image,
    owner,
    network: 'none',
    limits: LIMITS,
    mounts: [mount],
  });
  try {
    const result = await sandbox.exec(command, { user: SANDBOX_USERS.root, timeoutMs: 120_000 });
    if (result.exitCode !== 0) throw new Error(result.output.toString('utf8').slice(-500));
  } finally {
    await sandbox.destroy();
  }
}

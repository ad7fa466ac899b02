import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
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

const LIMITS = { memoryBytes: 2 * 1024 ** 3, pids: 256, cpus: 2 };

/**
 * Time of each distinct environment of a campaign with a warm package cache: lock, realise, ready (a container that
 * imports the runner from it). In a store volume of its own, filled first and thrown away: the installation's environments
 * stay as they are, and every round starts without resolutions and without environments.
 */
export async function benchEnvironment(
  deps: Dependencies,
  rows: Rows,
  repeats: number,
): Promise<BenchReport> {
  const installation = randomBytes(6).toString('hex');
  const context: WorkContext = {
    owner: { installation, host: hostname() },
    heartbeat: () => undefined,
    signal: new AbortController().signal,
  };
  const distinct = [...new Map(rows.rows.map((row) => [row.environment.key, row])).values()];
  const scratch = await mkdtemp(join(tmpdir(), 'repoforge-bench-'));
  const runs: Record<string, number | string | null>[] = [];
  const coldMs: number[] = [];
  try {
    for (let round = 0; round <= repeats; round += 1) {
      await emptyEnvironments(deps, context, distinct[0]);
      for (const row of distinct) {
        const records = createFsRecordStore(join(scratch, `${round}`, row.instance_id));
        const timed = await makeReady(
          deps,
          createPythonEnvironments({ ...deps, records, runtimes: [row.environment.runtime_version] }),
          row,
          context,
        );
        if (round === 0) coldMs.push(timed.totalMs);
        else runs.push({ key: row.environment.key.slice(0, 12), round, ...timed });
      }
    }
  } finally {
    await deps.driver.sweep(installation, () => true);
    await connectDocker().getVolume(storeVolumeName(installation)).remove({ force: true });
    await rm(scratch, { recursive: true, force: true });
  }
  const p50 = (field: string): number | null => median(runs.map((run) => Number(run[field])));
  return {
    bench: 'environment',
    figure: p50('totalMs'),
    unit: 'ms',
    what: 'median over distinct environment keys: lock, realise and a container ready with it, package cache warm, no resolution or environment kept',
    target: '<= 3000 ms',
    machine: machineLine(),
    runs,
    more: {
      keys: distinct.length,
      instances: rows.rows.length,
      lock_ms_p50: p50('lockMs'),
      realise_ms_p50: p50('realiseMs'),
      ready_ms_p50: p50('readyMs'),
      first_time_ms_p50: median(coldMs),
    },
  };
}

async function makeReady(
  deps: Dependencies,
  environments: ReturnType<typeof createPythonEnvironments>,
  row: InstanceRow,
  context: WorkContext,
): Promise<{ lockMs: number; realiseMs: number; readyMs: number; totalMs: number; sameKey: string }> {
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

/** Environments go, the package cache stays. */
async function emptyEnvironments(
  deps: Dependencies,
  context: WorkContext,
  row: InstanceRow | undefined,
): Promise<void> {
  if (row === undefined) return;
  const { base, runtime_version: runtime } = row.environment;
  const image = await deps.baseImages.ensure(base, runtime, []);
  const { store } = SANDBOX_PATHS;
  await inSandbox(deps, context, image, { kind: 'storeRoot', target: store }, [
    'sh',
    '-c',
    `rm -rf ${store}/envs ${store}/envs-full`,
  ]);
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

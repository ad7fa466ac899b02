import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, stat, utimes, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { environmentKey } from '../../src/domain/ids.ts';
import { recordNames } from '../../src/domain/records.ts';
import type { EnvironmentSpec } from '../../src/domain/types.ts';
import { collectGarbage } from '../../src/store/gc.ts';
import type { GcDeps, GcReport } from '../../src/store/gc.ts';
import { createLeases } from '../../src/store/leases.ts';
import { createSweepGate } from '../../src/store/sweepGate.ts';
import { environmentWorld } from '../ecosystems/python/environmentWorld.ts';
import type { EnvironmentWorld } from '../ecosystems/python/environmentWorld.ts';

let world: EnvironmentWorld;
let deps: GcDeps;
/** Two locks over the same packages: the larger one has pytest, which the other has not. */
let small: EnvironmentSpec;
let large: EnvironmentSpec;
/** Texts of both locks: whoever resolves puts them again. */
let locks: readonly string[];

beforeAll(async () => {
  world = await environmentWorld();
  const { installation, store, records, mirrors } = world;
  const { paths } = installation.state;
  const gate = createSweepGate(paths.artefacts);
  deps = {
    installation: installation.installation,
    campaignsDir: paths.campaigns,
    store,
    records,
    mirrors,
    gate,
    leases: createLeases(join(installation.stateDir, 'leases'), gate),
    driver: installation.driver,
    image: () => installation.image(),
    log: installation.log,
  };
  const candidate = await world.candidate('gc-project', {
    'pyproject.toml':
      '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n[project]\nname = "gc-project"\nversion = "1.0"\n',
    'gc_project/__init__.py': '',
  });
  large = await world.specOf(await world.environments.resolve(candidate, 'quarter', world.context));
  const entries = (await store.getText(large.lock)).split(/\n(?=\S)/);
  const smaller = `${entries.filter((entry) => !entry.startsWith('pytest==')).join('\n')}\n`;
  small = await world.spec(smaller);
  locks = [smaller, await store.getText(large.lock)];
});
afterAll(async () => world?.installation.cleanup());

const collect = (options: Partial<Parameters<typeof collectGarbage>[1]> = {}): Promise<GcReport> =>
  collectGarbage(deps, { graceMs: 0, dryRun: false, ...options });

/** What keeps an environment: an instance that has resolved to it and has not ended in a rejection. */
const resolvedTo = async (id: string, spec: EnvironmentSpec): Promise<unknown> => {
  for (const lock of locks) await world.store.put(lock);
  return world.records.record(recordNames.stage('camp', id, 'resolve.quarter'), {
    value: { ok: true, key: environmentKey(spec), spec: await world.store.putJson(spec) },
  });
};
const reject = (id: string): Promise<unknown> =>
  world.records.record(recordNames.result('camp', id), { outcome: 'rejected' });

const realise = async (spec: EnvironmentSpec): Promise<boolean> => {
  const outcome = await world.environments.realise(spec, 'pruned', world.context);
  if (!outcome.ok) throw new Error(outcome.rejection.detail);
  return outcome.served;
};
const imports = (spec: EnvironmentSpec, name: string): Promise<string> =>
  world.inEnvironment(environmentKey(spec), `import ${name}; print(${name}.__name__)`);
/** Allocated kilobytes of the volume, and the names of cached archives' distributions. */
const volumeKilobytes = async (): Promise<number> =>
  Number((await world.inStore('du -sk /store')).split('\t')[0]);
const cached = (): Promise<string> =>
  world.inStore('ls -d /store/cache*/archive-v0/*/*.dist-info 2>/dev/null | xargs -rn1 basename | sort -u');

describe('an environment that nothing refers to any more', () => {
  test('goes with the packages that it alone used, and their bytes; the other one stays as it was', async () => {
    await resolvedTo('kept', small);
    await resolvedTo('doomed', large);
    await realise(small);
    await realise(large);
    const mine = await collect();
    expect(mine.environments.removed).toEqual([]); // both are named
    await reject('doomed');
    const before = await volumeKilobytes();

    const plan = await collect({ dryRun: true });
    expect(plan.environments.removed).toEqual([{ key: environmentKey(large), variant: 'pruned' }]);
    expect(await volumeKilobytes()).toBe(before);

    const report = await collect();
    expect(report.environments.removed).toEqual(plan.environments.removed);
    expect(report.packageStore).toMatchObject({ busy: null, archives: 1 });
    const freed = (before - (await volumeKilobytes())) * 1024;
    expect(freed).toBeGreaterThan(500_000); // pytest alone is a megabyte
    expect(Math.abs(report.packageStore.bytes - freed)).toBeLessThan(200_000);
    expect(Math.abs(plan.packageStore.bytes - freed)).toBeLessThan(200_000);
    expect(await cached()).not.toContain('pytest-');
    expect(await cached()).toContain('iniconfig-');
    expect(await imports(small, 'iniconfig')).toBe('iniconfig');
    expect(await world.records.list('environments')).toEqual([`environments/${environmentKey(small)}`]);
    expect(await world.store.has(large.lock)).toBe(true); // the resolution is remembered
  });

  test('is made again when it is asked for, and found when it is asked for twice', async () => {
    await resolvedTo('again', large);
    expect(await realise(large)).toBe(false);
    expect(await imports(large, 'pytest')).toBe('pytest');
    expect(await realise(large)).toBe(true);
    expect(await world.records.read(`environments/${environmentKey(large)}`)).not.toBeNull();
  });

  test('stays within the grace period, and while work that began before it was used goes on', async () => {
    await world.records.remove(recordNames.instance('camp', 'again'));
    expect((await collect({ graceMs: 3_600_000 })).environments.removed).toEqual([]);
    await deps.leases.hold(async () => {
      await realise(large);
      expect((await collect()).environments.removed).toEqual([]);
    });
    expect((await collect()).environments.removed).toHaveLength(1);
  });
});

test('What a rejected instance left goes, what a published one is believed for stays, and a lost mirror is freed', async () => {
  const { store, records, installation } = world;
  const old = new Date(Date.now() - 3_600_000);
  const log = await store.put('a log that evidence names');
  const run = await store.putJson({ log });
  const lost = await store.putJson({ log: await store.put('a log of a rejected instance') });
  await records.record(recordNames.stage('camp', 'bad', 'health.quarter'), { value: { record: lost } });
  await reject('bad');
  const dir = join(installation.state.paths.campaigns, 'camp');
  await mkdir(dir, { recursive: true });
  const candidate = await store.putJson({ mirror: 'pypi__kept' });
  await writeFile(join(dir, 'dataset.jsonl'), `${JSON.stringify({ instance_id: 'good', candidate })}\n`);
  await writeFile(
    join(dir, 'evidence.jsonl'),
    `${JSON.stringify({ evidence: await store.putJson({ run }) })}\n`,
  );
  for (const id of ['pypi__kept', 'pypi__lost']) {
    const { gitDir } = await world.mirrors.create(id);
    for (const entry of ['.', ...(await readdir(gitDir, { recursive: true }))])
      await utimes(join(gitDir, entry), old, old);
  }
  const report = await collect({ graceMs: 0 });
  expect(report.mirrors.removed).toEqual(['pypi__lost']);
  expect(await store.has(run)).toBe(true);
  expect(await store.getText(log)).toBe('a log that evidence names');
  expect(await store.has(lost)).toBe(false);
  expect(await records.list(recordNames.instance('camp', 'bad'))).toEqual([
    recordNames.result('camp', 'bad'),
  ]);
  await stat(join(installation.state.paths.mirrors, 'pypi__kept', 'HEAD'));
});

test('A sweep stops before it removes anything when a referenced artefact cannot be read', async () => {
  const { store, records, installation } = world;
  const inner = await store.put('only the damaged one names this');
  const outer = await store.putJson({ inner });
  await records.record('work/outer', { outer });
  const hex = outer.slice('sha256:'.length);
  await writeFile(
    join(installation.state.paths.artefacts, 'sha256', hex.slice(0, 2), `${hex.slice(2)}.gz`),
    'damaged',
  );
  await expect(collect()).rejects.toThrow(/^Nothing was swept/);
  expect(await store.has(inner)).toBe(true);
  expect(await store.putJson({ inner })).toBe(outer); // whoever makes it again heals it
  await collect();
  expect(await store.getJson(outer)).toEqual({ inner });
});

describe('while gc runs over and over without any grace', () => {
  /** Sweeps until `work` has ended; returns how often, and how many artefacts went. */
  async function sweepingDuring(
    work: Promise<unknown>,
  ): Promise<{ sweeps: number; removed: number; environments: number }> {
    const counts = { sweeps: 0, removed: 0, environments: 0 };
    let over = false;
    const ended = work.finally(() => (over = true));
    ended.catch(() => undefined);
    while (!over) {
      const report = await collect();
      counts.sweeps += 1;
      counts.removed += report.artefacts.removed;
      counts.environments += report.environments.removed.length;
    }
    await ended;
    return counts;
  }

  test('three processes that put and record the same contents lose nothing that they recorded', async () => {
    const writer = async (name: string): Promise<void> => {
      const child = spawn(
        process.execPath,
        [resolve('test/support/gcWriter.ts'), world.installation.stateDir, name, '400'],
        {
          stdio: 'inherit',
        },
      );
      const [code] = (await once(child, 'exit')) as [number];
      expect(code).toBe(0);
    };
    const counts = await sweepingDuring(Promise.all(['a', 'b', 'c'].map(writer)));
    expect(counts.sweeps).toBeGreaterThan(1);
    const names = (await world.records.list('work')).filter((name) => /\/[abc]-/.test(name));
    expect(names).toHaveLength(3 * 267);
    for (const name of names) {
      const record = await world.records.read<{ ref: `sha256:${string}` }>(name);
      const value = await world.store.getJson<{ log: `sha256:${string}` }>(record?.ref ?? 'sha256:');
      expect(await world.store.getText(value.log)).toMatch(/^log \d$/);
    }
    for (const name of names) await world.records.remove(name);
    expect((await collect()).artefacts.removed).toBeGreaterThan(0);
  });

  test('environments that come and go are there whenever they are run, and the packages that they need with them', async () => {
    const specs = [small, large];
    await world.records.remove(recordNames.instance('camp', 'kept'));
    const builder = async (name: string): Promise<void> => {
      for (let round = 0; round < 4; round += 1) {
        const spec = specs[round % 2] ?? small;
        const id = `${name}-${round}`;
        await deps.leases.hold(() => resolvedTo(id, spec));
        await deps.leases.hold(() => realise(spec));
        await deps.leases.hold(async () => {
          expect(await imports(spec, spec === large ? 'pytest' : 'iniconfig')).toMatch(/pytest|iniconfig/);
        });
        await deps.leases.hold(() => reject(id)); // from now on only the other builder may name it, then nobody
      }
    };
    const counts = await sweepingDuring(Promise.all([builder('x'), builder('y')]));
    expect(counts.sweeps).toBeGreaterThan(1);
    expect(counts.environments).toBeGreaterThan(0);
  });
});

import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { environmentKey } from '../../src/domain/ids.ts';
import type { EnvironmentSpec } from '../../src/domain/types.ts';
import { LABELS, storeVolumeName } from '../../src/sandbox/labels.ts';
import { environmentWorld } from '../ecosystems/python/environmentWorld.ts';
import type { EnvironmentWorld } from '../ecosystems/python/environmentWorld.ts';
import { noSmallDisk } from '../support/smallDisk.ts';

const reason = noSmallDisk();
if (reason !== undefined) process.stderr.write(`Skipped, a full package store: ${reason}.\n`);

let world: EnvironmentWorld;
let spec: EnvironmentSpec;
let holder: { destroy(): Promise<void> };
let mountpoint: string;
const resize = (megabytes: number): void =>
  void execFileSync('mount', ['-o', `remount,size=${megabytes}m`, mountpoint]);

beforeAll(async () => {
  if (reason !== undefined) return;
  world = await environmentWorld();
  const { installation, docker, driver } = world.installation;
  // the store's volume is a small file system in memory, for as long as some container has it mounted
  await docker.createVolume({
    Name: storeVolumeName(installation),
    Labels: { [LABELS.installation]: installation },
    DriverOpts: { type: 'tmpfs', device: 'tmpfs', o: 'size=200m' },
  });
  holder = await driver.create({
    image: await world.installation.image(),
    owner: world.context.owner,
    network: 'none',
    limits: { memoryBytes: 64 * 1024 ** 2, pids: 16, cpus: 1 },
    mounts: [{ kind: 'storeRoot', target: '/store' }],
  });
  mountpoint = (await docker.getVolume(storeVolumeName(installation)).inspect()).Mountpoint;
  const candidate = await world.candidate('full-project', {
    'pyproject.toml':
      '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n[project]\nname = "full-project"\nversion = "1.0"\n',
    'full_project/__init__.py': '',
  });
  spec = await world.specOf(await world.environments.resolve(candidate, 'quarter', world.context));
  await world.inStore('rm -rf /store/cache-full');
});
afterAll(async () => {
  await holder?.destroy();
  await world?.installation.cleanup();
});

test.skipIf(reason !== undefined)(
  'A package store that runs full at any point shows no half-made environment, and the same work succeeds once there is room',
  async () => {
    const key = environmentKey(spec);
    const visible = (): Promise<string> =>
      world.inStore('ls /store/envs /store/envs-full 2>/dev/null | grep -v : || true');
    let failures = 0;
    // each try gets a little further: downloading, unpacking, linking, pruning, describing
    for (let megabytes = 1; ; megabytes += 2) {
      resize(megabytes);
      const outcome = await world.environments
        .realise(spec, 'pruned', world.context)
        .catch((error: { type?: string }) => error);
      if ('ok' in outcome) {
        expect(outcome.ok).toBe(true);
        break;
      }
      expect(outcome.type, JSON.stringify(outcome)).toBe('Infra.NoDisk');
      failures += 1;
      expect(await visible()).not.toMatch(/^[0-9a-f]{64}$/m);
    }
    expect(failures).toBeGreaterThan(2);
    resize(200);
    expect(await visible()).toMatch(new RegExp(`^${key}$`, 'm'));
    expect(await world.inEnvironment(key, 'import pytest, setuptools; print(pytest.__name__)')).toBe(
      'pytest',
    );
    // what was unpacked while the disk ran full is whole: every file that the packages list is there with its size
    const check = [
      'import csv, glob, os, sys',
      'bad = [row[0] for record in glob.glob("/env/*.dist-info/RECORD") for row in csv.reader(open(record))',
      '       if row[2] and os.path.exists("/env/" + row[0]) and os.path.getsize("/env/" + row[0]) != int(row[2])]',
      'print(bad)',
    ].join('\n');
    expect(await world.inEnvironment(key, check)).toBe('[]');
  },
);

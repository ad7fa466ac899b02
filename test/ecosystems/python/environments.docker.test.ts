import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { environmentKey } from '../../../src/domain/ids.ts';
import type { Candidate } from '../../../src/domain/types.ts';
import { createDockerDriver } from '../../../src/sandbox/docker.ts';
import { SANDBOX_USERS } from '../../../src/sandbox/types.ts';
import type { Sandbox, SandboxDriver } from '../../../src/sandbox/types.ts';
import { buildNetworkOf } from '../../../src/setup/installer.ts';
import { createPypiSource } from '../../../src/sources/pypi.ts';
import { defaultCacheDir } from '../../../src/setup/state.ts';
import { measurePackageStore } from '../../../src/store/packageStore.ts';
import { eventually } from '../../support/eventually.ts';
import { environmentWorld } from './environmentWorld.ts';
import type { EnvironmentWorld } from './environmentWorld.ts';

let world: EnvironmentWorld;
let neighbours: readonly Candidate[];
/** A real lock of pytest and setuptools, as the first neighbourless candidate got it. */
let lockText: string;

const PYPROJECT =
  '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n[project]\nname = "NAME"\nversion = "1.0"\n';
const project = (name: string): Record<string, string> => ({
  'pyproject.toml': PYPROJECT.replace('NAME', name),
  [`${name.replaceAll('-', '_')}/__init__.py`]: '',
});

beforeAll(async () => {
  world = await environmentWorld();
  neighbours = await realNeighbours(world);
  const candidate = await world.candidate('plain-project', project('plain-project'));
  const spec = await world.specOf(await world.environments.resolve(candidate, 'quarter', world.context));
  lockText = await world.store.getText(spec.lock);
});
afterAll(async () => world?.installation.cleanup());

/** sqlparse 0.5.5 and 0.6.0, whose bases were both published in the last quarter of 2025. */
async function realNeighbours({
  installation,
  store,
  mirrors,
  context,
}: EnvironmentWorld): Promise<readonly Candidate[]> {
  const { indexUrl, extraIndexUrls } = installation.installer;
  const source = createPypiSource({
    name: 'sqlparse',
    indexUrls: [indexUrl, ...extraIndexUrls].filter((url) => url !== null),
    store,
    mirrors,
    cacheDir: defaultCacheDir(),
    limits: {
      maxSourceFiles: 50,
      maxPatchBytes: 1e6,
      since: '2025-12-01T00:00:00Z',
      until: '2026-08-14T00:00:00Z',
      maxCandidates: 2,
    },
    log: installation.log,
  });
  const page = await source.minePage(null, 10, context);
  return Promise.all(
    page.entries.flatMap((entry) => (entry.ok ? [store.getJson<Candidate>(entry.candidate)] : [])),
  );
}

/** Counts the containers that a driver starts. */
function counting(driver: SandboxDriver): { readonly driver: SandboxDriver; readonly started: () => number } {
  let started = 0;
  return {
    driver: { ...driver, create: (spec) => ((started += 1), driver.create(spec)) },
    started: () => started,
  };
}

describe('neighbouring releases of a real package', () => {
  test('get equal locks, equal keys and one environment, without the project in it', async () => {
    expect(neighbours.map((candidate) => candidate.version).toSorted()).toEqual(['0.5.5', '0.6.0']);
    const outcomes = await Promise.all(
      neighbours.map((one) => world.environments.resolve(one, 'quarter', world.context)),
    );
    const [first, second] = outcomes;
    if (first === undefined || second === undefined) throw new Error('two outcomes');
    expect(outcomes.map((outcome) => outcome.ok && outcome.cutoff)).toEqual([
      '2025-10-01T00:00:00Z',
      '2025-10-01T00:00:00Z',
    ]);
    expect(first.ok && first.key).toBe(second.ok && second.key);
    const spec = await world.specOf(first);
    const lock = await world.store.getText(spec.lock);
    expect(lock).toMatch(/^pytest==8\.\d/m);
    expect(lock).toMatch(/^hatchling==/m);
    expect(lock).not.toMatch(/^sqlparse==/m);

    const made = await world.environments.realise(spec, 'pruned', world.context);
    const again = await world.environments.realise(await world.specOf(second), 'pruned', world.context);
    expect(made).toMatchObject({ ok: true, served: false, copiedFiles: 0 });
    expect(again).toMatchObject({ ok: true, served: true });
    for (const candidate of neighbours)
      expect(await world.environments.checkLeaks(candidate, made.key)).toBeNull();
    expect(
      await world.inEnvironment(
        made.key,
        'import pytest, hatchling.build, editables; print(pytest.__version__)',
      ),
    ).toMatch(/^8\./);
  });

  test('are resolved again without a container', async () => {
    const { driver, started } = counting(world.installation.driver);
    const [candidate] = neighbours;
    if (candidate === undefined) throw new Error('a candidate');
    expect(await world.over(driver).resolve(candidate, 'quarter', world.context)).toMatchObject({ ok: true });
    expect(started()).toBe(0);
  });
});

describe('the package store', () => {
  test('gives four environments made at once one copy of what they share', async () => {
    const specs = await Promise.all(
      ['a', 'b', 'c', 'd'].map((name) => world.spec(lockText, { pruneRules: `1;keep=none-${name}` })),
    );
    const made = await Promise.all(
      specs.map((spec) => world.environments.realise(spec, 'pruned', world.context)),
    );
    expect(made.map((outcome) => outcome.ok && outcome.copiedFiles)).toEqual([0, 0, 0, 0]);
    const sizes = await measure();
    const keys = new Set(specs.map(environmentKey));
    const ours = sizes.environments.filter((environment) => keys.has(environment.key));
    expect(ours).toHaveLength(4);
    // what is an environment's own: its directories and the installer's few records, not the packages' files
    for (const { bytes, uniqueBytes, sharedOutBytes } of ours) {
      expect(uniqueBytes).toBeLessThan(bytes * 0.25);
      expect(sharedOutBytes).toBeLessThan(bytes * 0.5);
    }
    expect(sizes.copiedBytes).toBe(0);
  });

  test('works without network once its packages are cached, and says Infra when they are not', async () => {
    const { installer, log } = world.installation;
    const offline = world.over(
      createDockerDriver({ log, buildNetwork: { ...buildNetworkOf(installer), network: 'none' } }),
    );
    const cached = await world.spec(lockText, { pruneRules: '1;keep=none-offline' });
    expect(await offline.realise(cached, 'pruned', world.context)).toMatchObject({ ok: true, served: false });
    const other = await world.candidate('needs-more', {
      ...project('needs-more'),
      'test-requirements.txt': 'tomlkit\n',
    });
    await expect(offline.resolve(other, 'quarter', world.context)).rejects.toMatchObject({
      type: 'Infra',
      nonRetryable: false,
    });
  });

  test('makes a whole environment after an attempt that was killed in the middle', async () => {
    const spec = await world.spec(lockText, { pruneRules: '1;keep=none-killed' });
    const key = environmentKey(spec);
    // what attempts leave that die before their environment is whole
    await world.inStore(
      `mkdir -p /store/envs/${key}/pytest /store/envs/.tmp-${key.slice(0, 16)}-gone && touch /store/envs/${key}/pytest/__init__.py`,
    );
    const { driver } = world.installation;
    const killer: SandboxDriver = {
      ...driver,
      create: async (request) => dyingInTheMiddle(await driver.create(request)),
    };
    await expect(world.over(killer).realise(spec, 'pruned', world.context)).rejects.toMatchObject({
      type: 'Infra',
    });
    expect(await world.environments.realise(spec, 'pruned', world.context)).toMatchObject({
      ok: true,
      served: false,
      key,
    });
    expect(
      await world.inEnvironment(key, 'import _pytest, pytest, setuptools; print(pytest.ExitCode.OK.value)'),
    ).toBe('0');
    expect(await world.inStore('ls -A /store/envs | grep -c "^.tmp-" || true')).toBe('0');
  });

  test('fetches a package again of which the cache has only a part, and makes no environment of the part', async () => {
    const file = '_pytest/fixtures.py';
    await world.inStore(`rm /store/cache*/archive-v0/*/${file}; ! ls /store/cache*/archive-v0/*/${file}`);
    for (const variant of ['pruned', 'full'] as const) {
      const spec = await world.spec(lockText, { pruneRules: `1;keep=none-part-${variant}` });
      const made = await world.environments.realise(spec, variant, world.context);
      expect(made).toMatchObject({ ok: true, served: false, copiedFiles: 0 });
      const area = variant === 'pruned' ? 'envs' : 'envs-full';
      expect(await world.inStore(`ls /store/${area}/${made.key}/${file}`)).toMatch(/fixtures\.py$/);
    }
    expect(await world.inStore('ls -A /store/cache /store/cache-full | grep -c "^.linking-" || true')).toBe(
      '0',
    );
  });

  test('prunes third-party tests and build leftovers from cache and environment alike, and keeps them in the full variant', async () => {
    const spec = await world.spec(lockText);
    const pruned = await world.environments.realise(spec, 'pruned', world.context);
    const full = await world.environments.realise(spec, 'full', world.context);
    if (!pruned.ok || !full.ok) throw new Error('both variants');
    expect(pruned.prunedBytes).toBeLessThan(pruned.fullBytes);
    expect(full.prunedBytes).toBe(full.fullBytes);
    expect(full.fullBytes).toBe(pruned.fullBytes);
    const listing = 'find $DIR \\( -name "*.exe" -o -name "*.pyc" -o -path "*/setuptools/tests" \\) | wc -l';
    expect(await world.inStore(`DIR="/store/envs/${pruned.key} /store/cache/archive-v0"; ${listing}`)).toBe(
      '0',
    );
    expect(Number(await world.inStore(`DIR=/store/envs-full/${full.key}; ${listing}`))).toBeGreaterThan(0);
    // the two variants hold the same inodes: the working cache costs only what was pruned
    const same = `/pytest/__init__.py`;
    expect(
      await world.inStore(
        `test /store/envs/${pruned.key}${same} -ef /store/envs-full/${full.key}${same} && echo same`,
      ),
    ).toBe('same');
  });

  test.each([
    ['a wrong hash', 'six==1.16.0 \\\n    --hash=sha256:' + '0'.repeat(64) + '\n', /hash/i],
    ['a version that does not exist', 'six==0.0.99 \\\n    --hash=sha256:' + '0'.repeat(64) + '\n', /six/],
  ])('answers unbuildable to a lock with %s', async (_title, lock, detail) => {
    const outcome = await world.environments.realise(await world.spec(lock), 'pruned', world.context);
    expect(outcome).toMatchObject({
      ok: false,
      rejection: { reason: 'unbuildable', detail: expect.stringMatching(detail) as string },
    });
  });
});

describe('the project is never in its environment', () => {
  test('a copy of more-itertools inside setuptools is found', async () => {
    const spec = await world.spec(lockText);
    const made = await world.environments.realise(spec, 'pruned', world.context);
    const candidate = await world.candidate('more-itertools', project('more-itertools'));
    const leak = await world.environments.checkLeaks(candidate, made.key);
    expect(leak).toMatchObject({
      reason: 'leak',
      detail: expect.stringContaining('_vendor/more_itertools/') as string,
    });
  });

  test('a build back end that carried the project is taken of a day when it does not', async () => {
    const candidate = await world.candidate(
      'tomlkit',
      {
        'pyproject.toml':
          '[build-system]\nrequires=["poetry-core>=1"]\nbuild-backend="poetry.core.masonry.api"\n[tool.poetry]\nname="tomlkit"\n',
        'tomlkit/__init__.py': '',
      },
      { baseCreatedAt: '2023-02-15T00:00:00Z', createdAt: '2023-05-01T00:00:00Z' },
    );
    const outcome = await world.environments.resolve(candidate, 'quarter', world.context);
    const spec = await world.specOf(outcome);
    const made = await world.environments.realise(spec, 'pruned', world.context);
    expect(await world.environments.checkLeaks(candidate, made.key)).toBeNull();
    expect(
      await world.inEnvironment(
        made.key,
        'import poetry.core.masonry.api as api; print(callable(api.build_editable))',
      ),
    ).toBe('True');
  });

  test('a test requirement that needs the project does not bring it', async () => {
    const candidate = await world.candidate('sortedcontainers', {
      ...project('sortedcontainers'),
      'test-requirements.txt': 'hypothesis\n',
    });
    const spec = await world.specOf(await world.environments.resolve(candidate, 'quarter', world.context));
    const lock = await world.store.getText(spec.lock);
    expect(lock).toMatch(/^hypothesis==/m);
    expect(lock).not.toMatch(/^sortedcontainers==/m);
  });
});

test('requirements that only a build can tell are found by a real metadata build', async () => {
  const candidate = await world.candidate('dynamic-project', {
    'setup.py':
      "from setuptools import setup\nneeds = ['si' + 'x']\nsetup(name='dynamic-project', version='1.0', py_modules=['dynamic_project'], install_requires=needs, extras_require={'tests': ['fre' + 'ezegun']})\n",
    'dynamic_project.py': '',
  });
  const spec = await world.specOf(await world.environments.resolve(candidate, 'quarter', world.context));
  const lock = await world.store.getText(spec.lock);
  expect(lock).toMatch(/^six==/m);
  expect(lock).toMatch(/^freezegun==/m);
});

test.each([
  ['no_runtime', 'a project that needs another Python', '[project]\nname="a"\nrequires-python=">=3.99"\n'],
  [
    'unresolvable',
    'a run-time requirement that no index has',
    '[project]\nname="a"\ndependencies=["pytest>99999"]\n',
  ],
  ['not_python', 'no project at all', '[tool.black]\n'],
  [
    'unbuildable',
    'Rust sources',
    '[build-system]\nrequires=["maturin"]\nbuild-backend="maturin"\n[project]\nname="a"\n',
  ],
] as const)('%s: %s', async (reason, _title, pyproject) => {
  const candidate = await world.candidate('refused', { 'pyproject.toml': pyproject });
  const outcome = await world.environments.resolve(candidate, 'quarter', world.context);
  expect(outcome).toMatchObject({ ok: false, rejection: { reason } });
});

test('no container is left over', async () => {
  const { driver, installation } = world.installation;
  await eventually('every container is gone', async () => (await driver.list(installation)).length === 0);
});

/** A store container whose installer stops after its work, and which is then killed: files linked, nothing finished. */
function dyingInTheMiddle(sandbox: Sandbox): Sandbox {
  const asRoot = { user: SANDBOX_USERS.root, timeoutMs: 60_000 };
  const script = '#!/bin/sh\\n%s.real "$@" || exit $?\\ntouch /tmp/installed; sleep 60\\n';
  const slow = `uv=$(command -v uv) && mv $uv $uv.real && printf '${script}' $uv > $uv && chmod 755 $uv`;
  return {
    ...sandbox,
    exec: async (command, options) => {
      const prepared = await sandbox.exec(['sh', '-c', slow], asRoot);
      expect(prepared.exitCode).toBe(0);
      const running = sandbox.exec(command, options);
      const killed = sandbox
        .exec(
          ['sh', '-c', 'until [ -e /tmp/installed ]; do sleep 0.05; done; ls -d /store/envs/.tmp-*/pytest'],
          asRoot,
        )
        .then(async (seen) => {
          expect(seen.exitCode).toBe(0);
          await world.installation.docker.getContainer(sandbox.id).kill();
        });
      const [result] = await Promise.allSettled([running, killed]);
      if (result.status === 'rejected') throw result.reason;
      return result.value;
    },
  };
}

async function measure(): ReturnType<typeof measurePackageStore> {
  const image = await world.installation.image();
  return measurePackageStore({ driver: world.installation.driver, image }, world.context.owner);
}

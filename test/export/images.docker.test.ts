import { Readable } from 'node:stream';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Sandbox } from '../../src/sandbox/types.ts';
import { buildImages, checkImages, cleanImages, type ImageDependencies } from '../../src/export/images.ts';
import { SANDBOX_USERS } from '../../src/sandbox/types.ts';
import { testInstallation, type TestInstallation } from '../support/docker.ts';
import { makeRow } from '../evaluation/rows.ts';

const TEST_RUNTIME_VERSION = '3.11';
const limits = { memoryBytes: 512 * 1024 ** 2, pids: 64, cpus: 1 };
let test: TestInstallation;
let namespace = '';
let deps: ImageDependencies;

async function run(sandbox: Sandbox, script: string, user: string = SANDBOX_USERS.root): Promise<string> {
  const result = await sandbox.exec(['bash', '-ec', script], { user, timeoutMs: 60_000 });
  if (result.exitCode !== 0) throw new Error(result.output.toString());
  return result.stdout.toString();
}

const row = (id: string, changes: object = {}) =>
  makeRow({
    instance_id: id,
    environment: {
      ...makeRow().environment,
      base:
        test.baseImages.available().find((one) => one.runtimeVersion === TEST_RUNTIME_VERSION)?.base ?? '',
      runtime_version: TEST_RUNTIME_VERSION,
    },
    ...changes,
  });

/** A workspace as a run makes one, but tiny: one file, one commit, and something that an install left in the tree. */
async function prepareWorkspace(
  sandbox: Sandbox,
  { instance_id: id }: { instance_id: string },
): Promise<void> {
  const tar = pack();
  tar.entry({ name: 'a.py', uid: 1000, gid: 1000 }, `NAME = '${id}'\n`);
  tar.finalize();
  await sandbox.putTree(Readable.from(tar as AsyncIterable<Buffer>, { objectMode: false }), '/testbed');
  await run(
    sandbox,
    'cd /testbed && git init -q && git add -A && git -c user.name=t -c user.email=t@t commit -qm base && mkdir -p a.egg-info && touch a.egg-info/PKG-INFO',
    SANDBOX_USERS.test,
  );
}

beforeAll(async () => {
  test = await testInstallation();
  namespace = `rf-test-${test.installation}`;
  const owner = { installation: test.installation, host: 'test' };
  await test.driver.ensureStoreVolume(test.installation);
  const image = await test.image();
  const filler = await test.driver.create({
    image,
    owner,
    network: 'none',
    limits,
    mounts: [{ kind: 'storeRoot', target: '/store' }],
  });
  await run(filler, 'mkdir -p /store/envs/one && echo "X = 1" > /store/envs/one/inenv.py');
  await filler.destroy();
  deps = {
    docker: test.docker,
    driver: test.driver,
    baseImages: test.baseImages,
    owner,
    log: test.log,
    environmentSubpath: () => Promise.resolve('envs/one'),
    prepareWorkspace,
  };
}, 600_000);

afterAll(async () => {
  await cleanImages(test.docker, test.installation);
  await test.cleanup();
});

const imagesOf = (ids: readonly string[]) =>
  ids.map((id) => `${namespace}/sweb.eval.x86_64.${id.replace('__', '_1776_')}:latest`);

describe('exported images', () => {
  it('a dry run names what would be built and builds nothing', async () => {
    const report = await buildImages(deps, { rows: [row('a__a-1')], namespace, dryRun: true });
    expect(report).toMatchObject({
      built: 0,
      images: [{ state: 'planned', image: imagesOf(['a__a-1'])[0] }],
    });
    expect((await checkImages(test.docker, imagesOf(['a__a-1']))).missing).toEqual(imagesOf(['a__a-1']));
  });

  it('instances of one environment share its layer, and a second build finds them present', async () => {
    const rows = [row('a__a-1'), row('a__a-2')];
    const report = await buildImages(deps, { rows, namespace });
    expect(report.images.map((image) => image.problem)).toEqual([null, null]);
    expect(report).toMatchObject({ built: 2, failed: 0, environments: 1 });
    const layers = await Promise.all(
      [...imagesOf(['a__a-1', 'a__a-2']), report.images[0]?.environmentImage ?? ''].map(
        async (image) => (await test.docker.getImage(image).inspect()).RootFS.Layers ?? [],
      ),
    );
    const shared = layers[2]?.length ?? 0;
    expect(layers[0]?.slice(0, shared)).toEqual(layers[2]);
    expect(layers[1]?.slice(0, shared)).toEqual(layers[2]);
    expect(layers[0]).toHaveLength(shared + 1);
    expect(layers[0]?.at(-1)).not.toBe(layers[1]?.at(-1));
    expect(await buildImages(deps, { rows, namespace })).toMatchObject({ built: 0, present: 2 });
    const changed = row('a__a-1', { FAIL_TO_PASS: ['other'] });
    expect(await buildImages(deps, { rows: [changed], namespace })).toMatchObject({ built: 1 });
  });

  it('root can apply a patch in them, the environment is inside, and git clean spares what the install left', async () => {
    // as other harnesses start them: root with the daemon's usual capabilities
    const [image = ''] = imagesOf(['a__a-2']);
    const patch = "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-NAME = 'a__a-2'\n+NAME = 'x'\n";
    const script = `git apply --verbose - <<'EOF'\n${patch}EOF\ncat a.py; git checkout -q -- . ; git clean -fdq; cat a.py /env/inenv.py; ls -1; pwd`;
    const container = await test.docker.createContainer({
      Image: image,
      Cmd: ['bash', '-ec', script],
      Tty: true, // one plain stream
      Labels: { 'repoforge.installation': test.installation },
      HostConfig: { NetworkMode: 'none' },
    });
    try {
      await container.start();
      await container.wait();
      const output = await container.logs({ stdout: true, stderr: false });
      const text = (output as unknown as Buffer).toString('utf8').replaceAll('\r\n', '\n');
      expect(text).toContain("NAME = 'x'\n");
      expect(text.slice(text.indexOf("NAME = 'a__a-2'"))).toBe(
        "NAME = 'a__a-2'\nX = 1\na.egg-info\na.py\n/testbed\n",
      );
    } finally {
      await container.remove({ force: true });
    }
  });

  it('a container that somebody else starts from them does not look like one of our runs', async () => {
    const { Config: config } = await test.docker.getImage(imagesOf(['a__a-2'])[0] ?? '').inspect();
    expect(config.WorkingDir).toBe('/testbed');
    expect(config.Labels?.['repoforge.installation']).toBe('');
    expect(config.Labels?.['repoforge.base'] ?? '').toBe('');
    expect(config.Labels?.['repoforge.image.installation']).toBe(test.installation);
  });

  it('one row whose workspace fails is reported and does not stop the others', async () => {
    const rows = [row('b__b-1'), row('b__b-2')];
    const report = await buildImages(
      {
        ...deps,
        prepareWorkspace: async (sandbox, one) => {
          if (one.instance_id === 'b__b-1') throw new Error('the tree does not arrive');
          await prepareWorkspace(sandbox, one);
        },
      },
      { rows, namespace },
    );
    expect(report).toMatchObject({
      built: 1,
      failed: 1,
      images: [{ state: 'failed', problem: 'the tree does not arrive' }, { state: 'built' }],
    });
    expect(await test.driver.list(test.installation)).toEqual([]);
  });

  it('clean removes the images of this installation and no others', async () => {
    const before = await cleanImages(test.docker, test.installation, { dryRun: true });
    expect(before).toHaveLength(4);
    expect(await cleanImages(test.docker, test.installation)).toEqual(before);
    expect(await cleanImages(test.docker, test.installation)).toEqual([]);
    expect((await checkImages(test.docker, before)).missing).toEqual(before);
  });
});

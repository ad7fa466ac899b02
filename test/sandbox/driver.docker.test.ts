import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Readable } from 'node:stream';
import { extract, pack } from 'tar-stream';
import { SANDBOX_PATHS, SANDBOX_USERS, type Sandbox } from '../../src/sandbox/types.ts';
import { testInstallation, type TestInstallation } from '../support/docker.ts';
import { sandboxSpec } from './sandboxSpec.ts';

let own: TestInstallation;
let base: { image: string; installation: string };
let sandbox: Sandbox;
const asTest = { user: SANDBOX_USERS.test, timeoutMs: 20_000 };
const shell = async (
  script: string,
  user: string = SANDBOX_USERS.test,
  box: Sandbox = sandbox,
): Promise<string> => {
  const { exitCode, output } = await box.exec(['sh', '-c', script], { ...asTest, user });
  return `${exitCode} ${output.toString()}`.trim();
};

beforeAll(async () => {
  own = await testInstallation();
  base = { image: await own.image(), installation: own.installation };
  sandbox = await own.driver.create(sandboxSpec(base));
});
afterAll(async () => own.cleanup());

describe('inside a sandbox', () => {
  it('there is no network but loopback', async () => {
    const devices = await shell('ls /sys/class/net');
    expect(devices).toBe('0 lo');
    const connect = 'import socket; socket.create_connection(("192.0.2.1", 80), 2)';
    const result = await sandbox.exec(['python3', '-c', connect], asTest);
    expect(result.stderr.toString()).toContain('Network is unreachable');
  });

  it('the test user cannot write what root or the build user owns, nor become root', async () => {
    for (const path of [
      SANDBOX_PATHS.venv,
      SANDBOX_PATHS.runner,
      SANDBOX_PATHS.environment,
      '/usr/lib',
      '/etc',
    ]) {
      expect(await shell(`touch ${path}/x`)).toMatch(/Permission denied/);
    }
    for (const path of [SANDBOX_PATHS.repo, SANDBOX_PATHS.output, '/tmp', '$HOME']) {
      expect(await shell(`touch ${path}/x && rm ${path}/x`)).toBe('0');
    }
    expect(await shell('grep CapEff /proc/self/status', SANDBOX_USERS.root)).toMatch(/0000000000000000$/);
    expect(await shell('grep NoNewPrivs /proc/self/status')).toMatch(/1$/);
  });

  it('git, Python with its standard library, a writable virtual environment and uv are there, in UTF-8', async () => {
    const python =
      'import ssl, sqlite3, ctypes, lzma, bz2, zoneinfo, locale; zoneinfo.ZoneInfo("Europe/Berlin"); print(locale.getpreferredencoding())';
    expect(await shell(`python -c '${python}'`)).toBe('0 UTF-8');
    expect(await shell('uv --version')).toMatch(/^0 uv \d/);
    expect(await shell('python3 -m venv --without-pip /tmp/v && /tmp/v/bin/python -c "print(1)"')).toBe(
      '0 1',
    );
    expect(await shell('echo $HOME', SANDBOX_USERS.build)).toBe('0 /home/build');
  });
});

describe('files', () => {
  it('come out as they went in, with the owner and mode of the tar', async () => {
    const tar = pack();
    const content = Buffer.from([0, 1, 2, 255, 10]);
    tar.entry({ name: 'sub', type: 'directory', uid: 1000, gid: 1000, mode: 0o755 });
    tar.entry({ name: 'sub/a.bin', uid: 1000, gid: 1000, mode: 0o640 }, content);
    tar.entry({ name: 'sub/root.txt', uid: 0, gid: 0, mode: 0o644 }, 'root');
    tar.finalize();
    await sandbox.putTree(tar as unknown as Readable, '/testbed');
    expect(await sandbox.getFile('/testbed/sub/a.bin', 100)).toEqual(content);
    expect(await shell('stat -c "%u:%g %a" /testbed/sub/a.bin')).toBe('0 1000:1000 640');
    expect(await shell('echo x >> /testbed/sub/root.txt')).toMatch(/Permission denied/);
    const names: string[] = [];
    const unpack = extract();
    (await sandbox.getTree('/testbed/sub')).pipe(unpack);
    for await (const entry of unpack) {
      names.push(entry.header.name);
      entry.resume();
    }
    expect(names.sort()).toEqual(['sub/', 'sub/a.bin', 'sub/root.txt']);
  });

  it('that are missing, directories, links or pipes are null, and none is followed out of its place', async () => {
    await shell('ln -s /etc/passwd /output/link; mkfifo /output/pipe');
    for (const path of ['/output/missing', '/nowhere/at/all', '/output', '/output/link', '/output/pipe']) {
      expect(await sandbox.getFile(path, 1_000_000)).toBeNull();
    }
  });

  it('say nothing when their container was stopped from outside: neither missing nor complete', async () => {
    const box = await own.driver.create(sandboxSpec(base));
    await own.docker.getContainer(box.id).kill();
    await expect(box.getFile('/output/missing', 100)).rejects.toThrow(/stopped from outside/);
    const drain = async (): Promise<void> => {
      for await (const chunk of await box.getTree('/testbed')) void chunk;
    };
    await expect(drain()).rejects.toThrow(/stopped from outside|is not running/);
    await box.destroy();
  });

  it('over the limit are refused by their size, before they are read', async () => {
    await shell('truncate -s 6G /output/huge');
    const startedAt = Date.now();
    await expect(sandbox.getFile('/output/huge', 1_000)).rejects.toThrow(
      /6442450944 bytes, more than the 1000/,
    );
    expect(Date.now() - startedAt).toBeLessThan(5_000);
    await shell('rm /output/huge');
  });

  it('cannot be put where there is no directory', async () => {
    await expect(sandbox.putTree(Buffer.alloc(1024), '/not/there')).rejects.toMatchObject({ type: 'Infra' });
  });
});

describe('the diff of a working tree', () => {
  it('has changed, new and binary files, applies to the base, and heeds no configuration of the repository', async () => {
    const setUp = `cd /testbed && rm -rf * && git init -q && git config user.name a && git config user.email a@b
      printf 'one\\ntwo\\n' > f.txt && printf 'gone\\n' > old.txt && git add -A && git commit -qm base
      git config diff.noprefix true && git config diff.external /bin/false && git config core.fsmonitor /bin/false
      printf 'one\\nTWO\\n' > f.txt && git commit -qam later && printf '\\000\\001' > new.bin && rm old.txt && mkdir d && echo x > d/n.txt`;
    expect(await shell(setUp)).toBe('0');
    const before = await shell('cd /testbed && git status --porcelain');
    const diff = await sandbox.diff('/testbed');
    expect(diff.toString()).toMatch(/^diff --git a\/d\/n.txt b\/d\/n.txt/);
    expect(diff.toString()).toContain('+TWO');
    expect(diff.toString()).toContain('GIT binary patch');
    expect(diff.toString()).toContain('deleted file mode');
    expect(await shell('cd /testbed && git status --porcelain')).toBe(before);
    const apply = await sandbox.exec(
      [
        'sh',
        '-c',
        'git clone -q /testbed /tmp/c && cd /tmp/c && git checkout -q HEAD~1 && git apply --check -',
      ],
      { ...asTest, stdin: diff },
    );
    expect(apply.output.toString()).toBe('');
    expect(apply.exitCode).toBe(0);
  });
});

describe('mounts', () => {
  it('refuse a source that is missing, on the host and in the store, and leave no container', async () => {
    const mounts = [
      { kind: 'host', source: '/no/such/source', target: '/x', readOnly: true },
      { kind: 'store', subpath: 'envs/missing', target: '/env', readOnly: true },
    ] as const;
    for (const mount of mounts) {
      const create = own.driver.create(
        sandboxSpec(base, { mounts: [mount], owner: { campaign: 'missing' } }),
      );
      await expect(create).rejects.toThrow(/mount's source is missing/);
    }
    const left = (await own.driver.list(own.installation)).filter(
      ({ labels }) => labels['repoforge.campaign'] === 'missing',
    );
    expect(left).toEqual([]);
  });

  it('show exactly one directory of the store, and read-only means it', async () => {
    const store = await own.driver.create(
      sandboxSpec(base, { mounts: [{ kind: 'storeRoot', target: '/store' }] }),
    );
    expect(
      await shell(
        'mkdir -p /store/envs/a /store/envs/b && echo 1 > /store/envs/a/f',
        SANDBOX_USERS.root,
        store,
      ),
    ).toBe('0');
    const mount = { kind: 'store', subpath: 'envs/a', target: '/env', readOnly: true } as const;
    const user = await own.driver.create(sandboxSpec(base, { mounts: [mount] }));
    expect(await shell('cat /env/f; ls /env/..  | grep -c envs', SANDBOX_USERS.test, user)).toBe('1 1\n0');
    expect(await shell('echo 2 > /env/f', SANDBOX_USERS.root, user)).toMatch(/Read-only file system/);
    await Promise.all([store.destroy(), user.destroy()]);
  });
});

describe('what is left over', () => {
  const activity = { workflowId: 'w', runId: 'r', activityId: '1' };

  it('by an earlier attempt of the same activity is removed by the next one; another activity is left alone', async () => {
    const first = await own.driver.create(sandboxSpec(base, { owner: { ...activity, attempt: 1 } }));
    const other = await own.driver.create(
      sandboxSpec(base, { owner: { ...activity, activityId: '2', attempt: 1 } }),
    );
    const second = await own.driver.create(sandboxSpec(base, { owner: { ...activity, attempt: 2 } }));
    const ids = (await own.driver.list(own.installation)).map(({ id }) => id);
    expect(ids).not.toContain(first.id);
    expect(ids).toEqual(expect.arrayContaining([other.id, second.id]));
    await Promise.all([first.destroy(), other.destroy(), second.destroy()]);
  });

  it('is swept in its own installation only', async () => {
    await using stranger = await testInstallation();
    const theirs = await stranger.driver.create(
      sandboxSpec({ ...base, installation: stranger.installation }),
    );
    const mine = await own.driver.create(sandboxSpec(base, { owner: { campaign: 'sweep' } }));
    const swept = await own.driver.sweep(
      own.installation,
      (labels) => labels['repoforge.campaign'] === 'sweep',
    );
    expect(swept).toBe(1);
    expect((await own.driver.list(own.installation)).map(({ id }) => id)).not.toContain(mine.id);
    expect((await stranger.driver.list(stranger.installation)).map(({ id }) => id)).toEqual([theirs.id]);
  });

  it('can be destroyed twice, and by several at once', async () => {
    const box = await own.driver.create(sandboxSpec(base));
    await Promise.all([box.destroy(), box.destroy()]);
    await expect(box.destroy()).resolves.toBeUndefined();
  });

  it('a command in a container that was removed is an infrastructure failure, never a result', async () => {
    const box = await own.driver.create(sandboxSpec(base));
    const running = box.exec(['sleep', '30'], asTest);
    setTimeout(() => void own.docker.getContainer(box.id).remove({ force: true }), 300);
    await expect(running).rejects.toMatchObject({ type: 'Infra' });
    await expect(box.exec(['true'], asTest)).rejects.toMatchObject({ type: 'Infra' });
  });
});

describe('the daemon', () => {
  it('tells its version, and whether an image is there', async () => {
    expect(await own.driver.ping()).toMatchObject({ apiVersion: expect.stringMatching(/^\d+\.\d+$/) });
    expect(await own.driver.imageExists(base.image)).toBe(true);
    expect(await own.driver.imageExists('repoforge-base:no-such-tag')).toBe(false);
  });

  it('that lacks an image says so in one sentence', async () => {
    const create = own.driver.create(sandboxSpec({ ...base, image: 'repoforge-base:no-such-tag' }));
    await expect(create).rejects.toThrow(/not on this machine/);
  });

  it('names the store volume by the installation and labels it', async () => {
    const name = await own.driver.ensureStoreVolume(own.installation);
    expect(name).toBe(`repoforge-${own.installation}-store`);
    const { Labels } = await own.docker.getVolume(name).inspect();
    expect(Labels).toEqual({ 'repoforge.installation': own.installation });
  });
});

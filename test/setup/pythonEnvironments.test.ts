import { chmod, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findHostPython } from '../../src/setup/hostPython.ts';
import type { Installer } from '../../src/setup/installer.ts';
import {
  ensurePythonEnvironment,
  inspectPythonEnvironment,
  type PythonEnvironmentName,
} from '../../src/setup/pythonEnvironments.ts';

/** Programs that stand for Python and uv; what they really make is proven in the layer `rl`. */
let dir: string;
let tools: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-python-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));
beforeEach(async () => {
  tools = await mkdtemp(join(dir, 'tools-'));
});

async function program(path: string, script: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
}
const python = (name: string, version: string): Promise<void> =>
  program(join(tools, name), `echo ${version}; echo ${join(tools, name)}`);

describe('the Python of this host', () => {
  // /usr/bin/python3 is looked at whatever PATH says: these tests hold with it and without it
  it('is the first of the range, python3 before others', async () => {
    await python('python3', '3.12.4');
    await python('python3.13', '3.13.0');
    expect(await findHostPython({ PATH: tools })).toEqual({
      version: '3.12.4',
      program: join(tools, 'python3'),
    });
  });

  it.each(['3.10.9', '3.14.1', '2.7.18', 'nonsense'])('is not %s', async (version) => {
    await python('python3', version);
    await python('python3.11', '3.11.2');
    const found = await findHostPython({ PATH: tools }).catch((error: Error) => error);
    expect(JSON.stringify(found)).not.toContain(version);
  });
});

const installer: Installer = {
  indexUrl: 'http://127.0.0.1:9/simple',
  extraIndexUrls: [],
  caBundle: null,
  proxyEnv: {},
  dockerNetwork: 'bridge',
};

describe('a Python environment', () => {
  const settings = (cacheDir: string, own: Partial<Record<PythonEnvironmentName, string>> = {}) => ({
    cacheDir,
    trainerPython: own.trainer ?? null,
    vllmPython: own.vllm ?? null,
  });

  /** A cache in which uv is there already: one that notes its arguments and fails when told to. */
  async function cacheWithUv(script: string): Promise<string> {
    const cacheDir = await mkdtemp(join(dir, 'cache-'));
    const { UV_VERSION } = await import('../../src/sandbox/uv.ts');
    const bin = join(cacheDir, 'uv', `${UV_VERSION}-${process.arch}`, 'bin');
    await mkdir(bin, { recursive: true });
    await program(join(bin, 'uv'), script);
    return cacheDir;
  }
  const makes = (): string =>
    `echo "$@" >> ${join(tools, 'asked')}
for folder; do :; done
if [ "$1" = venv ]; then mkdir -p "$folder/bin"; ln -s ${join(tools, 'python3')} "$folder/bin/python"; fi`;

  it('is made once, from hashes alone, by two callers at once', async () => {
    await python('python3', '3.12.4');
    const cacheDir = await cacheWithUv(makes());
    const said: string[] = [];
    const ask = () =>
      ensurePythonEnvironment('trainer', {
        settings: settings(cacheDir),
        say: (line) => said.push(line),
        installer,
        env: { PATH: tools },
      });
    const [first, second] = await Promise.all([ask(), ask()]);
    expect(second).toEqual(first);
    expect(await ask()).toEqual(first);
    expect(said.filter((line) => line.startsWith('Making'))).toHaveLength(1);
    expect(said.at(-1)).toMatch(/^The Python environment "trainer" is ready: /);
    const { readFile } = await import('node:fs/promises');
    const asked = (await readFile(join(tools, 'asked'), 'utf8')).trim().split('\n');
    expect(asked).toHaveLength(2);
    expect(asked[1]).toMatch(
      /^pip install .*--no-deps --require-hashes --only-binary :all: -r .*requirements\.txt$/,
    );
    expect(await inspectPythonEnvironment('trainer', settings(cacheDir), { PATH: tools })).toMatchObject({
      state: 'made',
    });
  });

  it('that could not be made says why, and is made at the next try', async () => {
    await python('python3', '3.12.4');
    const cacheDir = await cacheWithUv(
      `${makes()}\n[ "$1" = pip ] && { echo "no such wheel" >&2; exit 1; }\nexit 0`,
    );
    const ask = () =>
      ensurePythonEnvironment('vllm', {
        settings: settings(cacheDir),
        say: () => undefined,
        installer,
        env: { PATH: tools },
      });
    await expect(ask()).rejects.toThrow(
      'The Python environment "vllm" could not be made (uv pip): no such wheel',
    );
    const inspected = await inspectPythonEnvironment('vllm', settings(cacheDir), { PATH: tools });
    expect(inspected.state).toBe('missing');
    const [uv] = await readdir(join(cacheDir, 'uv'));
    await program(join(cacheDir, 'uv', uv ?? '', 'bin', 'uv'), makes());
    expect((await ask()).python).toContain(join(cacheDir, 'python', 'vllm-'));
  });

  it('of another interpreter is another one, and one whose interpreter has gone is made again', async () => {
    await python('python3', '3.12.4');
    const cacheDir = await cacheWithUv(makes());
    const ask = () =>
      ensurePythonEnvironment('trainer', {
        settings: settings(cacheDir),
        say: () => undefined,
        installer,
        env: { PATH: tools },
      });
    const first = await ask();
    await python('python3', '3.12.5');
    expect((await ask()).python).not.toBe(first.python);
    await rm((await ask()).python);
    await symlink(join(tools, 'gone'), join(first.python, '..', 'x'));
    expect((await ask()).python).toMatch(/bin\/python$/);
  });

  it('of one’s own is taken as it is, when it has what is needed', async () => {
    await program(join(tools, 'mine'), 'echo');
    await program(join(tools, 'poor'), 'echo peft uvicorn');
    const options = { say: () => undefined, installer };
    const own = (name: string) => ({ ...options, settings: settings(dir, { trainer: join(tools, name) }) });
    expect(await ensurePythonEnvironment('trainer', own('mine'))).toEqual({ python: join(tools, 'mine') });
    await expect(ensurePythonEnvironment('trainer', own('poor'))).rejects.toThrow('has no peft, uvicorn.');
    await expect(ensurePythonEnvironment('trainer', own('absent'))).rejects.toThrow(
      /^REPOFORGE_TRAINER_PYTHON=.*absent cannot be run/,
    );
  });

  it('needs a package index, and says so', async () => {
    await python('python3', '3.12.4');
    const cacheDir = await mkdtemp(join(dir, 'cache-'));
    const none = { ...installer, indexUrl: null };
    const ask = ensurePythonEnvironment('trainer', {
      settings: settings(cacheDir),
      say: () => undefined,
      installer: none,
      env: { PATH: tools },
    });
    await expect(ask).rejects.toThrow(/No Python package index is configured/);
  });
});

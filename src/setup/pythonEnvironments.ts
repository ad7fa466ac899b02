import { createHash } from 'node:crypto';
import { mkdir, readFile, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { cutText, infraFailure } from '../domain/failures.ts';
import { freeDiskBytes } from '../sandbox/disk.ts';
import { ensureUv } from '../sandbox/uv.ts';
import { treeSize } from '../store/treeSize.ts';
import { withFileLock } from './fileLock.ts';
import { findHostPython, type HostPython } from './hostPython.ts';
import { buildNetworkOf, discoverInstaller, noIndexSentence, type Installer } from './installer.ts';

/** The trainer and vLLM never share an environment: they ask for other versions of the same libraries. */
export type PythonEnvironmentName = 'trainer' | 'vllm';

export interface PythonEnvironment {
  /** Path of its Python program. */
  readonly python: string;
}

export interface PythonEnvironmentOptions {
  /** `cacheDir`, and an environment of one's own instead of ours, e.g. one with the GPU build of vLLM. */
  readonly settings: {
    readonly cacheDir: string;
    readonly trainerPython: string | null;
    readonly vllmPython: string | null;
  };
  /** One line for the user, on stderr. */
  readonly say: (line: string) => void;
  /** Default: found out from this host. */
  readonly installer?: Installer;
  readonly env?: NodeJS.ProcessEnv;
}

/** Folder of the Python package `repoforge_trainer` and of the locks. */
export const TRAINER_DIR = fileURLToPath(new URL('../../trainer/', import.meta.url));

const LOCKS: Readonly<Record<PythonEnvironmentName, string>> = {
  trainer: 'requirements.txt',
  vllm: 'vllm-cpu.requirements.txt',
};
const OVERRIDES: Readonly<Record<PythonEnvironmentName, string>> = {
  trainer: 'REPOFORGE_TRAINER_PYTHON',
  vllm: 'REPOFORGE_VLLM_PYTHON',
};
/** What must be importable in an environment that somebody else made. */
const NEEDED: Readonly<Record<PythonEnvironmentName, readonly string[]>> = {
  trainer: ['torch', 'transformers', 'peft', 'fastapi', 'uvicorn'],
  vllm: ['torch', 'vllm'],
};
const MARKER = 'repoforge.json';
const NEEDED_BYTES = 7e9; // torch with the libraries it links against, unpacked once
const LOCK_TIMEOUT_MS = 60 * 60_000; // 3 GB over a slow line
const KEPT_DAYS = 30;

/**
 * The environment's Python program. Ours is made on first use in the cache directory, from its hashed lock, by uv and a
 * Python of this host; a later call costs a few milliseconds. Two processes at once make one.
 * Throws an Infra failure with one sentence when this host has no Python for it, no room, or no package index.
 */
export async function ensurePythonEnvironment(
  name: PythonEnvironmentName,
  options: PythonEnvironmentOptions,
): Promise<PythonEnvironment> {
  const own = ownPython(name, options.settings);
  if (own !== null) return checkedOwn(name, own);
  refusePlatform(name);
  const host = await findHostPython(options.env);
  const folder = await folderOf(name, options.settings.cacheDir, host);
  const found = await madeEnvironment(folder);
  if (found !== null) {
    await utimes(join(folder, MARKER), new Date(), new Date()); // seen: not swept
    return found;
  }
  const onWait = (): void => options.say(`Another process makes the Python environment "${name}"; waiting.`);
  // one lock for both: they share the packages' cache, and most of what is downloaded
  const lock = join(options.settings.cacheDir, 'python', 'lock');
  return withFileLock(
    lock,
    async () => (await madeEnvironment(folder)) ?? make(name, folder, host, options),
    {
      timeoutMs: LOCK_TIMEOUT_MS,
      onWait,
    },
  );
}

/** What is there, for `doctor`: makes nothing. */
export async function inspectPythonEnvironment(
  name: PythonEnvironmentName,
  settings: PythonEnvironmentOptions['settings'],
  env?: NodeJS.ProcessEnv,
): Promise<{ readonly state: 'own' | 'made' | 'missing'; readonly detail: string }> {
  const own = ownPython(name, settings);
  if (own !== null) {
    await checkedOwn(name, own);
    return { state: 'own', detail: `${own} (${OVERRIDES[name]})` };
  }
  refusePlatform(name);
  const host = await findHostPython(env);
  const folder = await folderOf(name, settings.cacheDir, host);
  const found = await madeEnvironment(folder);
  if (found === null)
    return { state: 'missing', detail: `to be made with ${host.program} (Python ${host.version})` };
  const { bytes } = JSON.parse(await readFile(join(folder, MARKER), 'utf8')) as { readonly bytes: number };
  return { state: 'made', detail: `Python ${host.version}, ${(bytes / 1e9).toFixed(1)} GB` };
}

const ownPython = (
  name: PythonEnvironmentName,
  settings: PythonEnvironmentOptions['settings'],
): string | null => (name === 'trainer' ? settings.trainerPython : settings.vllmPython);

/** torch has no wheels for Alpine and Windows is not ours; vLLM's CPU wheels are for Linux. */
function refusePlatform(name: PythonEnvironmentName): void {
  const here = `${process.platform}-${process.arch}`;
  const known = name === 'vllm' ? ['linux-x64', 'linux-arm64'] : ['linux-x64', 'linux-arm64', 'darwin-arm64'];
  if (known.includes(here)) return;
  throw infraFailure(
    `There is no locked Python environment "${name}" for ${here}: set ${OVERRIDES[name]} to a Python that has ${NEEDED[name].join(', ')}.`,
  );
}

async function checkedOwn(name: PythonEnvironmentName, python: string): Promise<PythonEnvironment> {
  const code = `import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if u.find_spec(n) is None])`;
  const result = await execa(python, ['-c', code, ...NEEDED[name]], { reject: false, stdin: 'ignore' });
  if (result.exitCode !== 0)
    throw infraFailure(
      `${OVERRIDES[name]}=${python} cannot be run: ${cutText(result.stderr || result.shortMessage || '', 500)}`,
    );
  const missing = result.stdout.trim();
  if (missing !== '')
    throw infraFailure(`${OVERRIDES[name]}=${python} has no ${missing.replaceAll(' ', ', ')}.`);
  return { python };
}

/** Its name tells the lock's content and the interpreter that it is bound to. */
async function folderOf(name: PythonEnvironmentName, cacheDir: string, host: HostPython): Promise<string> {
  const lock = await readFile(join(TRAINER_DIR, LOCKS[name]));
  const key = createHash('sha256').update(lock).update(`\0${host.version}\0${host.program}`).digest('hex');
  return join(cacheDir, 'python', `${name}-${key.slice(0, 16)}`);
}

/** null while the marker, which is written last, is not there, or when its interpreter has gone. */
async function madeEnvironment(folder: string): Promise<PythonEnvironment | null> {
  const python = join(folder, 'bin', 'python');
  const files = [join(folder, MARKER), python].map((file) => stat(file).catch(() => null)); // follows the link
  return (await Promise.all(files)).includes(null) ? null : { python };
}

async function make(
  name: PythonEnvironmentName,
  folder: string,
  host: HostPython,
  options: PythonEnvironmentOptions,
): Promise<PythonEnvironment> {
  const { say, settings } = options;
  const installer = options.installer ?? (await discoverInstaller());
  if (installer.indexUrl === null) throw infraFailure(noIndexSentence);
  const home = join(settings.cacheDir, 'python');
  await mkdir(home, { recursive: true });
  const uv = await ensureUv(settings.cacheDir, installer);
  await refuseSmallDisk(name, home);
  say(
    `Making the Python environment "${name}" with Python ${host.version} (once; up to 3 GB to fetch, 6 GB on disk, most of it shared by "trainer" and "vllm").`,
  );
  const startedAt = performance.now();
  await rm(folder, { recursive: true, force: true }); // what a killed process left
  const uvOptions = {
    env: { ...buildNetworkOf(installer, installer.caBundle ?? undefined).env, ...uvEnvironment(home) },
    reject: false,
    stdin: 'ignore',
  } as const;
  const steps = [
    ['venv', '--quiet', '--no-project', '--python', host.program, folder],
    [
      'pip',
      'install',
      '--quiet',
      '--python',
      join(folder, 'bin', 'python'),
      ...INSTALL,
      '-r',
      join(TRAINER_DIR, LOCKS[name]),
    ],
  ];
  for (const step of steps) {
    const { exitCode, stderr, shortMessage } = await execa(uv, step, uvOptions);
    if (exitCode !== 0)
      throw infraFailure(
        `The Python environment "${name}" could not be made (uv ${step[0]}): ${cutText(stderr || (shortMessage ?? ''), 1_500)}`,
      );
  }
  const { bytes } = await treeSize(folder);
  await writeFile(join(folder, MARKER), `${JSON.stringify({ name, python: host.version, bytes })}\n`);
  say(
    `The Python environment "${name}" is ready: ${(bytes / 1e9).toFixed(1)} GB after ${Math.round((performance.now() - startedAt) / 1000)} s.`,
  );
  await sweep(home, name, folder);
  return { python: join(folder, 'bin', 'python') };
}

/** Hashes are proven, nothing is built, and no metadata is asked: the lock names everything. */
const INSTALL = ['--no-deps', '--require-hashes', '--only-binary', ':all:'];

/** The packages' cache lies beside the environments, so that both hold each file once, as hardlinks. */
const uvEnvironment = (home: string): Readonly<Record<string, string>> => ({
  UV_CACHE_DIR: join(home, 'packages'),
  UV_PYTHON_DOWNLOADS: 'never',
  UV_NO_CONFIG: '1',
  UV_HTTP_TIMEOUT: '300',
});

async function refuseSmallDisk(name: PythonEnvironmentName, home: string): Promise<void> {
  const free = await freeDiskBytes(home);
  const others = (await readdir(home)).some((entry) => /^(trainer|vllm)-/.test(entry)); // torch is there already
  const needed = others ? NEEDED_BYTES / 4 : NEEDED_BYTES;
  if (free < needed)
    throw infraFailure(
      `The Python environment "${name}" takes up to ${(needed / 1e9).toFixed(0)} GB in ${home}, where ${(free / 1e9).toFixed(1)} GB are free: free some, or set REPOFORGE_CACHE or ${OVERRIDES[name]}.`,
    );
}

/** Environments of older locks that nobody asked for in a month. */
async function sweep(home: string, name: PythonEnvironmentName, kept: string): Promise<void> {
  const oldest = Date.now() - KEPT_DAYS * 24 * 3_600_000;
  for (const entry of await readdir(home)) {
    const folder = join(home, entry);
    if (!entry.startsWith(`${name}-`) || folder === kept) continue;
    const seen = await stat(join(folder, MARKER)).catch(() => stat(folder).catch(() => null));
    if (seen !== null && seen.mtimeMs < oldest) await rm(folder, { recursive: true, force: true });
  }
}

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import pino from 'pino';
import { createBaseImages } from '../src/sandbox/baseImages.ts';
import { connectDocker } from '../src/sandbox/docker.ts';
import { ensureDocker } from '../src/setup/docker.ts';
import { discoverInstaller } from '../src/setup/installer.ts';
import { ensurePythonEnvironment } from '../src/setup/pythonEnvironments.ts';
import { defaultCacheDir } from '../src/setup/state.ts';
import { findTemporalBinary } from '../src/setup/temporalBinary.ts';
import { testImage } from '../test/support/testImage.ts';

export const LAYERS = ['pure', 'temporal', 'docker', 'browser', 'rl'] as const;
export type Layer = (typeof LAYERS)[number];

/** A layer that this machine cannot run, and why. */
export interface MissingLayer {
  readonly layer: Layer;
  readonly reason: string;
}

const run = promisify(execFile);
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

const say = (line: string): void => void process.stderr.write(`  ${line}\n`);

/** Gets everything that the given layers need onto a fresh machine; a layer whose need cannot be had is returned. */
export async function prepare(layers: readonly Layer[]): Promise<readonly MissingLayer[]> {
  const missing: MissingLayer[] = [];
  const wants = (...some: Layer[]): boolean => some.some((layer) => layers.includes(layer));
  const attempt = async (
    what: string,
    needed: readonly Layer[],
    work: () => Promise<string>,
  ): Promise<void> => {
    const failed = await step(what, work);
    if (failed !== null) missing.push(...needed.map((layer) => ({ layer, reason: failed })));
  };
  if (wants('docker', 'rl')) {
    await attempt('Docker', ['docker', 'rl'], docker);
    if (missing.length === 0) await attempt('Base image', ['docker', 'rl'], baseImage);
  }
  if (wants('temporal', 'docker', 'rl'))
    await attempt('Temporal CLI', ['temporal', 'docker', 'rl'], temporalCli);
  if (wants('rl')) {
    for (const name of ['trainer', 'vllm'] as const)
      await attempt(`Python environment "${name}"`, ['rl'], () => pythonEnvironment(name));
  }
  if (wants('browser')) await attempt('Chromium', ['browser'], chromium);
  return missing;
}

/** Runs one step, prints what it did and how long it took; returns the reason when it failed. */
export async function step(what: string, work: () => Promise<string>): Promise<string | null> {
  process.stderr.write(`${what} …\n`);
  const startedAt = Date.now();
  const seconds = (): string => `${((Date.now() - startedAt) / 1000).toFixed(1)} s`;
  try {
    say(`${what}: ${await work()} (${seconds()})`);
    return null;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    say(`${what}: FAILED (${seconds()}): ${reason}`);
    return reason;
  }
}

const log = pino({ level: 'silent' });

async function docker(): Promise<string> {
  const { started } = await ensureDocker({ log, say });
  return started ? 'started dockerd (it stays up when the tests end)' : 'a daemon answers';
}

async function baseImage(): Promise<string> {
  const installer = await discoverInstaller();
  return testImage(
    createBaseImages({ docker: connectDocker(), installer, cacheDir: defaultCacheDir(), log, say }),
  );
}

async function temporalCli(): Promise<string> {
  const { path, how } = await findTemporalBinary({ cacheDir: defaultCacheDir(), say });
  return `${path} (${how})`;
}

async function pythonEnvironment(name: 'trainer' | 'vllm'): Promise<string> {
  const settings = {
    cacheDir: defaultCacheDir(),
    trainerPython: process.env['REPOFORGE_TRAINER_PYTHON'] ?? null,
    vllmPython: process.env['REPOFORGE_VLLM_PYTHON'] ?? null,
  };
  return (await ensurePythonEnvironment(name, { settings, say })).python;
}

async function chromium(): Promise<string> {
  const found = CHROMIUM.find((path) => existsSync(path));
  if (found !== undefined) return found;
  if (!existsSync('/etc/debian_version') || process.getuid?.() !== 0) {
    throw new Error(
      'there is no Chromium; install it (Debian: apt-get install chromium), or run as root on Debian',
    );
  }
  say("installing Debian's chromium with apt-get (350 MB)");
  const apt = async (...args: string[]): Promise<void> => {
    await run('apt-get', args, {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      maxBuffer: 64 * 2 ** 20,
    });
  };
  await apt('update', '-q');
  await apt('install', '-y', '-q', '--no-install-recommends', 'chromium');
  return 'installed /usr/bin/chromium';
}

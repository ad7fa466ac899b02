import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { sha256Hex } from '../../src/domain/canonical.ts';
import { withFileLock } from '../../src/setup/fileLock.ts';
import { buildNetworkOf, type Installer } from '../../src/setup/installer.ts';

const INSTALL_TIMEOUT_MS = 15 * 60_000; // 80 packages over a slow line

export interface Venv {
  /** Directory of the environment. */
  readonly dir: string;
  readonly python: string;
}

/**
 * A Python program that we are compared with, in a virtual environment of its own: pinned and hashed, installed through
 * the host's installer configuration, once per cache directory and requirements file. `minor` is the oldest Python 3 that
 * it runs on. Throws one sentence when `python3` is older, or when pip fails.
 */
export async function ensureVenv(options: {
  readonly requirements: URL;
  readonly minor: number;
  readonly cacheDir: string;
  readonly installer: Installer;
  readonly say?: (line: string) => void;
}): Promise<Venv> {
  const { cacheDir, say } = options;
  const file = fileURLToPath(options.requirements);
  const name = basename(file).split('.', 1)[0] ?? 'peer';
  const dir = join(cacheDir, `${name}-${sha256Hex(await readFile(file, 'utf8')).slice(0, 12)}`);
  const venv: Venv = { dir, python: join(dir, 'bin', 'python') };
  const stamp = join(dir, 'complete');
  if (existsSync(stamp)) return venv;
  await mkdir(cacheDir, { recursive: true });
  return withFileLock(
    join(cacheDir, 'locks', name),
    async () => {
      if (existsSync(stamp)) return venv;
      say?.(`${name}: installing it once into ${dir}`);
      await rm(dir, { recursive: true, force: true });
      await install(venv, file, name, options);
      await writeFile(`${stamp}.tmp`, '');
      await rename(`${stamp}.tmp`, stamp);
      return venv;
    },
    { timeoutMs: INSTALL_TIMEOUT_MS },
  );
}

async function install(
  { dir, python }: Venv,
  file: string,
  name: string,
  { minor, installer }: { readonly minor: number; readonly installer: Installer },
): Promise<void> {
  const check = `import sys; print(sys.version_info >= (3, ${minor}))`;
  const { stdout: enough } = await execa('python3', ['-c', check]);
  if (enough.trim() !== 'True') throw new Error(`${name} needs Python 3.${minor} or newer as python3.`);
  await execa('python3', ['-m', 'venv', dir]);
  const args = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--only-binary=:all:'];
  await execa(python, [...args, '--require-hashes', '-r', file], {
    env: buildNetworkOf(installer, installer.caBundle ?? undefined).env,
    timeout: INSTALL_TIMEOUT_MS,
  });
}

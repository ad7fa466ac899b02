import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { sha256Hex } from '../../src/domain/canonical.ts';
import { withFileLock } from '../../src/setup/fileLock.ts';
import { buildNetworkOf, type Installer } from '../../src/setup/installer.ts';

/** The official SWE-bench harness, in a virtual environment of its own. */
export interface Swebench {
  /** Directory of the environment. */
  readonly venv: string;
  /** Its Python, for asking the package itself. */
  readonly python: string;
}

const REQUIREMENTS = new URL('../swebench.requirements.txt', import.meta.url);
const INSTALL_TIMEOUT_MS = 15 * 60_000; // 80 packages over a slow line

/**
 * Installs the pinned, hashed harness through the host's installer configuration, once per cache directory.
 * Throws one sentence when there is no Python 3.11 or newer, or when pip fails.
 */
export async function ensureSwebench(cacheDir: string, installer: Installer): Promise<Swebench> {
  const requirements = await readFile(REQUIREMENTS, 'utf8');
  const venv = join(cacheDir, `swebench-${sha256Hex(requirements).slice(0, 12)}`);
  const swebench: Swebench = { venv, python: join(venv, 'bin', 'python') };
  const stamp = join(venv, 'complete');
  if (existsSync(stamp)) return swebench;
  await mkdir(cacheDir, { recursive: true });
  return withFileLock(
    join(cacheDir, 'locks', 'swebench'),
    async () => {
      if (existsSync(stamp)) return swebench;
      await rm(venv, { recursive: true, force: true });
      await install(swebench, installer);
      await writeFile(`${stamp}.tmp`, '');
      await rename(`${stamp}.tmp`, stamp);
      return swebench;
    },
    { timeoutMs: INSTALL_TIMEOUT_MS },
  );
}

async function install({ venv, python }: Swebench, installer: Installer): Promise<void> {
  const { stdout: version } = await execa('python3', [
    '-c',
    'import sys; print(sys.version_info >= (3, 11))',
  ]);
  if (version.trim() !== 'True')
    throw new Error('The official harness needs Python 3.11 or newer as python3.');
  await execa('python3', ['-m', 'venv', venv]);
  const args = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--only-binary=:all:'];
  await execa(python, [...args, '--require-hashes', '-r', REQUIREMENTS.pathname], {
    env: buildNetworkOf(installer, installer.caBundle ?? undefined).env,
    timeout: INSTALL_TIMEOUT_MS,
  });
}

export interface SwebenchRun {
  /** v5 rows. */
  readonly dataset: string;
  /** A file of predictions, or `gold`. */
  readonly predictions: string;
  readonly runId: string;
  /** Directory to run in: the harness writes its logs and its summary there. */
  readonly cwd: string;
  readonly workers: number;
}

/** Fields of the harness's run summary that we compare. */
export interface SwebenchSummary {
  readonly [field: string]: unknown;
  readonly resolved_ids: readonly string[];
  readonly unresolved_ids: readonly string[];
  readonly error_ids: readonly string[];
}

/** `swebench eval` on a local data set, without its hub. Returns the run summary that it wrote. */
export async function runSwebench(
  swebench: Swebench,
  run: SwebenchRun,
): Promise<{ readonly summary: SwebenchSummary; readonly wallMs: number; readonly output: string }> {
  const which = run.predictions === 'gold' ? ['--gold'] : ['-p', run.predictions];
  const args = ['eval', run.dataset, ...which, '--run-id', run.runId, '-j', String(run.workers)];
  return command(swebench, run.cwd, args);
}

/** `swebench report`: grades saved logs again, without containers. */
export async function regradeWithSwebench(swebench: Swebench, cwd: string, runId: string, dataset: string) {
  return command(swebench, cwd, ['report', runId, '-d', dataset]);
}

async function command(swebench: Swebench, cwd: string, args: readonly string[]) {
  const startedMs = performance.now();
  const { all } = await execa(join(swebench.venv, 'bin', 'swebench'), args, {
    cwd,
    all: true,
    env: { HF_HUB_OFFLINE: '1', PYTHONUTF8: '1' },
    timeout: 30 * 60_000,
  });
  const wallMs = Math.round(performance.now() - startedMs);
  const file = /^Report written to (.+)$/m.exec(all)?.[1];
  if (file === undefined) throw new Error(`The official harness wrote no report: ${all.slice(-2_000)}`);
  const summary = JSON.parse(await readFile(join(cwd, file), 'utf8')) as SwebenchSummary;
  return { summary, wallMs, output: all };
}

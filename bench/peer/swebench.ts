import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Installer } from '../../src/setup/installer.ts';
import { ensureVenv } from './venv.ts';

/** The official SWE-bench harness, in a virtual environment of its own. */
export interface Swebench {
  /** Directory of the environment. */
  readonly venv: string;
  /** Its Python, for asking the package itself. */
  readonly python: string;
}

const REQUIREMENTS = new URL('../swebench.requirements.txt', import.meta.url);

/** Installs the harness, once per cache directory; see `ensureVenv`. */
export async function ensureSwebench(cacheDir: string, installer: Installer): Promise<Swebench> {
  const { dir, python } = await ensureVenv({ requirements: REQUIREMENTS, minor: 11, cacheDir, installer });
  return { venv: dir, python };
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

/** It lists every container of the daemon when it is done, and falls over one of somebody else's that ends meanwhile. */
const LOST_SIGHT = /404 Client Error: Not Found for url: \S+\/containers\/[0-9a-f]+\/json/;
const TRIES = 4; // what it has evaluated it does not evaluate again: its time is that of the first try

async function command(swebench: Swebench, cwd: string, args: readonly string[]) {
  const run = () =>
    execa(join(swebench.venv, 'bin', 'swebench'), args, {
      cwd,
      all: true,
      env: { HF_HUB_OFFLINE: '1', PYTHONUTF8: '1' },
      timeout: 30 * 60_000,
      reject: false,
    });
  const startedMs = performance.now();
  let done = await run();
  const wallMs = Math.round(performance.now() - startedMs);
  for (let tries = 1; done.failed && tries < TRIES && LOST_SIGHT.test(done.all); tries += 1)
    done = await run();
  if (done.failed) throw new Error(`The official harness failed: ${done.all.slice(-4_000)}`);
  const { all } = done;
  const file = /^Report written to (.+)$/m.exec(all)?.[1];
  if (file === undefined) throw new Error(`The official harness wrote no report: ${all.slice(-2_000)}`);
  const summary = JSON.parse(await readFile(join(cwd, file), 'utf8')) as SwebenchSummary;
  return { summary, wallMs, output: all };
}

import { execa } from 'execa';
import { infraFailure } from '../domain/failures.ts';

/** A Python of this host that the locks are made for. */
export interface HostPython {
  /** The interpreter itself, not a link or a shim. */
  readonly program: string;
  /** `3.11.7` */
  readonly version: string;
}

/** Minor versions of Python 3 that the locks are made and proven for. */
export const PYTHON_RANGE = { oldest: 11, newest: 13 } as const;
/** The default of the host first: it is the one that is kept up to date. */
const NAMES = ['python3', '/usr/bin/python3', 'python3.13', 'python3.12', 'python3.11'];
const PROBE =
  'import os, sys; print(*sys.version_info[:3], sep="."); print(os.path.realpath(sys.executable))';
const PROBE_LIMIT_MS = 20_000; // a cold Python on a busy disk

/**
 * Finds a Python 3.11 to 3.13 on PATH. Inside a virtual environment the interpreter that it was made from.
 * Throws an Infra failure that says what was found and what to install.
 */
export async function findHostPython(env: NodeJS.ProcessEnv = process.env): Promise<HostPython> {
  const seen: string[] = [];
  for (const name of NAMES) {
    const result = await execa(name, ['-I', '-c', PROBE], {
      reject: false,
      timeout: PROBE_LIMIT_MS,
      stdin: 'ignore',
      env,
      extendEnv: false,
    });
    const [version = '', program = ''] = result.exitCode === 0 ? result.stdout.trim().split('\n') : [];
    const [major, minor = 0] = version.split('.').map(Number);
    if (major !== 3 || program === '') continue;
    if (minor >= PYTHON_RANGE.oldest && minor <= PYTHON_RANGE.newest) return { program, version };
    seen.push(version);
  }
  const range = `3.${PYTHON_RANGE.oldest} to 3.${PYTHON_RANGE.newest}`;
  const found = seen.length === 0 ? 'none' : [...new Set(seen)].join(', ');
  throw infraFailure(
    `Training needs Python ${range} on PATH (found: ${found}). On Debian 12 or newer, and on Ubuntu 24.04: apt-get install python3. Or set REPOFORGE_TRAINER_PYTHON and REPOFORGE_VLLM_PYTHON.`,
  );
}

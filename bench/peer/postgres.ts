import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { withFileLock } from '../../src/setup/fileLock.ts';
import { freePort } from './ports.ts';

const START_TIMEOUT_MS = 60_000;

/** A PostgreSQL cluster of our own on the loopback, with Debian's defaults (fsync and synchronous commits on). */
export interface Postgres extends AsyncDisposable {
  readonly pid: number;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

interface Programs {
  readonly bin: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Starts a fresh cluster; its directory is removed when it is disposed of. Runs as `nobody` when we are root. */
export async function startPostgres(cacheDir: string, say: (line: string) => void): Promise<Postgres> {
  const { bin, env } = await findPrograms(cacheDir, say);
  const owner = await unprivileged();
  const dir = await mkdtemp(join(tmpdir(), 'repoforge-postgres-'));
  const data = join(dir, 'data');
  const user = 'temporal';
  const password = randomBytes(16).toString('hex');
  const passwordFile = join(dir, 'password');
  await writeFile(passwordFile, `${password}\n`);
  await chmod(dir, 0o700);
  for (const path of owner === null ? [] : [passwordFile, dir])
    await chown(path, owner?.uid ?? 0, owner?.gid ?? 0);
  const as = { cwd: dir, env, ...owner };
  const cluster = ['-D', data, '-U', user, '-A', 'scram-sha-256', `--pwfile=${passwordFile}`];
  await execa(join(bin, 'initdb'), [...cluster, '-E', 'UTF8', '--locale=C'], as);
  const port = await freePort();
  const settings = ['listen_addresses=127.0.0.1', `unix_socket_directories=${dir}`, 'max_connections=200'];
  const child = spawn(
    join(bin, 'postgres'),
    ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])],
    { ...as, env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString('utf8')).slice(-4_000)));
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const dispose = async (): Promise<void> => {
    if (child.exitCode === null && child.kill('SIGINT')) await ended; // fast shutdown
    await rm(dir, { recursive: true, force: true });
  };
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!said.includes('ready to accept connections')) {
    if (child.exitCode !== null || Date.now() > deadline) {
      await dispose();
      throw new Error(`PostgreSQL did not start: ${said.slice(-500)}`);
    }
    await delay(50);
  }
  return { pid: child.pid ?? 0, port, user, password, [Symbol.asyncDispose]: dispose };
}

/** PostgreSQL refuses to run as root. */
async function unprivileged(): Promise<{ readonly uid: number; readonly gid: number } | null> {
  if (process.getuid?.() !== 0) return null;
  const id = async (flag: string): Promise<number> => Number((await execa('id', [flag, 'nobody'])).stdout);
  return { uid: await id('-u'), gid: await id('-g') };
}

/** Debian's PostgreSQL as it is installed, else unpacked into the cache directory: no service is started. */
async function findPrograms(cacheDir: string, say: (line: string) => void): Promise<Programs> {
  const installed = newestIn('/');
  if (installed !== null) return { bin: installed, env: {} };
  const root = join(cacheDir, 'postgresql');
  await withFileLock(join(cacheDir, 'locks', 'postgresql'), async () => {
    if (existsSync(root)) return;
    say(`PostgreSQL: unpacking Debian's packages once into ${root}`);
    await unpack(root);
  });
  const bin = newestIn(root);
  if (bin === null) throw new Error(`There is no PostgreSQL in ${root}; delete it, or install postgresql.`);
  const libraries = join(root, 'usr', 'lib');
  const triplet = readdirSync(libraries).find((name) => name.includes('-linux-')) ?? '';
  return { bin, env: { LD_LIBRARY_PATH: join(libraries, triplet) } };
}

function newestIn(root: string): string | null {
  const folder = join(root, 'usr', 'lib', 'postgresql');
  const versions = existsSync(folder) ? readdirSync(folder).map(Number).filter(Number.isFinite) : [];
  const bins = versions.toSorted((a, b) => b - a).map((version) => join(folder, String(version), 'bin'));
  return bins.find((bin) => existsSync(join(bin, 'initdb'))) ?? null;
}

async function unpack(root: string): Promise<void> {
  const work = `${root}.${process.pid}.tmp`;
  await mkdir(join(work, 'root'), { recursive: true });
  try {
    const simulate = () => execa('apt-get', ['install', '-s', '--no-install-recommends', 'postgresql']);
    const { stdout } = await simulate().catch(async () => {
      await execa('apt-get', ['update', '-q']); // a fresh machine has no package lists
      return simulate();
    });
    const missing = [...stdout.matchAll(/^Inst (\S+)/gm)].map((match) => match[1] ?? '');
    await execa('apt-get', ['download', '-q', ...missing], { cwd: work });
    for (const file of readdirSync(work).filter((name) => name.endsWith('.deb')))
      await execa('dpkg-deb', ['-x', join(work, file), join(work, 'root')]);
    await rename(join(work, 'root'), root);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

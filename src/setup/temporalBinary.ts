import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { withFileLock } from './fileLock.ts';

/** The newest release that `go install` can build: later ones have replace directives in go.mod. */
const CLI_MODULE = 'github.com/temporalio/cli/cmd/temporal@v1.5.1';
const DOWNLOAD_LIMIT_MS = 20_000; // silence: a line that drops packets must not hold up the build for minutes
const DOWNLOAD_TOTAL_MS = 5 * 60_000;
const BUILD_LIMIT_MS = 45 * 60_000; // measured 3 min on two idle cores, and 5 times that on busy ones
const BUILD_BYTES = 5 * 2 ** 30; // measured 3.9 GB: modules, build cache and binary together

/** Where a Temporal CLI was found. */
export interface TemporalBinary {
  readonly path: string;
  readonly how: 'setting' | 'PATH' | 'cache' | 'download' | 'build';
}

export interface FindTemporalOptions {
  readonly cacheDir: string;
  /** One line for the user, on stderr. */
  readonly say: (line: string) => void;
  readonly log?: Logger;
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * Finds the Temporal CLI without getting one: `REPOFORGE_TEMPORAL_CLI`, then PATH, then the cache directory.
 * Throws when the setting names something that is not an executable file.
 */
export async function locateTemporalBinary(
  options: Pick<FindTemporalOptions, 'cacheDir' | 'env'>,
): Promise<TemporalBinary | null> {
  const env = options.env ?? process.env;
  const set = env['REPOFORGE_TEMPORAL_CLI'];
  if (set) {
    if (await isExecutable(set)) return { path: set, how: 'setting' };
    throw new Error(`REPOFORGE_TEMPORAL_CLI names ${set}, which is not an executable file.`);
  }
  for (const dir of (env['PATH'] ?? '').split(delimiter).filter(Boolean)) {
    const path = join(dir, 'temporal');
    if (await isExecutable(path)) return { path, how: 'PATH' };
  }
  const cached = cachedPath(options.cacheDir);
  return (await isExecutable(cached)) ? { path: cached, how: 'cache' } : null;
}

/**
 * Finds the Temporal CLI, or gets it once into the cache directory: the SDK's own download where its host can be reached,
 * else a build from the Go module proxy (about three minutes). Only one process gets it; others wait.
 * Throws one sentence with the three ways when none works.
 */
export async function findTemporalBinary(options: FindTemporalOptions): Promise<TemporalBinary> {
  const found = await locateTemporalBinary(options);
  if (found) return found;
  return withFileLock(
    join(options.cacheDir, 'locks', 'temporal-cli'),
    async () => (await locateTemporalBinary(options)) ?? (await getTemporalBinary(options)),
    {
      timeoutMs: BUILD_LIMIT_MS + DOWNLOAD_TOTAL_MS,
      onWait: () => options.say('Temporal CLI: another process is getting it; waiting'),
    },
  );
}

const cachedPath = (cacheDir: string): string => join(cacheDir, 'bin', 'temporal');

async function getTemporalBinary(options: FindTemporalOptions): Promise<TemporalBinary> {
  const target = cachedPath(options.cacheDir);
  await mkdir(dirname(target), { recursive: true });
  await sweepLeftovers(options.cacheDir);
  // in the cache directory, so that the last step is a rename within one file system
  const scratch = await mkdtemp(join(options.cacheDir, 'temporal-cli-'));
  try {
    options.say("Temporal CLI: not found on PATH or in the cache; trying the SDK's download");
    const downloaded = await download(scratch, options);
    if (downloaded.ok) return await install(downloaded.path, target, 'download');
    options.say(`Temporal CLI: download not possible (${downloaded.reason})`);
    return await install(await build(scratch, options), target, 'build');
  } finally {
    // a compiler that outlives its killed parent may still write there: what stays is swept by the next build
    await rm(scratch, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }).catch(
      () => undefined,
    );
  }
}

async function install(from: string, target: string, how: TemporalBinary['how']): Promise<TemporalBinary> {
  await rename(from, target);
  return { path: target, how };
}

/** What a killed build left: gigabytes. We hold the lock, so nobody uses them. */
async function sweepLeftovers(cacheDir: string): Promise<void> {
  const left = (await readdir(cacheDir)).filter((name) => name.startsWith('temporal-cli-'));
  await Promise.all(left.map((name) => rm(join(cacheDir, name), { recursive: true, force: true })));
}

async function download(
  scratch: string,
  { env = process.env }: FindTemporalOptions,
): Promise<{ readonly ok: true; readonly path: string } | { readonly ok: false; readonly reason: string }> {
  const dir = join(scratch, 'download');
  await mkdir(dir);
  const here = fileURLToPath(import.meta.url);
  const script = join(dirname(here), basename(here).replace('temporalBinary', 'temporalDownload'));
  const run = await runCommand(process.execPath, [script, dir], {
    env,
    silenceMs: DOWNLOAD_LIMIT_MS,
    totalMs: DOWNLOAD_TOTAL_MS,
    progress: () => sizeOf(dir),
  });
  const [name] = await readdir(dir);
  if (run.ok && name !== undefined && (await isExecutable(join(dir, name)))) {
    return { ok: true, path: join(dir, name) };
  }
  return { ok: false, reason: run.ok ? 'it brought no executable' : lastCause(run.reason) };
}

async function build(
  scratch: string,
  { say, env = process.env, cacheDir }: FindTemporalOptions,
): Promise<string> {
  const has = await runCommand('go', ['version'], { env, silenceMs: 10_000, totalMs: 10_000 });
  if (!has.ok) throw new Error(threeWays('there is no Go to build it with'));
  const { bavail, bsize } = await statfs(cacheDir);
  if (bavail * bsize < BUILD_BYTES) throw new Error(threeWays(`the build needs 5 GiB free in ${cacheDir}`));
  say(`Temporal CLI: building it once with go install ${CLI_MODULE} (3 to 5 minutes on two idle cores)`);
  const startedAt = Date.now();
  const minutes = setInterval(() => {
    say(`Temporal CLI: still building, ${Math.round((Date.now() - startedAt) / 1000)} s`);
  }, 60_000);
  try {
    const built = await runCommand('go', ['install', '-trimpath', '-ldflags=-s -w', CLI_MODULE], {
      // private caches, dropped afterwards; -modcacherw because Go makes its module directories read-only
      env: { ...env, ...goDirectories(scratch), GOFLAGS: '-modcacherw', CGO_ENABLED: '0' },
      silenceMs: BUILD_LIMIT_MS,
      totalMs: BUILD_LIMIT_MS,
    });
    if (!built.ok) throw new Error(threeWays(`go install failed: ${lastCause(built.reason)}`));
  } finally {
    clearInterval(minutes);
  }
  say(`Temporal CLI: built in ${Math.round((Date.now() - startedAt) / 1000)} s`);
  return join(scratch, 'bin', 'temporal');
}

const goDirectories = (scratch: string): Record<string, string> => ({
  GOPATH: join(scratch, 'gopath'),
  GOMODCACHE: join(scratch, 'gopath', 'pkg', 'mod'),
  GOCACHE: join(scratch, 'gocache'),
  GOTMPDIR: scratch,
  GOBIN: join(scratch, 'bin'),
});

const threeWays = (why: string): string =>
  `No Temporal CLI, and ${why}. Any one of these helps: put the "temporal" command on PATH (or name it in REPOFORGE_TEMPORAL_CLI); ` +
  'install Go 1.24 or newer, so that it can be built; or set TEMPORAL_ADDRESS to a running Temporal server.';

type CommandResult = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** Runs a command to its end; killed after `totalMs`, or when `progress` has not changed for `silenceMs`. */
function runCommand(
  command: string,
  args: readonly string[],
  options: {
    readonly env: NodeJS.ProcessEnv;
    readonly silenceMs: number;
    readonly totalMs: number;
    readonly progress?: () => Promise<number>;
  },
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { env: options.env, stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    let killed: string | null = null;
    const startedAt = Date.now();
    let seen = { at: startedAt, size: 0 };
    const kill = (why: string): void => {
      killed = why;
      child.kill('SIGKILL');
    };
    const watch = async (): Promise<void> => {
      const size = (await options.progress?.()) ?? 0;
      if (size !== seen.size) seen = { at: Date.now(), size };
      if (killed !== null) return;
      if (Date.now() - startedAt > options.totalMs) kill(`no end after ${options.totalMs / 1000} s`);
      else if (Date.now() - seen.at > options.silenceMs) kill(`no answer in ${options.silenceMs / 1000} s`);
    };
    const timer = setInterval(() => void watch().catch(() => undefined), 500);
    const end = (result: CommandResult): void => {
      clearInterval(timer);
      process.off('exit', killOnExit);
      resolve(result);
    };
    const killOnExit = (): void => kill('our own exit'); // a build must not outlive us
    process.once('exit', killOnExit);
    child.stderr.on('data', (chunk: Buffer) => (stderr = (stderr + chunk.toString('utf8')).slice(-8_000)));
    child.once('error', (error) => end({ ok: false, reason: error.message }));
    child.once('close', (code) =>
      end(code === 0 ? { ok: true } : { ok: false, reason: killed ?? (stderr || `exit code ${code}`) }),
    );
  });
}

/** The innermost cause of a chain "a: b: c", on one line. */
function lastCause(text: string): string {
  const line = text.split('\n').find((candidate) => /error|fail|cannot|go: /i.test(candidate)) ?? text;
  return line.trim().split(': ').slice(-2).join(': ').replace(/\]$/, '').slice(0, 300);
}

async function sizeOf(dir: string): Promise<number> {
  const sizes = await Promise.all(
    (await readdir(dir)).map(async (name) => (await stat(join(dir, name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

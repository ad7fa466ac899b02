import { spawn } from 'node:child_process';
import { existsSync, openSync, closeSync, mkdirSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import Docker from 'dockerode';
import { execa } from 'execa';
import type { Logger } from 'pino';
import { cutText, infraFailure } from '../domain/failures.ts';
import { knownSockets } from './dockerSocket.ts';
import { withFileLock } from './fileLock.ts';
import { identify } from './processes.ts';
import { defaultCacheDir } from './state.ts';

const ANSWER_MS = 5_000; // a daemon under load; one that is gone refuses at once
const START_MS = 60_000; // measured 1 s; restoring many containers takes longer
const SOCKET = '/var/run/docker.sock';

export interface EnsureDockerOptions {
  readonly log: Logger;
  /** One line for a person. */
  readonly say: (line: string) => void;
  /** Where the pid and the log of a daemon that we started are kept. */
  readonly cacheDir?: string;
}

export interface DockerInUse {
  /** Socket that answers; undefined when DOCKER_HOST says where, which every Docker client reads by itself. */
  readonly socketPath: string | undefined;
  /** True when this call started the daemon. */
  readonly started: boolean;
}

/**
 * Makes sure that a Docker-compatible daemon answers: the one in use if there is one; else, as root on Debian or Ubuntu,
 * docker.io is installed and dockerd started (and stays up when we end). Throws one clear Infra sentence otherwise.
 */
export async function ensureDocker(options: EnsureDockerOptions): Promise<DockerInUse> {
  const host = process.env['DOCKER_HOST'];
  if (host) {
    const problem = await whyNoAnswer(new Docker());
    if (problem === null) return { socketPath: undefined, started: false };
    throw infraFailure(
      `No Docker daemon answers at DOCKER_HOST=${withoutPassword(host)} (${problem}): start it, or unset DOCKER_HOST.`,
    );
  }
  const inUse = await answeringSocket();
  if (inUse !== null) return { socketPath: inUse, started: false };
  const cacheDir = options.cacheDir ?? defaultCacheDir();
  return withFileLock(join(cacheDir, 'locks', 'dockerd.lock'), async () => {
    const meanwhile = await answeringSocket(); // another process of ours may have started it while we waited
    if (meanwhile !== null) return { socketPath: meanwhile, started: false };
    await installAndStart(options, cacheDir);
    return { socketPath: SOCKET, started: true };
  });
}

async function answeringSocket(): Promise<string | null> {
  for (const socketPath of knownSockets().filter((path) => existsSync(path))) {
    const problem = await whyNoAnswer(new Docker({ socketPath }));
    if (problem === null) return socketPath;
    if (/EACCES|EPERM/.test(problem)) {
      throw infraFailure(
        `A Docker daemon listens at ${socketPath}, but this user may not use it: add the user to the docker group, or set DOCKER_HOST.`,
      );
    }
  }
  return null;
}

/** null when the daemon answers, else the reason in a few words. */
async function whyNoAnswer(docker: Docker): Promise<string | null> {
  try {
    const answer = await Promise.race([docker.ping(), delay(ANSWER_MS, 'silent', { ref: false })]);
    return answer === 'silent' ? `no answer within ${ANSWER_MS / 1000} s` : null;
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string };
    return code ?? message ?? String(error);
  }
}

async function installAndStart({ log, say }: EnsureDockerOptions, cacheDir: string): Promise<void> {
  const missing = !(await runs('dockerd', ['--version']));
  const root = process.getuid?.() === 0;
  if (!root || (missing && !existsSync('/etc/debian_version'))) {
    throw infraFailure(
      missing
        ? 'There is no Docker daemon: install Docker (Debian, Ubuntu: apt-get install docker.io) or podman, start it, or set DOCKER_HOST to one.'
        : 'Docker is installed but its daemon does not run: start it (systemctl start docker, or dockerd as root), or set DOCKER_HOST to one.',
    );
  }
  if (missing) {
    say('No Docker daemon answers: installing docker.io with apt-get.');
    await apt(['update', '-q']);
    await apt(['install', '-y', '-q', '--no-install-recommends', 'docker.io']);
  }
  if ((await answeringSocket()) !== null) return; // the package started its own service
  if (existsSync('/run/systemd/system') && (await runs('systemctl', ['start', 'docker']))) {
    say('Started the docker service (systemctl stop docker ends it).');
    return;
  }
  const { pid, logFile } = await startDockerd({
    directory: join(cacheDir, 'docker'),
    socketPath: SOCKET,
    args: [],
  });
  log.info({ pid, logFile }, 'started dockerd');
  say(
    `No Docker daemon answered: started dockerd (pid ${pid}, log ${logFile}); it stays up, kill ${pid} ends it.`,
  );
}

/**
 * Starts a dockerd of our own, detached from this process and its terminal, and waits until it answers.
 * Throws an Infra failure with the last lines of its log when it ends or stays silent.
 */
export async function startDockerd(options: {
  /** Gets `dockerd.json` (pid and start time) and `dockerd.log`. */
  readonly directory: string;
  readonly socketPath: string;
  readonly args: readonly string[];
}): Promise<{ readonly pid: number; readonly logFile: string }> {
  const { directory, socketPath, args } = options;
  mkdirSync(directory, { recursive: true });
  const logFile = join(directory, 'dockerd.log');
  const output = openSync(logFile, 'a');
  const child = spawn('dockerd', ['--host', `unix://${socketPath}`, ...args], {
    detached: true,
    stdio: ['ignore', output, output],
    cwd: '/',
  });
  closeSync(output);
  const spawned = new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve).once('error', reject);
  });
  await spawned.catch((error: unknown) => {
    throw infraFailure(`dockerd could not be started: ${String(error)}.`);
  });
  const pid = child.pid ?? 0;
  child.unref();
  const record = join(directory, 'dockerd.json');
  await writeFile(record, `${JSON.stringify(identify(pid))}\n`);
  const docker = new Docker({ socketPath });
  const giveUpAt = Date.now() + START_MS;
  while ((await whyNoAnswer(docker)) !== null) {
    if (child.exitCode !== null || Date.now() > giveUpAt) {
      await rm(record, { force: true });
      throw infraFailure(
        `dockerd ${child.exitCode === null ? `did not answer within ${START_MS / 1000} s` : `ended with code ${child.exitCode}`}: ${await lastLines(logFile)}`,
      );
    }
    await delay(100);
  }
  return { pid, logFile };
}

async function apt(args: readonly string[]): Promise<void> {
  const result = await execa('apt-get', args, {
    reject: false,
    stdin: 'ignore',
    all: true,
    env: { DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (result.exitCode === 0) return;
  // Without a network the update fails but the package may be at hand; the install then says so itself.
  if (args[0] === 'update') return;
  throw infraFailure(
    `apt-get ${args.join(' ')} failed: ${cutText((result.all ?? '').split('\n').slice(-5).join(' '), 800)}. Install Docker by hand, or set DOCKER_HOST.`,
  );
}

const runs = async (command: string, args: readonly string[]): Promise<boolean> =>
  (await execa(command, args, { reject: false, stdin: 'ignore' })).exitCode === 0;

async function lastLines(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return cutText(text.trim().split('\n').slice(-4).join(' '), 1_000);
}

const withoutPassword = (url: string): string => url.replace(/\/\/[^@/]*@/, '//***@');

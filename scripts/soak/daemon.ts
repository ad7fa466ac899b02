import { readFileSync, readdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import Docker from 'dockerode';
import { UsageError } from '../../src/cli/output.ts';
import { startDockerd } from '../../src/setup/docker.ts';
import { endProcess, identify, isRunning, type ProcessIdentity } from '../../src/setup/processes.ts';

/** A dockerd that nobody else uses: it can be killed, frozen and restarted at will. */
export interface OwnDaemon {
  readonly socketPath: string;
  readonly docker: Docker;
  /** Signals the running daemon; false when there is none. */
  signal(name: NodeJS.Signals): boolean;
  /** Waits until a signalled daemon is gone. */
  gone(): Promise<void>;
  /** Starts it (again) on its own data, and waits until it answers. */
  start(): Promise<void>;
  /** Ends the daemon and removes its bridge. */
  close(): Promise<void>;
}

const STOP_GRACE_MS = 30_000;
const GONE_LIMIT_MS = 60_000;
const START_TRIES = 3;
const LONGEST_SOCKET = 104; // containerd's limit, below the kernel's 108

/**
 * Starts a daemon whose data, sockets, pid file, containerd and bridge are its own, with no network set-up of the host's.
 * Needs root. `directory` must be on a file system that overlay2 can use.
 */
export async function startOwnDaemon(directory: string): Promise<OwnDaemon> {
  const tooLong = join(directory, 'exec/containerd/containerd-debug.sock').length - LONGEST_SOCKET;
  if (tooLong > 0)
    throw new UsageError(
      `${directory} is ${tooLong} characters too long for a daemon's sockets: take a shorter one.`,
    );
  const socketPath = join(directory, 'd.sock');
  const bridge = await makeBridge();
  const docker = new Docker({ socketPath });
  let running: ProcessIdentity | null = null;
  const start = async (): Promise<void> => {
    const { pid } = await persistently({
      directory,
      socketPath,
      args: [
        `--data-root=${join(directory, 'data')}`,
        `--exec-root=${join(directory, 'exec')}`,
        `--pidfile=${join(directory, 'pid')}`,
        `--bridge=${bridge}`, // not `none`: a daemon without a bridge deletes docker0 at its start, whoever's it is
        '--iptables=false',
        '--ip6tables=false',
        '--ip-forward=false',
      ],
    });
    running = identify(pid);
  };
  const daemon: OwnDaemon = {
    socketPath,
    docker,
    signal(name) {
      if (running === null || !isRunning(running)) return false;
      process.kill(running.pid, name);
      return true;
    },
    async gone() {
      if (running !== null) await endProcess(running, GONE_LIMIT_MS);
      // its containerd dies with it, but a moment later, and a new daemon would take it for a living one
      const containerd = (): boolean =>
        processesOf(directory).some(({ command }) => /^\S*containerd --config/.test(command));
      for (const giveUpAt = Date.now() + GONE_LIMIT_MS; containerd() && Date.now() < giveUpAt;)
        await delay(50);
    },
    start,
    async close() {
      if (!daemon.signal('SIGCONT') && processesOf(directory).length > 0) await start(); // only a daemon ends containers
      if (running !== null) await endProcess(running, STOP_GRACE_MS);
      endForgottenShims(directory);
      await clear();
    },
  };
  /** The data's own mount after a kill, the host's network namespace after any end, and the bridge. */
  const clear = async (): Promise<void> => {
    for (const point of mountsOf(directory)) await execa('umount', [point], { reject: false });
    await removeBridge(bridge);
  };
  await mkdir(directory, { recursive: true });
  try {
    await start();
  } catch (error) {
    for (const { pid } of processesOf(directory)) process.kill(pid, 'SIGKILL');
    await clear();
    throw error;
  }
  return daemon;
}

/** As a service manager would: a daemon that finds the remains of the last one sometimes gives up at its first start. */
async function persistently(options: Parameters<typeof startDockerd>[0]): ReturnType<typeof startDockerd> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await startDockerd(options);
    } catch (error) {
      if (tries === START_TRIES) throw error;
    }
  }
}

/** `rfs<pid>`: one of each process, so that two soaks do not meet. */
async function makeBridge(): Promise<string> {
  const name = `rfs${process.pid}`;
  const address = `10.${200 + (process.pid % 50)}.${Math.floor(process.pid / 50) % 250}.1/30`;
  await execa('ip', ['link', 'add', name, 'type', 'bridge']);
  await execa('ip', ['address', 'add', address, 'dev', name]);
  return name;
}

async function removeBridge(name: string): Promise<void> {
  await execa('ip', ['link', 'delete', name], { reject: false });
}

/** A containerd that is killed while it starts a container forgets the shim, which has no child and nothing to wait for. */
function endForgottenShims(directory: string): void {
  for (const { pid, command } of processesOf(directory)) {
    const childless = read(`/proc/${pid}/task/${pid}/children`).trim() === '';
    if (childless && /^\S*containerd-shim/.test(command)) process.kill(pid, 'SIGKILL');
  }
}

/** Copies an image from another daemon, which is quicker than making it again. False when that one does not have it. */
export async function copyImage(from: Docker, to: Docker, image: string): Promise<boolean> {
  const found = await from.listImages({ filters: { reference: [image] } }).catch(() => []);
  if (found.length === 0) return false;
  const archive = await from.getImage(image).get();
  const progress = await to.loadImage(archive);
  await new Promise<void>((resolve, reject) => {
    to.modem.followProgress(progress, (error) => (error ? reject(error) : resolve()));
  });
  return true;
}

/** Processes whose command line names `directory`: daemons, shims, servers and workers of ours that are still there. */
export function processesOf(
  directory: string,
): readonly { readonly pid: number; readonly command: string }[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    const command = read(`/proc/${name}/cmdline`).replaceAll('\0', ' ').trim();
    return command.includes(directory) && identify(Number(name)) !== null
      ? [{ pid: Number(name), command }]
      : [];
  });
}

/** Mount points under `directory`. */
export const mountsOf = (directory: string): readonly string[] =>
  read('/proc/mounts')
    .split('\n')
    .flatMap((line) => line.split(' ').slice(1, 2))
    .filter((point) => point.startsWith(`${directory}/`));

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // a process that ended meanwhile
  }
}

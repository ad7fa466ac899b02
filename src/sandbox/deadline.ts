import type Docker from 'dockerode';
import type { Logger } from 'pino';
import { dockerCall } from './errors.ts';

const KILL_TIMEOUT_MS = 4_000; // measured 50 to 120 ms; a fork bomb can starve it of its share of the CPU

/**
 * `kill -1` by a user reaches every process of that user but the caller and pid 1, in one pass of the kernel: children
 * that left the session (setsid, nohup) included. It is the shell's builtin, since a slim base has no `kill` program.
 */
const KILL_USER = ['sh', '-c', 'kill -KILL -1'];

/** Root owns the container's main process (`sleep infinity`), which must live on; two passes catch what forked meanwhile. */
const KILL_ROOT = [
  'sh',
  '-c',
  `for pass in 1 2; do for dir in /proc/[0-9]*; do pid=\${dir#/proc/}
   if [ "$pid" = 1 ] || [ "$pid" = $$ ]; then continue; fi
   read -r line 2>/dev/null < "$dir/cmdline" || true
   case "$line" in sleep*infinity*) ;; *) kill -KILL "$pid" 2>/dev/null ;; esac; line=; done; done; true`,
];

/**
 * Ends every process of a user in a container, which itself lives on. Where even that cannot be started (the process
 * table or the memory is full), the container is restarted without grace: its files survive, its processes do not.
 *
 * @returns true when the container had to be restarted (kernel counters then start anew).
 */
export async function killProcessesOf(
  container: Docker.Container,
  user: string,
  log: Logger,
): Promise<{ readonly restarted: boolean }> {
  const uid = user.split(':')[0];
  try {
    const ended = await runSmall(container, user, uid === '0' ? KILL_ROOT : KILL_USER);
    if (ended) return { restarted: false };
    log.warn({ container: container.id, user }, 'the kill command did not end: restarting the container');
  } catch (error) {
    log.warn(
      { container: container.id, user, error },
      'the kill command did not start: restarting the container',
    );
  }
  await restartWithoutGrace(container);
  return { restarted: true };
}

/** Ends all processes of a container and starts it again; files stay. */
export async function restartWithoutGrace(container: Docker.Container): Promise<void> {
  await dockerCall(
    `restart container ${container.id.slice(0, 12)}`,
    () => container.restart({ t: 0 }),
    60_000,
  );
}

/** Runs a short command; true when it ended with 0 (or was itself killed by the kill) in time. */
async function runSmall(
  container: Docker.Container,
  user: string,
  command: readonly string[],
): Promise<boolean> {
  const exec = await container.exec({
    Cmd: [...command],
    User: user,
    AttachStdout: true,
    AttachStderr: true,
  });
  const stream = await exec.start({ hijack: true, stdin: false });
  stream.resume();
  const ended = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), KILL_TIMEOUT_MS);
    const finish = (): void => {
      clearTimeout(timer);
      resolve(true);
    };
    stream.once('end', finish).once('close', finish).once('error', finish);
  });
  stream.destroy();
  if (!ended) return false;
  const { ExitCode } = await exec.inspect();
  return ExitCode === 0 || ExitCode === null || ExitCode === 137;
}

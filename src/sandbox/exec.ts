import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import type { Logger } from 'pino';
import { infraFailure } from '../domain/failures.ts';
import { killProcessesOf, restartWithoutGrace } from './deadline.ts';
import { dockerCall } from './errors.ts';
import { createOutputCollector } from './output.ts';
import type { ExecOptions } from './types.ts';

const DEFAULT_OUTPUT_BYTES = 16 * 1024 ** 2; // DEFAULT_RUN_LIMITS.outputBytes
const NOT_BY_ITSELF = 126; // 126 to 128: the daemon could not start it; above: 128 + the number of the signal that ended it
const STATE_LAG_MS = 2_000; // between the death of a container's processes and the record of it
const AWAKE_MS = 5_000; // a daemon under load answers within a second
const DRAIN_AFTER_KILL_MS = 5_000; // the daemon closes the stream up to 2 s after the last process

/** What one command did; `killed` says why it did not end by itself. */
export interface RawExecResult {
  readonly exitCode: number | null;
  readonly killed: 'deadline' | 'signal' | null;
  readonly restarted: boolean;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly output: Buffer;
  readonly droppedBytes: number;
  readonly durationMs: number;
}

/**
 * Runs a command in a running container. At the deadline, or when the signal aborts, every process of the user ends.
 * Throws an Infra failure when the daemon or the container is gone.
 */
export async function execInContainer(
  deps: { readonly docker: Docker; readonly container: Docker.Container; readonly log: Logger },
  command: readonly string[],
  options: ExecOptions,
): Promise<RawExecResult> {
  const { docker, container, log } = deps;
  options.signal?.throwIfAborted();
  const collector = createOutputCollector(options.outputBytes ?? DEFAULT_OUTPUT_BYTES);
  const doing = `run ${command[0] ?? 'nothing'} in container ${container.id.slice(0, 12)}`;
  const exec = await dockerCall(doing, () => container.exec(execConfig(command, options)));
  const startedAt = performance.now();
  const stream: Duplex = await dockerCall(doing, () =>
    exec.start({ hijack: true, stdin: options.stdin !== undefined }),
  );
  docker.modem.demuxStream(stream, collector.stdoutSink, collector.stderrSink);
  const ended = streamEnd(stream);
  if (options.stdin !== undefined) stream.end(options.stdin);

  let reason = await firstOf(ended, options);
  if (reason === 'deadline' && (await endedUnnoticed(exec, doing, startedAt, options.timeoutMs))) {
    reason = null;
    await Promise.race([ended, sleep(DRAIN_AFTER_KILL_MS, undefined, { ref: false })]);
  }
  let restarted = false;
  if (reason !== null) restarted = await endProcesses(container, options.user, ended, log);
  const durationMs = performance.now() - startedAt;
  const exitCode = reason === null ? await exitCodeOf(exec, doing) : null;
  stream.destroy();
  if (exitCode !== null && exitCode >= NOT_BY_ITSELF) await assertAlive(container, doing);
  return { exitCode, killed: reason, restarted, durationMs, ...collector.result() };
}

function execConfig(command: readonly string[], options: ExecOptions): Docker.ExecCreateOptions {
  return {
    Cmd: [...command],
    User: options.user,
    AttachStdin: options.stdin !== undefined,
    AttachStdout: true,
    AttachStderr: true,
    ...(options.cwd === undefined ? {} : { WorkingDir: options.cwd }),
    ...(options.env === undefined
      ? {}
      : { Env: Object.entries(options.env).map(([name, value]) => `${name}=${value}`) }),
  };
}

/** Settles when the stream is over. An error on it is an end too: the exit code tells what happened. */
async function streamEnd(stream: Duplex): Promise<'ended'> {
  return new Promise((resolve) => {
    const finish = (): void => resolve('ended');
    stream.once('end', finish).once('close', finish).once('error', finish);
  });
}

/** Waits for the command, the deadline or the signal, whichever is first; null for the command. */
async function firstOf(ended: Promise<'ended'>, options: ExecOptions): Promise<'deadline' | 'signal' | null> {
  const { signal, timeoutMs } = options;
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  const interrupted = new Promise<'deadline' | 'signal'>((resolve) => {
    timer = setTimeout(() => resolve('deadline'), timeoutMs);
    onAbort = () => resolve('signal');
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
  });
  try {
    const first = await Promise.race([ended, interrupted]);
    return first === 'ended' ? null : first;
  } finally {
    clearTimeout(timer);
    if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
  }
}

/**
 * A deadline says something about a command only where we and the daemon were awake: one that is frozen (SIGSTOP, a paused
 * machine) lets a finished command look late, and stops one that writes, since nobody takes its output.
 * True when the command has ended by itself; throws an Infra failure when one of us slept.
 */
async function endedUnnoticed(
  exec: Docker.Exec,
  doing: string,
  startedAt: number,
  timeoutMs: number,
): Promise<boolean> {
  const { Running } = await dockerCall(doing, () => exec.inspect());
  if (Running === false) return true;
  const lateMs = performance.now() - startedAt - timeoutMs;
  if (lateMs < AWAKE_MS) return false;
  throw infraFailure(
    `This host or its Docker daemon stood still for ${Math.round(lateMs / 1000)} s when asked to ${doing}: its time limit says nothing.`,
  );
}

/** Kills, and waits until nothing holds the output any more. */
async function endProcesses(
  container: Docker.Container,
  user: string,
  ended: Promise<'ended'>,
  log: Logger,
): Promise<boolean> {
  const { restarted } = await killProcessesOf(container, user, log);
  const drained = await Promise.race([ended, sleep(DRAIN_AFTER_KILL_MS, 'late' as const, { ref: false })]);
  if (drained === 'ended' || restarted) return restarted;
  log.warn({ container: container.id }, 'output is still open after the kill: restarting the container');
  await restartWithoutGrace(container);
  return true;
}

/** The daemon may call a command running for a moment after its stream ended. */
async function exitCodeOf(exec: Docker.Exec, doing: string): Promise<number> {
  const giveUpAt = performance.now() + 10_000;
  for (let waitMs = 2; ; waitMs = Math.min(waitMs * 2, 200)) {
    const { Running, ExitCode } = await dockerCall(doing, () => exec.inspect());
    if (!Running && ExitCode !== null) return ExitCode;
    if (performance.now() > giveUpAt) {
      throw infraFailure(
        `Docker lost the exit code when asked to ${doing}: the output ended, the command did not.`,
      );
    }
    await sleep(waitMs);
  }
}

/**
 * A command that did not start or died by a signal, and a file that is not there, may have gone with their container
 * (removed or stopped from outside, daemon restarted): that says nothing about the command. Only another command tells,
 * since the recorded state lags behind; and where that fails too, time does: a container out of processes stays, one that
 * dies is soon recorded as dead.
 */
export async function assertAlive(container: Docker.Container, doing: string): Promise<void> {
  const giveUpAt = performance.now() + STATE_LAG_MS;
  for (;;) {
    if (await runsCommands(container, doing)) return;
    const { State } = await dockerCall(doing, () => container.inspect());
    if (!State.Running) throw infraFailure(`The container was stopped from outside when asked to ${doing}.`);
    if (performance.now() > giveUpAt) return;
    await sleep(100);
  }
}

async function runsCommands(container: Docker.Container, doing: string): Promise<boolean> {
  const probe = await dockerCall(doing, () =>
    container.exec({ Cmd: ['true'], User: '0:0', AttachStdout: true }),
  );
  const stream = await dockerCall(doing, () => probe.start({ hijack: true, stdin: false }));
  stream.resume();
  await streamEnd(stream);
  return (await exitCodeOf(probe, doing)) === 0;
}

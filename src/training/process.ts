import { spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { endProcess, identify, isRunning, type ProcessIdentity } from '../setup/processes.ts';
import { TRAINER_DIR } from '../setup/pythonEnvironments.ts';
import { createHttpTrainer } from './httpTrainer.ts';

export interface TrainerProcess extends AsyncDisposable {
  /** e.g. `http://127.0.0.1:41231` */
  readonly url: string;
  readonly pid: number;
  /** Resolves when it has ended, whoever ended it, with the last line of its log. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
}

export interface TrainerProcessOptions {
  /** Checkpoints, versions, journal, log and the note of its process. One trainer at a time works in it. */
  readonly dir: string;
  /** Of `ensurePythonEnvironment('trainer', …)`. */
  readonly python: string;
  /** Default: 127.0.0.1. Whoever reaches the port controls the trainer. */
  readonly host?: string;
  /** Default: a free one. */
  readonly port?: number;
  /** cuda, cuda:1, cpu. Default: cuda where there is one. */
  readonly device?: string;
  /** Threads on a CPU. Default: all cores. */
  readonly threads?: number;
}

const READY_LIMIT_MS = 180_000; // importing torch takes 5 s from a warm disk, and a minute from a cold one
const STOP_GRACE_MS = 5_000; // what is not committed then is done again
const MAX_LOG_BYTES = 20 * 2 ** 20;
const PASSED_ON =
  /^(PATH|HOME|TMPDIR|LANG|LC_ALL|TZ|LD_LIBRARY_PATH|(CUDA|NVIDIA|OMP|MKL|TORCH|PYTORCH|HF|NCCL)_\w+)$/;

/**
 * Starts the trainer service and waits until it answers. It ends with this process, also when that is killed: it watches
 * its parent. One that a dead process left is ended first.
 * Throws when a living process has one in this directory, and with the last line of the log when it does not come up.
 */
export async function startTrainer(options: TrainerProcessOptions): Promise<TrainerProcess> {
  const { dir } = options;
  mkdirSync(dir, { recursive: true });
  await endLeft(dir);
  const child = launch(options);
  const ended = new Promise<string>((resolve) => {
    child.once('exit', () => resolve(lastLine(dir)));
    child.once('error', (error) => resolve(error.message));
  });
  if (child.pid === undefined) throw new Error(`The trainer could not be started: ${await ended}`);
  const identity = identify(child.pid);
  const stop = async (): Promise<void> => {
    if (identity !== null) await endProcess(identity, STOP_GRACE_MS);
    await ended;
  };
  try {
    const url = await awaitReady(options, child.pid, ended);
    return { url, pid: child.pid, ended, stop, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The trainer that works in this directory, or null. Starts nothing. */
export function findTrainer(dir: string): (ProcessIdentity & { readonly port: number }) | null {
  try {
    const note = JSON.parse(readFileSync(noteOf(dir), 'utf8')) as {
      pid: number;
      start_time: string;
      port: number;
    };
    const identity = { pid: note.pid, startTime: note.start_time };
    return isRunning(identity) ? { ...identity, port: note.port } : null;
  } catch {
    return null; // never written, or cut short
  }
}

async function endLeft(dir: string): Promise<void> {
  const left = findTrainer(dir);
  const starter = starterOf(dir);
  if (left !== null && starter !== null && isRunning(starter))
    throw new Error(
      `A trainer works in ${dir} already (pid ${left.pid}, port ${left.port}), started by process ${starter.pid}: use that one, or end it first.`,
    );
  if (left !== null) await endProcess(left, STOP_GRACE_MS);
  rmSync(noteOf(dir), { force: true });
  const own = identify(process.pid);
  if (own !== null) writeFileSync(starterFile(dir), JSON.stringify(own));
}

function starterOf(dir: string): ProcessIdentity | null {
  try {
    return JSON.parse(readFileSync(starterFile(dir), 'utf8')) as ProcessIdentity;
  } catch {
    return null;
  }
}

function launch(options: TrainerProcessOptions): ReturnType<typeof spawn> {
  const { dir, python, host, port, device, threads } = options;
  const flags = { directory: dir, host: host ?? '127.0.0.1', port: port ?? 0, device, threads };
  const args = Object.entries(flags).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, String(value)],
  );
  const logFile = openSync(rotatedLog(dir), 'a');
  try {
    return spawn(python, ['-m', 'repoforge_trainer', ...args, '--with-parent'], {
      detached: true, // Ctrl-C in the terminal reaches us, and we end it in good order
      stdio: ['ignore', logFile, logFile],
      env: trainerEnvironment(),
    });
  } finally {
    closeSync(logFile);
  }
}

/** Only what it needs: our secrets are none of its business. */
function trainerEnvironment(): NodeJS.ProcessEnv {
  const passed = Object.entries(process.env).filter(([name]) => PASSED_ON.test(name));
  return { ...Object.fromEntries(passed), PYTHONPATH: TRAINER_DIR, PYTHONUNBUFFERED: '1' };
}

async function awaitReady(
  { dir, host = '' }: TrainerProcessOptions,
  pid: number,
  ended: Promise<string>,
): Promise<string> {
  let over: string | undefined;
  void ended.then((reason) => (over = reason));
  for (const deadline = Date.now() + READY_LIMIT_MS; Date.now() < deadline; await delay(50)) {
    if (over !== undefined) throw new Error(`The trainer ended at once: ${over} (log: ${logOf(dir)})`);
    const found = findTrainer(dir);
    if (found?.pid !== pid) continue;
    const url = `http://${['', '0.0.0.0', '::'].includes(host) ? '127.0.0.1' : host}:${found.port}`;
    const answers = await createHttpTrainer({ url })
      .health()
      .then(
        () => true,
        () => false,
      );
    if (answers) return url;
  }
  throw new Error(
    `The trainer (pid ${pid}) did not answer within ${READY_LIMIT_MS / 1_000} s (log: ${logOf(dir)})`,
  );
}

const noteOf = (dir: string): string => join(dir, 'trainer.json');
const starterFile = (dir: string): string => join(dir, 'starter.json');
const logOf = (dir: string): string => join(dir, 'trainer.log');

function rotatedLog(dir: string): string {
  const file = logOf(dir);
  if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > MAX_LOG_BYTES) renameSync(file, `${file}.old`);
  return file;
}

const lastLine = (dir: string): string =>
  readFileSync(logOf(dir), 'utf8').trimEnd().split('\n').at(-1)?.slice(0, 500) || 'it wrote no reason';

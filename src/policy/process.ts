import { spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../setup/ports.ts';
import { identify, isRunning, type ProcessIdentity } from '../setup/processes.ts';
import { GUARD } from './guard.ts';
import { createVllmServer } from './vllm.ts';

const READY_LIMIT_MS = 10 * 60_000; // 40-80 s for a tiny model on two idle cores; a large one is read from a disk first
const STOP_GRACE_MS = 10_000;
const LOG_LINES = 25;

export interface VllmOptions {
  /** Python of an environment with vLLM. */
  readonly python: string;
  /** Directory of the model. */
  readonly model: string;
  /** Name under which it is served. */
  readonly servedModel: string;
  /** Directory of this server's log and note; of one server at a time. */
  readonly directory: string;
  /** Default: one that is free. */
  readonly port?: number;
  /** null: without LoRA. A rank above what is used costs time on every token (32 instead of 8: six times as much). */
  readonly lora: { readonly maxRank: number; readonly maxLoras: number } | null;
  readonly maxModelTokens: number;
  readonly dtype?: 'float32' | 'bfloat16';
  /** On a CPU: room of the key-value cache, and threads. */
  readonly cpu?: { readonly cacheGiB: number; readonly threads?: number };
  /** More arguments of vLLM's API server. */
  readonly args?: readonly string[];
  readonly signal?: AbortSignal;
  readonly readyLimitMs?: number;
}

export interface VllmProcess extends AsyncDisposable {
  readonly address: string;
  /** Of the guard, which is the leader of the server's process group. */
  readonly pid: number;
  readonly log: string;
  /** Ends the server and all its processes; a second call does nothing. */
  stop(): Promise<void>;
  /** Resolves when it has ended, whoever ended it. */
  readonly ended: Promise<void>;
}

/**
 * Starts a vLLM server on this machine's loopback, for demos and tests, and waits until it answers. It ends with us, also
 * when we are killed. Throws with the log's last lines when it ends early or does not get ready in time.
 */
export async function startVllm(options: VllmOptions): Promise<VllmProcess> {
  const { directory, signal } = options;
  mkdirSync(directory, { recursive: true });
  sweepVllm(directory);
  const port = options.port ?? (await freePort());
  const log = rotatedLog(directory);
  const group = launch(options, port, log);
  const stop = async (): Promise<void> => {
    group.letGo();
    await endGroup(group, STOP_GRACE_MS + 5_000);
    rmSync(noteOf(directory), { force: true });
  };
  const server: VllmProcess = {
    address: `http://127.0.0.1:${port}`,
    pid: group.pid,
    log,
    stop,
    ended: group.ended,
    [Symbol.asyncDispose]: stop,
  };
  try {
    await awaitReady(server, group, options.readyLimitMs ?? READY_LIMIT_MS, signal);
    return server;
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Ends what an earlier start in this directory left. Its guard ends with its starter, so this finds something only when
 * the guard was killed, too. Throws when the server belongs to another process that still runs.
 */
export function sweepVllm(directory: string): void {
  const noted = readNote(directory);
  if (noted !== null && ownsGroup(noted)) {
    if (noted.starter.pid !== process.pid && isRunning(noted.starter))
      throw new Error(
        `Process ${noted.starter.pid} runs a vLLM server in ${directory}: use another directory.`,
      );
    killGroup(noted.pid);
  }
  rmSync(noteOf(directory), { force: true });
}

interface Group extends ProcessIdentity {
  readonly ended: Promise<void>;
  /** Closes the guard's input: it ends the server. */
  letGo(): void;
}

function launch(options: VllmOptions, port: number, log: string): Group {
  const logFile = openSync(log, 'a');
  try {
    const guard = GUARD.replace('GRACE', String(STOP_GRACE_MS / 1_000));
    const child = spawn(options.python, ['-c', guard, options.python, ...serverArguments(options, port)], {
      cwd: options.directory,
      detached: true, // a process group of its own, so that all of it can be ended
      stdio: ['pipe', logFile, logFile],
      env: serverEnvironment(options),
    });
    const ended = new Promise<void>((resolve) => {
      child.once('error', () => resolve());
      child.once('exit', () => resolve());
    });
    child.stdin?.on('error', () => undefined); // it may be gone before us
    const identity = child.pid === undefined ? null : identify(child.pid);
    if (identity === null) throw new Error(`${options.python} could not be started, or ended at once.`);
    const note = { ...identity, starter: identify(process.pid) };
    writeFileSync(noteOf(options.directory), `${JSON.stringify(note)}\n`);
    return { ...identity, ended, letGo: () => void child.stdin?.end() };
  } finally {
    closeSync(logFile);
  }
}

const CPU_BATCH_TOKENS = 4_096; // vLLM's own default there

function serverArguments(options: VllmOptions, port: number): readonly string[] {
  const { lora, cpu } = options;
  const words = [
    '-m vllm.entrypoints.openai.api_server',
    `--host 127.0.0.1 --port ${port}`, // its control routes ask nobody for a key
    `--dtype ${options.dtype ?? 'float32'} --max-model-len ${options.maxModelTokens}`,
    '--logprobs-mode processed_logprobs', // those that were sampled with: after temperature and masks
    // with the CPU's larger default each of n answers reads the prompt's last part again; 16 is refused
    cpu === undefined ? '' : '--enforce-eager --block-size 32',
    // a seeded request whose prompt is read in parts ends a CPU's engine (0.32: "CPU Generator does not use offset")
    cpu === undefined
      ? ''
      : `--no-enable-chunked-prefill --max-num-batched-tokens ${Math.max(CPU_BATCH_TOKENS, options.maxModelTokens)}`,
    lora === null ? '' : `--enable-lora --max-lora-rank ${lora.maxRank} --max-loras ${lora.maxLoras}`,
    lora === null ? '' : `--max-cpu-loras ${2 * lora.maxLoras}`,
  ];
  const model = ['--model', options.model, '--served-model-name', options.servedModel];
  return [...words.flatMap((some) => some.split(' ').filter(Boolean)), ...model, ...(options.args ?? [])];
}

/** Only what a server needs: secrets and settings of ours are none of its business. */
function serverEnvironment({ cpu }: VllmOptions): NodeJS.ProcessEnv {
  const kept =
    /^(PATH|HOME|TMPDIR|LANG|TZ|LD_LIBRARY_PATH|CUDA_.*|NVIDIA_.*|NCCL_.*|HF_HOME|OMP_.*|VLLM_.*)$/;
  return {
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => kept.test(name))),
    VLLM_SERVER_DEV_MODE: '1', // pause, resume, reload
    VLLM_ALLOW_RUNTIME_LORA_UPDATING: '1',
    VLLM_NO_USAGE_STATS: '1',
    HF_HUB_OFFLINE: '1', // the model is a directory
    // small functions are compiled even with --enforce-eager: the first request would wait half a minute for a compiler
    ...(cpu === undefined ? {} : { VLLM_CPU_KVCACHE_SPACE: String(cpu.cacheGiB), TORCHDYNAMO_DISABLE: '1' }),
    // by itself it binds its threads to the first cores, as every other server here would
    ...(cpu?.threads === undefined
      ? {}
      : { OMP_NUM_THREADS: String(cpu.threads), VLLM_CPU_OMP_THREADS_BIND: 'nobind' }),
  };
}

async function awaitReady(
  server: VllmProcess,
  group: Group,
  limitMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const client = createVllmServer(server.address);
  const deadline = Date.now() + limitMs;
  while (!(await client.healthy({ timeoutMs: 5_000 }))) {
    signal?.throwIfAborted();
    if (!isRunning(group))
      throw new Error(
        `vLLM ended before it was ready. Its last words (${server.log}):\n${lastLines(server.log)}`,
      );
    if (Date.now() > deadline) {
      throw new Error(
        `vLLM was not ready within ${limitMs / 1_000} s. Its last words (${server.log}):\n${lastLines(server.log)}`,
      );
    }
    await delay(250);
  }
}

/** The group's leader is the noted one, or has gone: the system gives a group's id to no new process while it has members. */
function ownsGroup(noted: ProcessIdentity): boolean {
  return isRunning(noted) || identify(noted.pid) === null;
}

async function endGroup(group: Group, limitMs: number): Promise<void> {
  const timer = new AbortController();
  await Promise.race([
    group.ended,
    delay(limitMs, undefined, { signal: timer.signal }).catch(() => undefined),
  ]);
  timer.abort();
  if (ownsGroup(group)) killGroup(group.pid); // the guard killed its own group, unless it hangs or was killed itself
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

const noteOf = (directory: string): string => join(directory, 'vllm.json');

/** The group's leader, and who started it. */
interface Note extends ProcessIdentity {
  readonly starter: ProcessIdentity;
}

function readNote(directory: string): Note | null {
  try {
    const { pid, startTime, starter } = JSON.parse(readFileSync(noteOf(directory), 'utf8')) as Partial<Note>;
    return pid && startTime && starter ? { pid, startTime, starter } : null;
  } catch {
    return null; // absent or cut short
  }
}

/** One log for each start, of which the last is kept. */
function rotatedLog(directory: string): string {
  const log = join(directory, 'vllm.log');
  if (readdirSync(directory).includes('vllm.log')) renameSync(log, `${log}.old`);
  return log;
}

/** The error is often above a trace of the libraries' own; a line of the log is cut where it is very long. */
function lastLines(log: string): string {
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
  const errors = lines.filter((line) => /error|exception|no such|cannot/i.test(line)).slice(-5);
  return [...new Set([...errors, ...lines.slice(-LOG_LINES)])].map((line) => line.slice(0, 300)).join('\n');
}

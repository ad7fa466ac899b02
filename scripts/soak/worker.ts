import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** A worker process of all roles. */
export interface WorkerProcess {
  readonly pid: number;
  signal(name: NodeJS.Signals): void;
  /** Signals, and waits until it is gone; an end that was asked for is no failure. */
  end(name: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  /** Largest resident memory so far, bytes; null when it is gone. */
  peakMemoryBytes(): number | null;
}

/**
 * Starts `workerProcess.ts` and waits until it polls.
 * @param label stands on its command line, where a look for left-over processes finds it
 * @param onLost called when it ends though nobody asked it to
 */
export async function startWorkerProcess(
  env: NodeJS.ProcessEnv,
  label: string,
  onLost: (how: string) => void,
): Promise<WorkerProcess> {
  const child: ChildProcess = spawn(
    process.execPath,
    [join(import.meta.dirname, 'workerProcess.ts'), label],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env,
    },
  );
  const { pid, stdout } = child;
  if (pid === undefined || stdout === null) throw new Error('The worker could not be started.');
  let asked = false;
  const ended = once(child, 'exit').then(([code, signal]) => {
    if (!asked) onLost(`the worker (pid ${pid}) ended by itself: ${String(code ?? signal)}`);
  });
  const ready = new Promise<boolean>((resolve) => {
    createInterface({ input: stdout }).once('line', () => resolve(true));
    void ended.then(() => resolve(false));
  });
  if (!(await ready)) throw new Error('The worker ended before it was ready.');
  return {
    pid,
    signal: (name) => void child.kill(name),
    async end(name) {
      asked = true;
      child.kill(name);
      await ended;
    },
    peakMemoryBytes: () => peakMemory(pid),
  };
}

function peakMemory(pid: number): number | null {
  try {
    const kibibytes = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kibibytes === undefined ? null : Number(kibibytes) * 1024;
  } catch {
    return null;
  }
}

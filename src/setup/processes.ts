import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** A process, told apart from a later one that got the same pid. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in the system's own spelling; only compared for equality. */
  readonly startTime: string;
}

/** Start time of a process, or null when there is none (a zombie counts as none). */
export function processStartTime(pid: number): string | null {
  try {
    if (process.platform === 'linux') {
      // the command in parentheses may hold spaces and parentheses: fields are counted after the last one
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return fields[0] === 'Z' ? null : (fields[19] ?? null);
    }
    const started = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' });
    return started.trim() || null;
  } catch {
    return null;
  }
}

/** The identity of a running process, or null. */
export function identify(pid: number): ProcessIdentity | null {
  const startTime = processStartTime(pid);
  return startTime === null ? null : { pid, startTime };
}

/** True while this very process runs; false when its pid was given to another one. */
export const isRunning = (who: ProcessIdentity): boolean => processStartTime(who.pid) === who.startTime;

/** Ends a process by SIGTERM, then SIGKILL after `graceMs`. Returns false when it was not running. */
export async function endProcess(who: ProcessIdentity, graceMs: number): Promise<boolean> {
  if (!isRunning(who)) return false;
  signal(who, 'SIGTERM');
  if (await endedWithin(who, graceMs)) return true;
  signal(who, 'SIGKILL');
  if (!(await endedWithin(who, 5_000))) throw new Error(`Process ${who.pid} did not end on SIGKILL.`);
  return true;
}

async function endedWithin(who: ProcessIdentity, milliseconds: number): Promise<boolean> {
  const deadline = Date.now() + milliseconds;
  while (isRunning(who)) {
    if (Date.now() > deadline) return false;
    await delay(20);
  }
  return true;
}

function signal(who: ProcessIdentity, name: NodeJS.Signals): void {
  try {
    process.kill(who.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
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

let ownTag: string | undefined;

/**
 * This process in one word that fits a file name and a label: pid, start time, and where both count (pid namespace and
 * host). What carries it can be told from what a dead process left, see `holderState`.
 */
export function processTag(): string {
  ownTag ??= [process.pid, (processStartTime(process.pid) ?? '').replace(/\W+/g, '_'), placeOfPids()].join(
    '.',
  );
  return ownTag;
}

/** `elsewhere`: another host or pid namespace, where nothing can be said about it from here. */
export type HolderState = 'running' | 'dead' | 'elsewhere';

/** Whether the process of a tag still runs. What is no tag counts as elsewhere: only its age can speak against it. */
export function holderState(tag: string): HolderState {
  const [pid = '', startTime = '', place = ''] = tag.split('.');
  if (!/^\d+$/.test(pid) || startTime === '' || place !== placeOfPids()) return 'elsewhere';
  return (processStartTime(Number(pid)) ?? '').replace(/\W+/g, '_') === startTime ? 'running' : 'dead';
}

function placeOfPids(): string {
  let namespace = '';
  try {
    namespace = readlinkSync('/proc/self/ns/pid');
  } catch {
    // no such thing here: the host alone says where
  }
  return createHash('sha256').update(`${hostname()} ${namespace}`).digest('hex').slice(0, 12);
}

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

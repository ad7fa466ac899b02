import { readFileSync, readdirSync } from 'node:fs';

const TICKS_PER_S = 100; // Linux tells processor time in USER_HZ, which is 100 everywhere

/** Processor seconds of processes and their children so far, ended ones included; 0 where there is no /proc. */
export function cpuSecondsOf(pids: readonly number[]): number {
  if (process.platform !== 'linux') return 0;
  let ticks = 0;
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const fields = statOf(name);
    const isOurs = pids.includes(Number(name));
    if (!isOurs && !pids.includes(Number(fields[1]))) continue;
    const of = isOurs ? [11, 12, 13, 14] : [11, 12]; // utime, stime, and those of children that were waited for
    ticks += of.reduce((sum, field) => sum + Number(fields[field] ?? 0), 0);
  }
  return ticks / TICKS_PER_S;
}

/** Fields of `/proc/<pid>/stat` from the state on: the command before it may hold spaces. */
function statOf(pid: string): readonly string[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return [];
  }
}

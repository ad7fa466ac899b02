import { holderState } from '../setup/processes.ts';
import { LABELS } from './labels.ts';
import type { Labels } from './labels.ts';

/** Longer than any activity may run (an hour): a container of one that is older has lost its worker. */
const ACTIVITY_OVER_MS = 2 * 3_600_000;
/** Commands have no deadline of their own. */
const COMMAND_OVER_MS = 25 * 3_600_000;

/**
 * Whether nobody owns a container any more. Of this host's processes it is known whether they live, and a living one's
 * containers are never touched, be it a worker, a second worker or a command. Others' go by age.
 */
export function isOrphan(labels: Labels, createdAtMs: number, nowMs: number = Date.now()): boolean {
  const state = holderState(labels[LABELS.process] ?? '');
  if (state !== 'elsewhere') return state === 'dead';
  const overMs = labels[LABELS.workflow] === undefined ? COMMAND_OVER_MS : ACTIVITY_OVER_MS;
  return nowMs - createdAtMs > overMs;
}

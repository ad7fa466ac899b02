import { drawsOf } from '../draws.ts';
import { shuffled } from '../shuffled.ts';
import type { GroupState, RlCounts } from './messages.ts';
import type { RlOptions } from './options.ts';

/**
 * When groups are dispatched and which are trained: the rules of the asynchronous loop. Pure.
 *
 * A group that is dispatched while version v is deployed is trained on version v + S at the latest, because at most
 * (S + v + 1) · B groups are ever dispatched by then and each step consumes the B oldest (AReaL's admission, arXiv 2505.24298).
 */

export interface LoopState {
  readonly options: Pick<RlOptions, 'groupsPerStep' | 'groupSize' | 'stale' | 'steps' | 'maxEmptyBatches'>;
  readonly width: number;
  readonly maxStaleness: number;
  /** Steps committed: the version that the next step trains on. */
  readonly step: number;
  /** Newest version that servers answer with. */
  readonly deployed: number;
  readonly groups: readonly GroupState[];
  readonly counts: Pick<RlCounts, 'trained' | 'droppedInRow'>;
}

const isRunning = (group: GroupState): boolean => group.endedMs === null;
const byPlace = (a: GroupState, b: GroupState): number => a.place - b.place;

/** Version of a group's oldest token; before the first one that of its dispatch. */
export const oldestOf = (group: GroupState): number => group.oldestVersion ?? group.dispatchedVersion;

/** How many groups may be dispatched now. */
export function admissible(state: LoopState): number {
  const { options, width, maxStaleness, deployed, groups, counts } = state;
  const running = groups.filter(isRunning).length;
  const accepted = counts.trained + groups.length - running;
  const lead = (maxStaleness + deployed + 1) * options.groupsPerStep - (accepted + running);
  const left = options.steps * options.groupsPerStep - (accepted + running); // nothing is sampled that no step will train
  return Math.max(0, Math.min(width - running, lead, left));
}

/** Why a group that has ended is not trained; null when it is. */
export function dropReason(group: GroupState): 'infra' | 'no_variance' | 'overlong' | null {
  const { rewards, masked = 0 } = group;
  if (rewards.length < 2) return 'infra';
  if (rewards.every((reward) => reward === rewards[0])) return 'no_variance';
  return masked >= rewards.length ? 'overlong' : null;
}

/** Groups that have ended and lie further back than the bound allows on the version trained next. */
export const staleGroups = ({ groups, step, maxStaleness }: LoopState): readonly GroupState[] =>
  groups.filter((group) => !isRunning(group) && step - oldestOf(group) > maxStaleness);

/**
 * The groups of the next step, the oldest dispatched first; null while the step must wait: for groups to end, or because
 * what it would leave could not all be trained in time any more. Where all that it leaves has ended, waiting would not help:
 * the bound was lowered under way, and what is stale by the next step is dropped there.
 */
export function nextBatch(state: LoopState): readonly GroupState[] | null {
  const { options, groups } = state;
  const waiting = groups.filter((group) => !isRunning(group)).toSorted(byPlace);
  if (waiting.length < options.groupsPerStep) return null;
  const batch = waiting.slice(0, options.groupsPerStep);
  const left = groups.filter((group) => !batch.includes(group));
  return options.stale === 'wait' && left.some(isRunning) && !fitsLater(state, left) ? null : batch;
}

/**
 * Whether the groups that a step leaves can all be trained within the bound: those due by version t fit into the steps up to
 * t. To look only at groups that are due at the next step is not enough: more slow ones than a step takes may fall due at once.
 */
function fitsLater({ options, step, maxStaleness }: LoopState, left: readonly GroupState[]): boolean {
  const due = left.map((group) => oldestOf(group) + maxStaleness).toSorted((a, b) => a - b);
  return due.every((version, index) => index < options.groupsPerStep * (version - step));
}

/** Whether so many groups in a row had nothing to teach that going on is a waste. */
export const isStuck = ({ options, counts }: LoopState): boolean =>
  counts.droppedInRow >= options.maxEmptyBatches * options.groupsPerStep;

const FIRST_WAIT_MS = 5_000;
const LONGEST_WAIT_MS = 10 * 60_000;

/**
 * How long to wait before groups are dispatched again: 0, or where infrastructure ended whole batches in a row twice as long
 * after each. It never ends the run, which goes on by itself when servers are back.
 */
export function outageWaitMs(infraInRow: number, groupsPerStep: number): number {
  const batches = Math.floor(infraInRow / groupsPerStep);
  return batches === 0 ? 0 : Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(batches - 1, 20));
}

/** The prompt of a place in the order of dispatch: every prompt once in each pass, in an order of its own. */
export function promptAt(seed: number, place: number, prompts: number): number {
  const order = shuffled(
    [...Array(prompts).keys()],
    drawsOf(`prompts ${seed} ${Math.floor(place / prompts)}`),
  );
  return order[place % prompts] ?? 0;
}

import type { StepTimeline } from '../activities/rlTypes.ts';
import type { RlStep } from '../domain/rl/messages.ts';
import type { EpisodeOutcome, PolicyCall, Trajectory } from '../domain/rl/trajectory.ts';
import { recordNames } from '../domain/records.ts';
import type { Span } from '../domain/rl/intervals.ts';
import type { ArtefactRef } from '../domain/types.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';

/**
 * The record of a training run: one entry for each step, first writer wins. Trajectories are digested when their groups end,
 * so that a look at a run of many steps reads its entries only, not gigabytes of tokens.
 */

export interface RlLogDeps {
  readonly records: RecordStore;
  readonly store: ArtefactStore;
  readonly run: string;
}

/** One request to a policy server without its tokens. */
export interface CallDigest extends Span {
  readonly server: string;
  readonly version: number | null;
  /** Choices: it ran as so many requests. */
  readonly requests: number;
  readonly promptTokens: number;
  readonly sampledTokens: number;
}

export interface RolloutDigest {
  readonly group: string;
  readonly trajectory: ArtefactRef;
  readonly instanceId: string;
  readonly calls: readonly CallDigest[];
  /** What was done in sandboxes. */
  readonly acts: readonly Span[];
  readonly episodes: readonly Pick<
    EpisodeOutcome,
    'member' | 'end' | 'reward' | 'verdict' | 'turns' | 'sampledTokens'
  >[];
}

export interface RlLogEntry {
  readonly schema: 1;
  readonly step: RlStep;
  readonly timeline: StepTimeline;
  readonly rollouts: readonly RolloutDigest[];
  /** Trajectories that were not in the store any more: what they did is missing from every figure. */
  readonly unreadable: readonly ArtefactRef[];
}

/** A score of the held-out instances. */
export interface RlHeldOut {
  readonly step: number;
  readonly reward: number;
  readonly episodes: number;
  /** Absent where nobody said which trajectories these were. */
  readonly rollouts?: readonly RolloutDigest[];
}

export interface RlLog {
  readonly run: string;
  /** Ascending by step. */
  readonly entries: readonly RlLogEntry[];
  /** Steps between 1 and the last one that have no entry. */
  readonly missing: readonly number[];
  readonly heldOut: readonly RlHeldOut[];
}

const READS_AT_ONCE = 16;

/** Records a step, once: a repeated call changes nothing. A trajectory that is gone is noted, and stops nobody. */
export async function appendStep(
  deps: RlLogDeps,
  { step, timeline }: { readonly step: RlStep; readonly timeline: StepTimeline },
): Promise<void> {
  const name = recordNames.rlStep(deps.run, step.step);
  if ((await deps.records.writtenAtMs(name)) !== null) return;
  const refs = timeline.groups.flatMap(({ trajectories }) => trajectories);
  const { rollouts, unreadable } = await digestAll(deps.store, refs);
  await deps.records.record<RlLogEntry>(name, { schema: 1, step, timeline, rollouts, unreadable });
}

/** Records a score of the held-out instances, once; with its trajectories, their requests count as the servers' work. */
export async function appendHeldOut(
  deps: RlLogDeps,
  score: {
    readonly step: number;
    readonly reward: number;
    readonly episodes: number;
    readonly trajectories?: readonly ArtefactRef[];
  },
): Promise<void> {
  const { step, reward, episodes, trajectories } = score;
  const name = recordNames.rlHeldOut(deps.run, step);
  if ((await deps.records.writtenAtMs(name)) !== null) return;
  const rollouts = trajectories === undefined ? {} : await digestAll(deps.store, trajectories);
  await deps.records.record<RlHeldOut>(name, { step, reward, episodes, ...rollouts });
}

/** The log of a run, or its last entries. Steps without an entry are named, not hidden. */
export async function readRlLog(
  records: RecordStore,
  run: string,
  { last = Number.POSITIVE_INFINITY }: { readonly last?: number } = {},
): Promise<RlLog> {
  const names = await records.list(recordNames.rlSteps(run));
  const steps = new Set(names.map((name) => Number(name.slice(name.lastIndexOf('/') + 1))));
  const newest = Math.max(0, ...steps);
  const read = async <T>(some: readonly string[]): Promise<readonly T[]> =>
    (await inBatches(some, (name) => records.read<T>(name))).filter((one) => one !== null);
  return {
    run,
    entries: await read<RlLogEntry>(names.slice(Math.max(0, names.length - last))),
    missing: Array.from({ length: newest }, (_none, index) => index + 1).filter((step) => !steps.has(step)),
    heldOut: await read<RlHeldOut>(await records.list(recordNames.rlHeldOuts(run))),
  };
}

async function digestAll(
  store: ArtefactStore,
  refs: readonly ArtefactRef[],
): Promise<Pick<RlLogEntry, 'rollouts' | 'unreadable'>> {
  const digests = await inBatches(refs, async (ref) =>
    (await store.has(ref)) ? digestOf(ref, await store.getJson<Trajectory>(ref)) : ref,
  );
  return {
    rollouts: digests.filter((one) => typeof one === 'object'),
    unreadable: digests.filter((one) => typeof one === 'string'),
  };
}

/** A trajectory's times and counts without its tokens. Members that share a request count it once. */
export function digestOf(ref: ArtefactRef, trajectory: Trajectory): RolloutDigest {
  const calls = new Map<string, CallDigest>();
  for (const { steps } of trajectory.episodes)
    for (const [turn, { call }] of steps.entries()) {
      // of several choices, all members tell of the same request; of one, each tells of its own
      const owner = call.choices.length > 1 ? '' : `${calls.size}`;
      calls.set(`${owner} ${turn} ${call.server} ${call.startedMs} ${call.endedMs}`, digestOfCall(call));
    }
  return {
    group: trajectory.group,
    trajectory: ref,
    instanceId: trajectory.instanceId,
    calls: [...calls.values()],
    acts: trajectory.episodes.flatMap(({ steps }) =>
      steps.flatMap(({ step: { startedMs, endedMs } }) =>
        endedMs > startedMs ? [{ startedMs, endedMs }] : [],
      ),
    ),
    episodes: trajectory.episodes.map(({ member, end, reward, verdict, turns, sampledTokens }) => ({
      member,
      end,
      reward,
      verdict,
      turns,
      sampledTokens,
    })),
  };
}

const digestOfCall = ({
  server,
  version,
  startedMs,
  endedMs,
  choices,
  promptTokenIds,
}: PolicyCall): CallDigest => ({
  server,
  version,
  startedMs,
  endedMs,
  requests: choices.length,
  promptTokens: promptTokenIds.length,
  sampledTokens: choices.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0),
});

async function inBatches<T, U>(items: readonly T[], work: (item: T) => Promise<U>): Promise<U[]> {
  const done: U[] = [];
  for (let at = 0; at < items.length; at += READS_AT_ONCE)
    done.push(...(await Promise.all(items.slice(at, at + READS_AT_ONCE).map(work))));
  return done;
}

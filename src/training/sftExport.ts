import { createHash } from 'node:crypto';
import { mayTrainOn } from '../domain/rl/groupIds.ts';
import type { RolloutOutcome, Trajectory, TrajectoryEpisode } from '../domain/rl/trajectory.ts';
import { isInfra } from '../domain/rl/trajectory.ts';
import type { ArtefactRef } from '../domain/types.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';
import { trainedBranches } from './sftBranches.ts';
import type { SftExample } from './sftFile.ts';

/**
 * Rejection sampling (arXiv 2308.01825): of everything that a run sampled, the episodes that were paid enough, as supervised
 * examples of exact tokens. For supervised training before or between training by rewards.
 */
export interface SftExportRequest {
  /** A `rollout run` or an rl run. */
  readonly run: string;
  /** Least reward of an episode that is kept. */
  readonly minReward: number;
  /** Most episodes kept of one instance; the shortest first. null: all. */
  readonly maxPerInstance: number | null;
}

export interface SftExportCounts {
  readonly episodes: number;
  /** Of held-out instances, which stay unseen; and choices of a selector among a coder's attempts. */
  readonly notForTraining: number;
  /** Ended by infrastructure: nothing about the policy. */
  readonly infra: number;
  readonly tooLowReward: number;
  /** The same tokens as another one of the instance. */
  readonly duplicates: number;
  readonly beyondPerInstance: number;
  /** The server did not tell tokens. */
  readonly withoutTokens: number;
  /** Trajectories that are not in the store any more. */
  readonly unreadable: number;
  readonly examples: number;
  readonly tokens: number;
}

/** The examples of a run, by instance and episode. Throws when there is no such run. */
export async function exportSft(
  deps: { readonly records: RecordStore; readonly store: ArtefactStore },
  request: SftExportRequest,
): Promise<{ readonly examples: readonly SftExample[]; readonly counts: SftExportCounts }> {
  const prefix = `rollouts/${request.run}`;
  const names = (await deps.records.list(prefix)).filter((name) => name.endsWith('/outcome'));
  if (names.length === 0) throw new Error(`There is no run "${request.run}" with rollouts that have ended.`);
  const kept = new Map<string, Candidate[]>();
  const counts = { ...NO_COUNTS };
  for (const name of names) {
    const ref = (await deps.records.read<RolloutOutcome>(name))?.trajectory ?? null;
    if (ref === null) continue;
    const trajectory = await readTrajectory(deps.store, ref);
    if (trajectory === null) counts.unreadable += 1;
    else collect(trajectory, request, kept, counts);
  }
  const examples = [...kept.entries()]
    .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .flatMap(([, candidates]) => chosen(candidates, request, counts));
  counts.examples = examples.length;
  counts.tokens = examples.reduce((sum, { positions }) => sum + positions.length, 0);
  return { examples, counts };
}

const NO_COUNTS: SftExportCounts = {
  episodes: 0,
  notForTraining: 0,
  infra: 0,
  tooLowReward: 0,
  duplicates: 0,
  beyondPerInstance: 0,
  withoutTokens: 0,
  unreadable: 0,
  examples: 0,
  tokens: 0,
};
type Counts = { -readonly [name in keyof SftExportCounts]: number };

interface Candidate {
  readonly examples: readonly SftExample[];
  readonly digest: string;
}

async function readTrajectory(store: ArtefactStore, ref: ArtefactRef): Promise<Trajectory | null> {
  return (await store.has(ref)) ? store.getJson<Trajectory>(ref) : null;
}

function collect(
  trajectory: Trajectory,
  { minReward }: SftExportRequest,
  kept: Map<string, Candidate[]>,
  counts: Counts,
): void {
  for (const episode of trajectory.episodes) {
    counts.episodes += 1;
    if (!mayTrainOn(trajectory.group)) counts.notForTraining += 1;
    else if (isInfra(episode.end) || episode.reward === null) counts.infra += 1;
    else if (episode.reward < minReward) counts.tooLowReward += 1;
    else {
      const candidate = candidateOf(trajectory, episode);
      if (candidate === null) counts.withoutTokens += 1;
      else kept.set(trajectory.instanceId, [...(kept.get(trajectory.instanceId) ?? []), candidate]);
    }
  }
}

function candidateOf(trajectory: Trajectory, episode: TrajectoryEpisode): Candidate | null {
  const branches = trainedBranches(episode);
  if (branches === null) return null;
  const id = `${trajectory.run}/${trajectory.group}/${episode.member}`;
  const examples = branches.map(({ tokenIds, positions }, at) => ({
    schema: 1 as const,
    id: `${id}/${at}`,
    instanceId: trajectory.instanceId,
    reward: episode.reward ?? 0,
    tokenIds,
    positions,
    weight: 1,
  }));
  const digest = createHash('sha256')
    .update(JSON.stringify(branches.map(({ tokenIds }) => tokenIds)))
    .digest('hex');
  return { examples, digest };
}

/** What says the same counts once: otherwise the easiest instances would be learned most. */
function chosen(
  candidates: readonly Candidate[],
  { maxPerInstance }: SftExportRequest,
  counts: Counts,
): readonly SftExample[] {
  const distinct = [...new Map(candidates.map((one) => [one.digest, one])).values()];
  counts.duplicates += candidates.length - distinct.length;
  const length = ({ examples }: Candidate): number =>
    examples.reduce((sum, one) => sum + one.tokenIds.length, 0);
  const best = distinct.toSorted((a, b) => length(a) - length(b)).slice(0, maxPerInstance ?? distinct.length);
  counts.beyondPerInstance += distinct.length - best.length;
  return best.flatMap(({ examples }) => examples);
}

import { drawsOf } from '../draws.ts';
import { joinTurns } from './branches.ts';
import type { Turn } from './branches.ts';
import type { RlOptions } from './options.ts';
import type { TrainingSample } from './training.ts';
import { isInfra, isOverlong } from './trajectory.ts';
import type { Trajectory, TrajectoryEpisode } from './trajectory.ts';
import { shuffled } from '../shuffled.ts';

/** From trajectories to what a trainer is sent: branches of exact tokens, advantages of groups, weights of a token mean. Pure. */

/** Tokens of one unbroken context, of which some were sampled. Arrays of sampled tokens are parallel. */
export interface Branch {
  readonly tokenIds: readonly number[];
  readonly positions: readonly number[];
  readonly logprobs: readonly number[];
  readonly allowed: readonly (readonly number[] | null)[];
  readonly versions: readonly number[];
}

/** What is trained of an episode. Throws when a call does not tell its tokens or its version. */
export function branchesOf(episode: Pick<TrajectoryEpisode, 'steps'>): readonly Branch[] {
  return joinTurns(episode.steps.map(turnOf)).map(({ tokenIds, turns }) => ({
    tokenIds,
    positions: turns.flatMap(({ answer, at }) => answer.tokenIds.map((_, index) => at + index)),
    logprobs: turns.flatMap(({ answer }) => answer.logprobs),
    allowed: turns.flatMap(({ answer }) =>
      answer.tokenIds.map((_, index) => answer.allowed?.[index] ?? null),
    ),
    versions: turns.flatMap(({ call, answer }) => answer.tokenIds.map(() => call.version ?? 0)),
  }));
}

function turnOf({ call, choice }: TrajectoryEpisode['steps'][number]): Turn {
  const answer = call.choices[choice];
  if (answer === undefined || call.version === null)
    throw new Error('a call without its answer or its version cannot be trained on');
  if (answer.logprobs.length !== answer.tokenIds.length)
    throw new Error(
      `${answer.tokenIds.length} tokens were recorded with ${answer.logprobs.length} log-probabilities`,
    );
  if (answer.tokenIds.length > 0 && call.promptTokenIds.length === 0)
    throw new Error('the server did not tell the tokens of a prompt');
  return { call, answer };
}

/** Advantage of each reward in its group (GRPO, arXiv 2402.03300): reward − mean, over the standard deviation where asked. */
export function advantagesOf(rewards: readonly number[], normalise: boolean): readonly number[] {
  const mean = rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length;
  const variance = rewards.reduce((sum, reward) => sum + (reward - mean) ** 2, 0) / rewards.length;
  const scale = normalise && variance > 0 ? Math.sqrt(variance) : 1;
  return rewards.map((reward) => (reward - mean) / scale);
}

export interface BatchSamples {
  readonly samples: readonly TrainingSample[];
  readonly forks: number;
  /** Tokens that are trained: sampled, not masked, and with a choice. */
  readonly tokens: number;
  /** Mean reward of the episodes that count in their groups' means. */
  readonly reward: number;
  /** Version trained on minus the version of the oldest token, one for each sample. */
  readonly staleness: readonly number[];
}

type Options = Pick<
  RlOptions,
  'normaliseAdvantages' | 'filterOverlong' | 'temperature' | 'permuteRewards' | 'seed'
>;

/**
 * Samples of one step. Episodes that infrastructure ended are left out; overlong ones count in their group's mean and are
 * masked in the loss where the options say so; forks of an episode share its advantage. Weights make the loss a mean over
 * all trained tokens of the step.
 * @param groups trajectories by group @param version that the step trains on
 */
export function batchSamples(
  groups: readonly { readonly id: string; readonly trajectories: readonly Trajectory[] }[],
  options: Options,
  version: number,
): BatchSamples {
  const counted = groups.map(({ id, trajectories }) => ({
    id,
    episodes: trajectories
      .flatMap(({ episodes }) => episodes)
      .filter(({ end, reward }) => !isInfra(end) && reward !== null)
      .toSorted((a, b) => a.member - b.member),
  }));
  const all = counted.flatMap(({ episodes }) => episodes.map(({ reward }) => reward ?? 0));
  const rewards = options.permuteRewards
    ? shuffled(all, drawsOf(`permuted rewards ${options.seed} ${version}`))
    : all;
  let next = 0;
  let forks = 0;
  const samples: Omit<TrainingSample, 'weight'>[] = [];
  for (const { id, episodes } of counted) {
    const own = rewards.slice(next, (next += episodes.length));
    const advantages = advantagesOf(own, options.normaliseAdvantages);
    for (const [index, episode] of episodes.entries()) {
      const branches = branchesOf(episode);
      forks += Math.max(0, branches.length - 1);
      if (options.filterOverlong && isOverlong(episode.end)) continue;
      const advantage = advantages[index] ?? 0;
      samples.push(
        ...branches.map((branch, at) =>
          sampleOf(`${id}/${episode.member}/${at}`, branch, advantage, options),
        ),
      );
    }
  }
  const tokens = samples.reduce((sum, sample) => sum + freeTokens(sample), 0);
  const weight = 1 / Math.max(1, tokens);
  return {
    samples: samples.map((sample) => ({ ...sample, weight })),
    forks,
    tokens,
    reward: all.reduce((sum, reward) => sum + reward, 0) / Math.max(1, all.length),
    staleness: samples.map(({ oldestVersion }) => version - oldestVersion),
  };
}

const sampleOf = (
  sampleId: string,
  branch: Branch,
  advantage: number,
  { temperature }: Options,
): Omit<TrainingSample, 'weight'> => ({
  sampleId,
  tokenIds: branch.tokenIds,
  positions: branch.positions,
  logprobs: branch.logprobs,
  ...(branch.allowed.every((ids) => ids === null) ? {} : { allowed: branch.allowed }),
  advantage,
  temperature,
  oldestVersion: Math.min(...branch.versions),
  newestVersion: Math.max(...branch.versions),
});

/** A place where one token was allowed teaches nothing, and the trainer leaves it out. */
const freeTokens = ({ positions, allowed }: Pick<TrainingSample, 'positions' | 'allowed'>): number =>
  positions.filter((_, index) => allowed?.[index]?.length !== 1).length;

/** Smallest, mean, 95th percentile and largest of some numbers; zeros for none. */
export function spread(numbers: readonly number[]): {
  readonly min: number;
  readonly mean: number;
  readonly p95: number;
  readonly max: number;
} {
  if (numbers.length === 0) return { min: 0, mean: 0, p95: 0, max: 0 };
  const sorted = numbers.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  return {
    min: at(0),
    mean: sorted.reduce((sum, one) => sum + one, 0) / sorted.length,
    p95: at(0.95),
    max: sorted.at(-1) ?? 0,
  };
}

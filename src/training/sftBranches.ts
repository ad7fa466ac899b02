import { joinTurns } from '../domain/rl/branches.ts';
import type { JoinedTurns } from '../domain/rl/branches.ts';
import type { TrajectoryEpisode } from '../domain/rl/trajectory.ts';

/** Tokens of one unbroken context, and the places of those that the policy sampled with a choice. */
export interface SftBranch {
  readonly tokenIds: readonly number[];
  readonly positions: readonly number[];
}

/**
 * What a model is tuned on of an episode. null when a server did not tell tokens, or nothing was sampled. Unlike for training
 * by rewards, versions and log-probabilities do not matter.
 */
export function trainedBranches({ steps }: Pick<TrajectoryEpisode, 'steps'>): readonly SftBranch[] | null {
  const turns = steps.flatMap(({ call, choice }) => {
    const answer = call.choices[choice];
    return answer === undefined || call.promptTokenIds.length === 0 ? [] : [{ call, answer }];
  });
  if (turns.length < steps.length) return null;
  const learned = joinTurns(turns)
    .map((branch) => ({ tokenIds: branch.tokenIds, positions: branch.turns.flatMap(chosenPlaces) }))
    .filter(({ positions }) => positions.length > 0);
  return learned.length === 0 ? null : learned;
}

/** A forced token teaches nothing. */
const chosenPlaces = ({ answer, at }: JoinedTurns['turns'][number]): readonly number[] =>
  answer.tokenIds.flatMap((_, index) => (answer.allowed?.[index]?.length === 1 ? [] : [at + index]));

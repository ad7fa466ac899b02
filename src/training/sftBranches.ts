import type { TrajectoryEpisode } from '../domain/rl/trajectory.ts';

/** Tokens of one unbroken context, and the places of those that the policy sampled with a choice. */
export interface SftBranch {
  readonly tokenIds: readonly number[];
  readonly positions: readonly number[];
}

/**
 * Turns are one branch as long as each prompt extends exactly what came before. null when a server did not tell tokens, or
 * nothing was sampled. Unlike for training by rewards, versions and log-probabilities do not matter.
 */
export function trainedBranches({ steps }: Pick<TrajectoryEpisode, 'steps'>): readonly SftBranch[] | null {
  const branches: { tokenIds: number[]; positions: number[] }[] = [];
  for (const { call, choice } of steps) {
    const answer = call.choices[choice];
    if (answer === undefined || call.promptTokenIds.length === 0) return null;
    const last = branches.at(-1);
    const extendsLast =
      last !== undefined && last.tokenIds.every((token, at) => call.promptTokenIds[at] === token);
    const branch = extendsLast ? last : { tokenIds: [], positions: [] };
    if (!extendsLast) branches.push(branch);
    for (const token of call.promptTokenIds.slice(branch.tokenIds.length)) branch.tokenIds.push(token);
    for (const [index, token] of answer.tokenIds.entries()) {
      if (answer.allowed?.[index]?.length !== 1) branch.positions.push(branch.tokenIds.length); // a forced token teaches nothing
      branch.tokenIds.push(token);
    }
  }
  const learned = branches.filter(({ positions }) => positions.length > 0);
  return learned.length === 0 ? null : learned;
}

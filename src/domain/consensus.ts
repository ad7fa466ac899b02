import type { LabelConsensus, LabelScore } from './types.ts';

/** One labeller's answer in one dimension. A retried vote is one vote: the caller hands in what stands in the end. */
export interface Vote {
  readonly score: LabelScore;
  readonly rationale: string;
}

/**
 * Votes to one label (SPICE, arXiv 2507.09108, and DESIGN section 7). Missing votes are null and do not count.
 * The score that more than half of the votes name wins (`majority`); else the median, of an even number the worse
 * middle one. Votes on both sides of the line between {0,1} (usable) and {2,3} (not usable) make it controversial.
 * The rationale is that of the first vote nearest to the result. null when no vote is left: there is no label then.
 */
export function consensusOf(votes: readonly (Vote | null)[]): LabelConsensus | null {
  const present = votes.filter((vote) => vote !== null);
  if (present.length === 0) return null;
  const scores = present.map((vote) => vote.score);
  const sorted = scores.toSorted((a, b) => a - b);
  const majority = sorted.find(
    (score) => scores.filter((other) => other === score).length * 2 > scores.length,
  );
  const byMajority = majority !== undefined && scores.length > 1;
  const score = majority ?? sorted[Math.floor(sorted.length / 2)] ?? 3;
  const nearest = present.toSorted((a, b) => Math.abs(a.score - score) - Math.abs(b.score - score))[0];
  return {
    score,
    votes: scores,
    method: byMajority ? 'majority' : 'median',
    controversial: scores.some((vote) => vote <= 1) && scores.some((vote) => vote >= 2),
    rationale: nearest?.rationale ?? '',
  };
}

/** Consensus of a rule instead of votes: one score, never controversial. */
export const heuristicConsensus = (score: LabelScore, rationale: string): LabelConsensus => ({
  score,
  votes: [score],
  method: 'heuristic',
  controversial: false,
  rationale,
});

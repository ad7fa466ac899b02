import { expect, test } from 'vitest';
import { consensusOf, heuristicConsensus, type Vote } from '../../src/domain/consensus.ts';
import type { LabelScore } from '../../src/domain/types.ts';

const vote = (score: LabelScore): Vote => ({ score, rationale: `because ${score}` });

type Row = readonly [
  votes: readonly (LabelScore | null)[],
  score: LabelScore,
  method: string,
  controversial: boolean,
];
const rows: readonly Row[] = [
  [[0, 0, 0], 0, 'majority', false],
  [[0, 0, 1], 0, 'majority', false],
  [[1, 0, 1], 1, 'majority', false],
  [[2, 3, 3], 3, 'majority', false],
  [[1, 1, 2], 1, 'majority', true],
  [[0, 3, 3], 3, 'majority', true],
  [[0, 1, 2], 1, 'median', true],
  [[3, 0, 1], 1, 'median', true],
  [[1, 2, 3], 2, 'median', true],
  [[null, 2, 2], 2, 'majority', false],
  [[null, 0, 1], 1, 'median', false], // of two, the worse
  [[1, null, 2], 2, 'median', true],
  [[null, null, 3], 3, 'median', false],
  [[0, 0, 1, 1, 3], 1, 'median', true], // named most often is not named by more than half
  [[2, 2, 2, 0, 1], 2, 'majority', true],
];

test.each(rows)('votes %j give %i by %s, controversial %s', (votes, score, method, controversial) => {
  const consensus = consensusOf(votes.map((value) => (value === null ? null : vote(value))));
  expect(consensus).toMatchObject({ score, method, controversial });
  expect(consensus?.votes).toEqual(votes.filter((value) => value !== null));
});

test('the rationale is that of a vote for the result', () => {
  expect(consensusOf([vote(3), vote(0), vote(1)])?.rationale).toBe('because 1');
});

test('without any vote there is no label', () => {
  expect(consensusOf([null, null, null])).toBeNull();
  expect(consensusOf([])).toBeNull();
});

test('a rule is one vote, never controversial', () => {
  expect(heuristicConsensus(2, 'why')).toEqual({
    score: 2,
    votes: [2],
    method: 'heuristic',
    controversial: false,
    rationale: 'why',
  });
});

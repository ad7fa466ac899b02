import { expect, test } from 'vitest';
import { isComplete, filledBy, parseVote } from '../../src/labeling/voteParser.ts';

const JSON_ANSWER =
  '{"issue_clarity":{"reason":"clear","score":0},"test_fairness":{"rejected_solution":"none","reason":"fair","score":1},"effort":{"reason":"small","score":2}}';
const scores = (answer: string | null): readonly (number | null)[] => {
  const { issue_clarity, test_fairness, effort } = parseVote(answer);
  return [issue_clarity, test_fairness, effort].map((vote) => vote?.score ?? null);
};
const nested = (score: unknown): string =>
  `{"issue_clarity":{"score":${JSON.stringify(score)}},"test_fairness":{"score":1},"effort":{"score":2}}`;

test.each<readonly [string, string | null, readonly (number | null)[]]>([
  ['plain JSON', JSON_ANSWER, [0, 1, 2]],
  ['fenced JSON', `\`\`\`json\n${JSON_ANSWER}\n\`\`\``, [0, 1, 2]],
  ['JSON among words', `Here is my grading:\n${JSON_ANSWER}\nHope this helps {really}!`, [0, 1, 2]],
  [
    'a think-block with other scores first',
    `<think>{"issue_clarity":3} maybe effort: 3</think>${JSON_ANSWER}`,
    [0, 1, 2],
  ],
  ['a think-block without its opening tag', `so issue_clarity: 3 I think</think>\n${JSON_ANSWER}`, [0, 1, 2]],
  ['a think-block that never ends', `<think>issue_clarity: 3, effort: 2`, [null, null, null]],
  [
    'a draft and a final object',
    `${JSON_ANSWER.replaceAll(/"score":\d/g, '"score":3')} On reflection: ${JSON_ANSWER}`,
    [0, 1, 2],
  ],
  ['flat scores', '{"issue_clarity": 1, "test_fairness": "2", "effort_score": 3}', [1, 2, 3]],
  [
    'keys in other spellings',
    '{"Issue Clarity": {"score": "1"}, "testFairness": {"score": 0}, "Effort": {"score": 2}}',
    [1, null, 2],
  ],
  [
    'trailing commas',
    '{"issue_clarity":{"score":1,},"test_fairness":{"score":1,},"effort":{"score":1,},}',
    [1, 1, 1],
  ],
  [
    'a brace inside a string',
    '{"issue_clarity":{"reason":"a } here","score":1},"test_fairness":{"score":0},"effort":{"score":0}}',
    [1, 0, 0],
  ],
  [
    'score words',
    '{"issue_clarity":{"score":"one"},"test_fairness":{"score":"2/3"},"effort":{"score":"Score: 3"}}',
    [1, 2, 3],
  ],
  ['prose', '**Issue clarity**: 2 - vague\nTest fairness = one\nEffort score: 3/3', [2, 1, 3]],
  [
    'prose with a range is no vote',
    'Issue clarity: 0-3, test_fairness: 1 or 2, effort: 1.5',
    [null, null, null],
  ],
  ['the template repeated', 'issue_clarity: N, test_fairness: N, effort: N', [null, null, null]],
  ['a refusal', 'I cannot help with that.', [null, null, null]],
  ['nothing', '', [null, null, null]],
  ['no text at all', null, [null, null, null]],
  ['one dimension missing', '{"issue_clarity":{"score":1},"effort":{"score":2}}', [1, null, 2]],
  ['cut off in the middle', JSON_ANSWER.slice(0, 90), [null, null, null]],
])('%s reads as expected', (_title, answer, expected) => {
  expect(scores(answer)).toEqual(expected);
});

test.each([4, -1, 1.5, null, true, '0-3', '5', 'two to three', '1.5', '1 to 2', {}, [1], ''])(
  '%j is no score',
  (score) => {
    expect(scores(nested(score))).toEqual([null, 1, 2]);
  },
);

test('a rejected solution joins the rationale only where the tests are found unfair', () => {
  const answer = (score: number): string =>
    `{"issue_clarity":0,"test_fairness":{"rejected_solution":"raise ValueError","reason":"narrow","score":${score}},"effort":0}`;
  expect(parseVote(answer(2)).test_fairness?.rationale).toBe('narrow Rejected: raise ValueError');
  expect(parseVote(answer(0)).test_fairness?.rationale).toBe('narrow');
});

test('rationales are cut, whatever the model wrote', () => {
  const answer = `{"issue_clarity":{"reason":"${'x'.repeat(9_000)}","score":1},"test_fairness":1,"effort":1}`;
  expect(parseVote(answer).issue_clarity?.rationale).toHaveLength(600);
});

test('a flood of braces is answered at once', () => {
  const started = performance.now();
  expect(isComplete(parseVote('{'.repeat(200_000)))).toBe(false);
  expect(performance.now() - started).toBeLessThan(5_000);
});

test('a retry fills what was missing and overrides nothing', () => {
  const first = parseVote('{"issue_clarity":1,"test_fairness":9,"effort":2}');
  const merged = filledBy(first, parseVote('{"issue_clarity":3,"test_fairness":3,"effort":3}'));
  expect([merged.issue_clarity?.score, merged.test_fairness?.score, merged.effort?.score]).toEqual([1, 3, 2]);
});

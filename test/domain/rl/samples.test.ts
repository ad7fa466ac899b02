import { describe, expect, test } from 'vitest';
import { advantagesOf, batchSamples, branchesOf, spread } from '../../../src/domain/rl/samples.ts';
import type {
  EpisodeEnd,
  PolicyCall,
  Trajectory,
  TrajectoryEpisode,
} from '../../../src/domain/rl/trajectory.ts';

const call = (
  prompt: number[],
  tokens: number[],
  facts: Partial<PolicyCall> = {},
  allowed?: (number[] | null)[],
): PolicyCall => ({
  schema: 1,
  server: 'http://server',
  model: 'm',
  version: 3,
  temperature: 1,
  maxTokens: 10,
  promptTokenIds: prompt,
  choices: [
    {
      tokenIds: tokens,
      logprobs: tokens.map((token) => -token / 10),
      ...(allowed === undefined ? {} : { allowed }),
      text: '',
      finishReason: 'stop',
    },
  ],
  startedMs: 0,
  endedMs: 1,
  ...facts,
});
const step = { action: 'bash', argument: '', observation: null, exitCode: null, startedMs: 0, endedMs: 0 };
const episode = (calls: PolicyCall[], facts: Partial<TrajectoryEpisode> = {}): TrajectoryEpisode => ({
  member: 0,
  end: 'finished' as EpisodeEnd,
  reward: 1,
  verdict: 'resolved',
  turns: calls.length,
  sampledTokens: 0,
  patch: null,
  note: '',
  steps: calls.map((one) => ({ call: one, choice: 0, step })),
  ...facts,
});
const trajectory = (episodes: TrajectoryEpisode[]): Trajectory => ({
  schema: 1,
  run: 'r',
  group: 'g',
  agent: 'coder',
  instanceId: 'i',
  episodes,
});

describe('branchesOf', () => {
  test('turns whose prompts extend what came before are one branch', () => {
    const [branch, ...more] = branchesOf(episode([call([1, 2], [3, 4]), call([1, 2, 3, 4, 5], [6])]));
    expect(more).toEqual([]);
    expect(branch).toEqual({
      tokenIds: [1, 2, 3, 4, 5, 6],
      positions: [2, 3, 5],
      logprobs: [-0.3, -0.4, -0.6],
      allowed: [null, null, null],
      versions: [3, 3, 3],
    });
  });
  test('a prompt that rewrites one earlier token begins another branch', () => {
    const branches = branchesOf(episode([call([1, 2], [3, 4]), call([1, 2, 3, 9, 5], [6])]));
    expect(branches.map(({ tokenIds }) => tokenIds)).toEqual([
      [1, 2, 3, 4],
      [1, 2, 3, 9, 5, 6],
    ]);
    expect(branches[1]?.positions).toEqual([5]);
  });
  test('a prompt that is shorter than what came before begins another branch', () => {
    expect(branchesOf(episode([call([1, 2], [3, 4]), call([1, 2, 3], [6])]))).toHaveLength(2);
  });
  test('masked-in tokens are exactly the sampled ones, also over versions', () => {
    const branches = branchesOf(episode([call([7], [8]), call([7, 8, 1], [2], { version: 5 })]));
    for (const { tokenIds, positions } of branches)
      expect(positions.map((at) => tokenIds[at])).toEqual([8, 2]);
    expect(branches[0]?.versions).toEqual([3, 5]);
  });
  test.each([
    ['without a version', call([1], [2], { version: null }), /version/],
    ['without the prompt', call([], [2]), /prompt/],
    [
      'with a log-probability too few',
      call([1], [2], { choices: [{ tokenIds: [2], logprobs: [], text: '', finishReason: 'stop' }] }),
      /0 log-probabilities/,
    ],
  ])('refuses a call %s', (_name, one, message) => {
    expect(() => branchesOf(episode([one]))).toThrow(message);
  });
});

describe('advantagesOf', () => {
  test('is the distance from the mean, and over the standard deviation where asked', () => {
    expect(advantagesOf([1, 0, 0, 1], false)).toEqual([0.5, -0.5, -0.5, 0.5]);
    expect(advantagesOf([1, 0, 0, 1], true)).toEqual([1, -1, -1, 1]);
  });
  test('equal rewards teach nothing', () => {
    expect(advantagesOf([1, 1], true)).toEqual([0, 0]);
  });
});

const OPTIONS = {
  normaliseAdvantages: false,
  filterOverlong: true,
  temperature: 0.5,
  permuteRewards: false,
  seed: 0,
};
const members = (rewards: (number | null)[], ends: EpisodeEnd[] = []): TrajectoryEpisode[] =>
  rewards.map((reward, member) =>
    episode([call([1], [2, 3])], {
      member,
      reward,
      end: ends[member] ?? (reward === null ? 'infra' : 'finished'),
    }),
  );

describe('batchSamples', () => {
  test('leaves infrastructure out of the mean, and weighs to a mean over tokens', () => {
    const { samples, tokens, reward } = batchSamples(
      [{ id: 'g7', trajectories: [trajectory(members([1, null, 0]))] }],
      OPTIONS,
      4,
    );
    expect(samples.map(({ sampleId, advantage }) => [sampleId, advantage])).toEqual([
      ['g7/0/0', 0.5],
      ['g7/2/0', -0.5],
    ]);
    expect(tokens).toBe(4);
    expect(samples[0]?.weight).toBe(0.25);
    expect(samples[0]?.temperature).toBe(0.5);
    expect(reward).toBe(0.5);
  });
  test('members that come in several trajectories are one group', () => {
    const [first, second] = members([1, 0]);
    const groups = [{ id: 'g', trajectories: [trajectory([second!]), trajectory([first!])] }];
    expect(batchSamples(groups, OPTIONS, 3).samples.map(({ advantage }) => advantage)).toEqual([0.5, -0.5]);
  });
  test('an overlong episode counts in the mean and is masked in the loss', () => {
    const groups = [{ id: 'g', trajectories: [trajectory(members([1, 0], ['finished', 'max_turns']))] }];
    const filtered = batchSamples(groups, OPTIONS, 3);
    expect(filtered.samples.map(({ sampleId, advantage }) => [sampleId, advantage])).toEqual([
      ['g/0/0', 0.5],
    ]);
    expect(filtered.tokens).toBe(2);
    expect(batchSamples(groups, { ...OPTIONS, filterOverlong: false }, 3).samples).toHaveLength(2);
  });
  test('forks share the advantage and are counted', () => {
    const forked = episode([call([1], [2]), call([9], [8])], { member: 1, reward: 0 });
    const groups = [{ id: 'g', trajectories: [trajectory([...members([1]), forked])] }];
    const { samples, forks } = batchSamples(groups, OPTIONS, 3);
    expect(forks).toBe(1);
    expect(samples.map(({ sampleId, advantage }) => [sampleId, advantage])).toEqual([
      ['g/0/0', 0.5],
      ['g/1/0', -0.5],
      ['g/1/1', -0.5],
    ]);
  });
  test('a token without a choice is not counted', () => {
    const one = episode([call([1], [2, 3], {}, [[2, 5], [3]])]);
    const { tokens, samples } = batchSamples([{ id: 'g', trajectories: [trajectory([one])] }], OPTIONS, 3);
    expect(tokens).toBe(1);
    expect(samples[0]?.allowed).toEqual([[2, 5], [3]]);
  });
  test('staleness is the version trained on minus that of the oldest token', () => {
    const mixed = episode([call([1], [2], { version: 1 }), call([1, 2], [3], { version: 4 })]);
    expect(batchSamples([{ id: 'g', trajectories: [trajectory([mixed])] }], OPTIONS, 5).staleness).toEqual([
      4,
    ]);
  });
  test('the control permutes the rewards of the batch, and changes nothing else', () => {
    const groups = Array.from({ length: 6 }, (_, at) => ({
      id: `g${at}`,
      trajectories: [trajectory(members([1, 0, 0, 0]))],
    }));
    const plain = batchSamples(groups, OPTIONS, 3);
    const control = batchSamples(groups, { ...OPTIONS, permuteRewards: true }, 3);
    expect(control.reward).toBe(plain.reward);
    expect(control.samples.map(({ sampleId }) => sampleId)).toEqual(
      plain.samples.map(({ sampleId }) => sampleId),
    );
    expect(control.samples.map(({ advantage }) => advantage)).not.toEqual(
      plain.samples.map(({ advantage }) => advantage),
    );
  });
});

test('spread tells the smallest, the mean, the 95th percentile and the largest', () => {
  expect(spread([])).toEqual({ min: 0, mean: 0, p95: 0, max: 0 });
  expect(spread([3, 1, 2, 2])).toEqual({ min: 1, mean: 2, p95: 3, max: 3 });
  expect(spread(Array.from({ length: 100 }, (_, at) => at)).p95).toBe(95);
});

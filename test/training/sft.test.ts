import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type {
  EpisodeEnd,
  SampledChoice,
  Trajectory,
  TrajectoryEpisode,
} from '../../src/domain/rl/trajectory.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import { runSft, scheduled } from '../../src/training/sft.ts';
import { trainedBranches } from '../../src/training/sftBranches.ts';
import { exportSft } from '../../src/training/sftExport.ts';
import { readExamples, writeExamples, type SftExample } from '../../src/training/sftFile.ts';
import type { TrainerBackend } from '../../src/training/types.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-sft-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const turn = (
  promptTokenIds: readonly number[],
  tokenIds: readonly number[],
  allowed?: SampledChoice['allowed'],
): TrajectoryEpisode['steps'][number] => ({
  call: {
    schema: 1,
    server: 's',
    model: 'm',
    version: null,
    temperature: 1,
    maxTokens: 9,
    promptTokenIds,
    startedMs: 0,
    endedMs: 1,
    choices: [
      {
        tokenIds,
        logprobs: tokenIds.map(() => -1),
        text: '',
        finishReason: 'stop',
        ...(allowed === undefined ? {} : { allowed }),
      },
    ],
  },
  choice: 0,
  step: { action: 'bash', argument: '', observation: null, exitCode: 0, startedMs: 0, endedMs: 0 },
});

describe('the branches of an episode', () => {
  it('are one while each prompt extends what came before, and learn what was sampled', () => {
    const steps = [turn([1, 2], [3, 4]), turn([1, 2, 3, 4, 5], [6])];
    expect(trainedBranches({ steps })).toEqual([{ tokenIds: [1, 2, 3, 4, 5, 6], positions: [2, 3, 5] }]);
  });

  it('fork where a prompt was rewritten', () => {
    const steps = [turn([1, 2], [3]), turn([1, 9, 3], [4])];
    expect(trainedBranches({ steps })).toEqual([
      { tokenIds: [1, 2, 3], positions: [2] },
      { tokenIds: [1, 9, 3, 4], positions: [3] },
    ]);
  });

  it('do not learn a token that had no alternative', () => {
    const steps = [turn([1], [7, 0], [[7, 8], [0]])];
    expect(trainedBranches({ steps })).toEqual([{ tokenIds: [1, 7, 0], positions: [1] }]);
  });

  it('are none when a server did not tell tokens', () => {
    expect(trainedBranches({ steps: [turn([], [3])] })).toBeNull();
    expect(trainedBranches({ steps: [] })).toBeNull();
  });
});

describe('sft export', () => {
  const episode = (
    member: number,
    reward: number | null,
    tokenIds: readonly number[],
    end: EpisodeEnd = 'finished',
  ): TrajectoryEpisode => ({
    member,
    end,
    reward,
    verdict: null,
    turns: 1,
    sampledTokens: tokenIds.length,
    patch: null,
    note: '',
    steps: [turn([1, 2], tokenIds)],
  });

  it('keeps what was paid enough, each answer once, the shortest of each instance first, and counts the rest', async () => {
    const store = createFsArtefactStore(join(dir, 'artefacts'));
    const records = createFsRecordStore(join(dir, 'records'));
    const played: readonly (readonly [string, readonly TrajectoryEpisode[]])[] = [
      ['b', [episode(0, 1, [5, 6, 7]), episode(1, 0, [5]), episode(2, 1, [5, 6]), episode(3, 1, [5, 6])]],
      ['a', [episode(0, null, [8], 'infra'), episode(1, 1, [9])]],
    ];
    const groups = played.map(([instanceId, episodes]) => [`g-${instanceId}`, instanceId, episodes] as const);
    const unseen = [
      ['e0-held000010-3', 'd', [episode(0, 1, [5])]],
      ['s000001', 'b', [episode(0, 1, [6])]],
    ] as const;
    for (const [group, instanceId, episodes] of [...groups, ...unseen]) {
      const trajectory: Trajectory = {
        schema: 1,
        run: 'r',
        group,
        agent: 'coder',
        instanceId,
        episodes,
      };
      const outcome = { group: trajectory.group, episodes, trajectory: await store.putJson(trajectory) };
      await records.record(`rollouts/r/${group}/0/outcome`, outcome);
    }
    await records.record('rollouts/r/g-c/0/outcome', { trajectory: null });
    await records.record('rollouts/other/g/0/outcome', { trajectory: null });
    const { examples, counts } = await exportSft(
      { store, records },
      { run: 'r', minReward: 1, maxPerInstance: 1 },
    );
    expect(examples).toEqual([
      {
        schema: 1,
        id: 'r/g-a/1/0',
        instanceId: 'a',
        reward: 1,
        tokenIds: [1, 2, 9],
        positions: [2],
        weight: 1,
      },
      expect.objectContaining({ instanceId: 'b', tokenIds: [1, 2, 5, 6], positions: [2, 3] }),
    ]);
    expect(counts).toMatchObject({
      episodes: 8,
      notForTraining: 2,
      infra: 1,
      tooLowReward: 1,
      duplicates: 1,
      beyondPerInstance: 1,
      examples: 2,
      tokens: 3,
    });
    await expect(
      exportSft({ store, records }, { run: 'none', minReward: 1, maxPerInstance: null }),
    ).rejects.toThrow('There is no run "none"');
  });
});

const example = (id: string, tokenIds: readonly number[], weight = 1): SftExample => ({
  schema: 1,
  id,
  instanceId: 'i',
  reward: 1,
  tokenIds,
  positions: [tokenIds.length - 1],
  weight,
});

describe('a file of examples', () => {
  it('is read as it was written', async () => {
    const file = join(dir, 'examples.jsonl');
    const examples = [example('a', [1, 2]), example('b', [3, 4, 5], 0.5)];
    await writeExamples(file, examples);
    expect(await readExamples([file])).toEqual(examples);
    await expect(readExamples([file, file])).rejects.toThrow(`${file}:1: there are two examples "a".`);
  });

  it.each([
    ['{"schema":1', /:2: this line is not JSON/],
    [
      JSON.stringify({ ...example('a', [1, 2]), positions: [2] }),
      /:2: a position is outside of the 2 tokens/,
    ],
    [JSON.stringify({ ...example('a', [1, 2]), weight: 0 }), /:2: .*weight/s],
  ])('names the line that is wrong: %s', async (line, message) => {
    const file = join(dir, 'bad.jsonl');
    await writeFile(file, `${JSON.stringify(example('x', [1, 2]))}\n${line}\n`);
    expect(await readFile(file, 'utf8')).toContain(line);
    await expect(readExamples([file])).rejects.toThrow(message);
  });
});

describe('supervised training', () => {
  const examples = ['a', 'b', 'c'].map((id, at) => example(id, [at, 7], at === 0 ? 2 : 1));
  type Sent = Parameters<TrainerBackend['forwardBackward']>[0];

  /** Notes what it is sent; a run that it knows is at `done`. */
  function recorder(done: number): {
    readonly backend: TrainerBackend;
    readonly sent: Sent[];
    readonly rates: number[];
  } {
    const [sent, rates]: [Sent[], number[]] = [[], []];
    const backend: Partial<TrainerBackend> = {
      createModel: async () => ({ incarnation: 'i', step: done + rates.length, versions: [] }),
      forwardBackward: async (request) => {
        sent.push(request);
        return { incarnation: 'i', hash: 'h' };
      },
      optimStep: async ({ step, learningRate }) => {
        rates.push(learningRate);
        return { incarnation: 'i', committed: true, again: false, metrics: { loss: 1 / step } };
      },
      journal: async () =>
        Array.from({ length: done + rates.length }, (_none, at) => ({
          step: at + 1,
          batchHash: 'h',
          metrics: { loss: 1 / (at + 1) },
          committedMs: 0,
          sampleIds: [],
        })),
      publish: async ({ step }) => ({ name: 'r', path: '/p', sha256: 's', step }),
    };
    return { backend: backend as TrainerBackend, sent, rates };
  }

  const request = {
    run: 'r',
    examples,
    steps: 4,
    batchSize: 2,
    learningRate: 1,
    seed: 0,
    config: { base: '/m', lora: null, dtype: 'float32' },
  } as const;

  it('sees every example once in a pass, weighs them to a mean, and names no sample twice', async () => {
    const { backend, sent } = recorder(0);
    const { losses, version } = await runSft(backend, request);
    const drawn = sent.flatMap(({ samples }) => samples);
    expect(sent.every(({ loss }) => loss.name === 'cross_entropy')).toBe(true);
    const named = drawn.map(({ sampleId }) => sampleId.at(-1));
    expect(new Set(named.slice(0, 3))).toEqual(new Set(['a', 'b', 'c']));
    expect(new Set(named.slice(3, 6))).toEqual(new Set(['a', 'b', 'c']));
    expect(new Set(drawn.map(({ sampleId }) => sampleId)).size).toBe(8);
    for (const { samples } of sent)
      expect(samples.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(1);
    expect(losses.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
    expect(version.step).toBe(4);
  });

  it('goes on where it was, with the batches that were left', async () => {
    const [whole, rest] = [recorder(0), recorder(2)];
    await runSft(whole.backend, request);
    await runSft(rest.backend, request);
    expect(rest.sent).toEqual(whole.sent.slice(2));
    expect(rest.rates).toEqual(whole.rates.slice(2));
  });

  it('raises its rate at first and lowers it to a tenth', () => {
    const rates = [1, 5, 10, 55, 100].map((step) => Number(scheduled(step, 100).toFixed(3)));
    expect(rates).toEqual([0.1, 0.5, 1, 0.55, 0.1]);
  });
});

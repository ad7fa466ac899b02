import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { RolloutsManifest } from '../../src/domain/rl/rollouts.ts';
import { writeRolloutsReport } from '../../src/evaluation/rollouts.ts';
import type { PlayedInstance } from '../../src/evaluation/rollouts.ts';
import { loadPredictions } from '../../src/evaluation/predictions.ts';
import { fakeRef } from '../support/stubs.ts';

let stateDir = '';
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'rf-rollouts-'));
});
afterEach(() => rm(stateDir, { recursive: true, force: true }));

const manifest: RolloutsManifest = {
  schema: 1,
  run: 'run',
  createdAt: '2026-01-01T00:00:00Z',
  dataset: 'dataset.jsonl',
  agent: 'coder',
  model: 'm',
  selectModel: 'm',
  attempts: 3,
  temperature: 1,
  budget: { maxTurns: 1, maxTokens: 1, maxTokensPerTurn: 1, maxWallMs: 1 },
  seed: 0,
  instances: [],
};

type Outcome = 'resolved' | 'unresolved' | 'infra';

/** An instance with attempts of these outcomes, each with a patch of its own, of which the selector chose one. */
function played(instanceId: string, outcomes: readonly Outcome[], chosen: number | null): PlayedInstance {
  const episodes = outcomes.map((verdict, member) => ({
    member,
    end: verdict === 'infra' ? ('infra' as const) : ('finished' as const),
    reward: verdict === 'infra' ? null : verdict === 'resolved' ? 1 : 0,
    verdict,
    turns: 2,
    sampledTokens: 7,
    steps: [],
    patch: fakeRef(`${instanceId}${member}`),
    note: '',
    text: `diff of ${instanceId} ${member}\n`,
  }));
  const trajectory = { schema: 1, run: 'run', group: 'g', agent: 'coder', instanceId, episodes } as const;
  return {
    instanceId,
    episodes,
    trajectories: [trajectory],
    chosen: chosen === null ? null : fakeRef(`${instanceId}${chosen}`),
  };
}

async function* each(instances: readonly PlayedInstance[]): AsyncGenerator<PlayedInstance> {
  yield* instances;
}

test('A run of rollouts leaves predictions that evaluate takes: the chosen one of each instance, else the first that was graded', async () => {
  const report = await writeRolloutsReport({
    stateDir,
    manifest,
    instances: each([
      played('a', ['unresolved', 'resolved', 'unresolved'], 1),
      played('b', ['infra', 'unresolved', 'resolved'], null),
      played('c', ['infra'], null),
    ]),
  });
  const set = await loadPredictions({
    source: report.preds,
    instanceIds: new Set(['a', 'b', 'c']),
    ignoreUnknown: false,
  });
  expect(set).toMatchObject({
    kind: 'file',
    predictions: [
      { instance_id: 'a', model_name_or_path: 'm', model_patch: 'diff of a 1\n' },
      { instance_id: 'b', model_patch: 'diff of b 1\n' },
    ],
  });
  expect(report.chosen).toEqual({ resolved: 1, instances: 2 });
  expect(report.passAtK.map(({ k, instances }) => [k, instances])).toEqual([
    [1, 2],
    [2, 2],
    [3, 1],
  ]);
  const lines = (await readFile(report.predictions, 'utf8')).trim().split('\n');
  expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
    { instance_id: 'a', member: 0, chosen: false, reward: 0, sampled_tokens: 7 },
    { instance_id: 'a', member: 1, chosen: true, reward: 1 },
    { instance_id: 'a', member: 2, chosen: false },
    { instance_id: 'b', member: 0, chosen: false, reward: null, end: 'infra' },
    { instance_id: 'b', member: 1, chosen: true },
    { instance_id: 'b', member: 2, chosen: false },
    { instance_id: 'c', member: 0, chosen: false },
  ]);
  expect((await readdir(report.trajectories)).length).toBe(7);
});

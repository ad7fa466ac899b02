import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { recordNames } from '../../src/domain/records.ts';
import type { RlStep } from '../../src/domain/rl/messages.ts';
import type { PolicyCall, Trajectory } from '../../src/domain/rl/trajectory.ts';
import { appendHeldOut, appendStep, digestOf, readRlLog } from '../../src/report/rlLog.ts';
import type { RlLogDeps } from '../../src/report/rlLog.ts';
import { stepUses } from '../../src/report/rlTimes.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';

const stepOf = (step: number, more: Partial<RlStep> = {}): RlStep => ({
  step,
  reward: 0.5,
  trainedReward: 0.5,
  staleness: { min: 0, mean: 0, p95: 0, max: 0 },
  tokens: 10,
  forks: 0,
  metrics: {},
  startedMs: step * 1_000,
  endedMs: step * 1_000 + 900,
  ...more,
});
const NOTHING = { groups: [], train: [], publish: [], pausedServers: [] };

/** Three members that were answered by one request, as a selector's group is. */
function sharedTrajectory(): Trajectory {
  const call: PolicyCall = {
    schema: 1,
    server: 'http://a:1',
    model: 'policy-v3',
    version: 3,
    temperature: 1,
    maxTokens: 2,
    promptTokenIds: [1, 2, 3],
    choices: [0, 1, 2].map((letter) => ({
      tokenIds: [letter, 9],
      logprobs: [-1, 0],
      text: 'A',
      finishReason: 'stop' as const,
    })),
    startedMs: 1_100,
    endedMs: 1_400,
  };
  return {
    schema: 1,
    run: 'r',
    group: 'e0-g000001',
    agent: 'selector',
    instanceId: 'i',
    episodes: [0, 1, 2].map((member) => ({
      member,
      end: 'finished' as const,
      reward: member === 1 ? 1 : 0,
      verdict: member === 1 ? ('resolved' as const) : ('unresolved' as const),
      turns: 1,
      sampledTokens: 2,
      steps: [
        {
          call,
          choice: member,
          step: {
            action: 'choose',
            argument: 'A',
            observation: null,
            exitCode: null,
            startedMs: 1_400,
            endedMs: 1_400,
          },
        },
      ],
      patch: null,
      note: '',
    })),
  };
}

describe('the log of a training run', () => {
  let dir: string;
  const deps = (run: string): RlLogDeps => ({
    run,
    store: createFsArtefactStore(join(dir, 'artefacts')),
    records: createFsRecordStore(join(dir, 'records')),
  });
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'rf-rl-log-'));
  });
  afterAll(async () => rm(dir, { recursive: true, force: true }));

  it('keeps the first word on a step: a repeated one changes nothing', async () => {
    const log = deps('twice');
    await appendStep(log, { step: stepOf(1, { reward: 0.25 }), timeline: NOTHING });
    await appendStep(log, { step: stepOf(1, { reward: 0.75 }), timeline: NOTHING });
    const { entries } = await readRlLog(log.records, 'twice');
    expect(entries.map(({ step }) => step.reward)).toEqual([0.25]);
  });

  it('takes one of two that write a step at the same time, whole', async () => {
    const log = deps('race');
    await Promise.all(
      [0.1, 0.2, 0.3, 0.4].map(async (reward) =>
        appendStep(log, { step: stepOf(1, { reward }), timeline: NOTHING }),
      ),
    );
    const { entries } = await readRlLog(log.records, 'race');
    expect(entries).toHaveLength(1);
    expect([0.1, 0.2, 0.3, 0.4]).toContain(entries[0]?.step.reward);
  });

  it('names steps that have no entry, those before the first one too, however few entries are asked for', async () => {
    const log = deps('gaps');
    for (const step of [3, 4, 7, 12]) await appendStep(log, { step: stepOf(step), timeline: NOTHING });
    const whole = await readRlLog(log.records, 'gaps');
    expect(whole.missing).toEqual([1, 2, 5, 6, 8, 9, 10, 11]);
    expect(whole.entries.map(({ step }) => step.step)).toEqual([3, 4, 7, 12]); // by number, not by name of the file
    const last = await readRlLog(log.records, 'gaps', { last: 2 });
    expect(last.entries.map(({ step }) => step.step)).toEqual([7, 12]);
    expect(last.missing).toEqual(whole.missing);
  });

  it('is empty for a run that has none, and is not mixed up with a run of a longer name', async () => {
    await appendStep(deps('made-2'), { step: stepOf(1), timeline: NOTHING });
    const none = await readRlLog(deps('made').records, 'made');
    expect(none).toEqual({ run: 'made', entries: [], missing: [], heldOut: [] });
  });

  it('counts a request that members shared once, as so many requests in flight as it had choices', async () => {
    const log = deps('shared');
    const ref = await log.store.putJson(sharedTrajectory());
    const group = {
      id: 'e0-g000001',
      dispatchedMs: 1_000,
      endedMs: 1_500,
      fate: 'trained' as const,
      trajectories: [ref],
      reward: 1 / 3,
      sampledTokens: 6,
      staleness: 0,
    };
    await appendStep(log, { step: stepOf(1), timeline: { ...NOTHING, groups: [group], sinceMs: 1_000 } });
    const [use] = stepUses(await readRlLog(log.records, 'shared'));
    const [server] = use?.servers ?? [];
    expect(server?.server).toBe('http://a:1');
    expect(server?.busyMs).toBe(300);
    expect(server?.idleMs).toEqual({ paused: 0, agents: 200, halted: 0, starting: 0, admission: 400 });
    expect(server?.occupancy).toBe((3 * 300) / 900);
    expect(use?.sampledTokens).toBe(6);
  });

  it('counts requests of one choice apart, even where two members asked at the same moment', () => {
    const trajectory = sharedTrajectory();
    const alone = {
      ...trajectory,
      episodes: trajectory.episodes.map((episode) => ({
        ...episode,
        steps: episode.steps.map((step) => ({
          ...step,
          choice: 0,
          call: { ...step.call, choices: step.call.choices.slice(0, 1) },
        })),
      })),
    };
    expect(digestOf('sha256:00', alone).calls.map(({ requests }) => requests)).toEqual([1, 1, 1]);
    expect(digestOf('sha256:00', trajectory).calls.map(({ requests }) => requests)).toEqual([3]);
  });

  it('goes on without a trajectory that is gone, and says so', async () => {
    const log = deps('gone');
    const gone = `sha256:${'0'.repeat(64)}` as const;
    const group = {
      id: 'g',
      dispatchedMs: 1_000,
      endedMs: 1_500,
      fate: 'infra' as const,
      trajectories: [gone],
      reward: null,
      sampledTokens: 0,
      staleness: 0,
    };
    await appendStep(log, { step: stepOf(1), timeline: { ...NOTHING, groups: [group] } });
    const { entries } = await readRlLog(log.records, 'gone');
    expect(entries[0]?.rollouts).toEqual([]);
    expect(entries[0]?.unreadable).toEqual([gone]);
  });

  it("holds scores of held-out instances, whose requests are the servers' work", async () => {
    const log = deps('held');
    await appendStep(log, { step: stepOf(1), timeline: { ...NOTHING, sinceMs: 1_000 } });
    const trajectories = [await log.store.putJson(sharedTrajectory())];
    await appendHeldOut(log, { step: 1, reward: 0.4, episodes: 3, trajectories });
    await appendHeldOut(log, { step: 1, reward: 0.9, episodes: 3 });
    await log.records.record(recordNames.rlHeldOut('held', 2), { step: 2, reward: 0.6, episodes: 3 });
    const read = await readRlLog(log.records, 'held');
    expect(read.heldOut.map(({ reward }) => reward)).toEqual([0.4, 0.6]);
    expect(stepUses(read)[0]?.servers[0]?.busyMs).toBe(300);
  });
});

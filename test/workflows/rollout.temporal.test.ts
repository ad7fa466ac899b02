import { ApplicationFailure } from '@temporalio/common';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { workflowIds } from '../../src/domain/ids.ts';
import { scopedWorkflowId, taskQueue } from '../../src/domain/messages.ts';
import type { RolloutInput } from '../../src/domain/rl/messages.ts';
import { processHost } from '../../src/workers/options.ts';
import type { rollout } from '../../src/workflows/rollout.ts';
import { eventually } from '../support/eventually.ts';
import { createGate } from '../support/gate.ts';
import { stubRollout } from '../support/rolloutStubs.ts';
import { fakeRef } from '../support/stubs.ts';
import { temporalEnvironment } from '../support/temporal.ts';
import { withBench } from '../support/workflowBench.ts';
import type { Bench } from '../support/workflowBench.ts';

let env: TestWorkflowEnvironment;
beforeAll(async () => {
  env = await temporalEnvironment();
});
afterAll(() => env.teardown());

const inputOf = (bench: Bench, changes: Partial<RolloutInput> = {}): RolloutInput => ({
  ...stubRollout(bench.prefix),
  ...changes,
});

const start = (bench: Bench, changes: Partial<RolloutInput> = {}) =>
  env.client.workflow.start<typeof rollout>('rollout', {
    workflowId: scopedWorkflowId(bench.prefix, workflowIds.rollout('run', 'g000001', null)),
    taskQueue: taskQueue(bench.prefix, 'control'),
    args: [inputOf(bench, changes)],
  });

const fences = (bench: Bench, activity: string): readonly unknown[] =>
  bench.of(activity).map(({ request }) => request['fence']);

test('The selector is one request for all members, which are graded together, and whoever started it is told', async () => {
  await withBench(env, 'rolloutselector', { candidates: {} }, async (bench) => {
    const parent = await env.client.workflow.start('campaign', {
      workflowId: `${bench.prefix}/parent`,
      taskQueue: 'nobody-takes-this',
      args: [],
    });
    const members = [0, 1, 2, 3];
    const handle = await start(bench, {
      agent: 'selector',
      members,
      task: fakeRef('task'),
      parent: parent.workflowId,
    });
    expect(await handle.result()).toMatchObject({
      episodes: [{ reward: 0 }, { reward: 1 }, { reward: 0 }, { reward: 1, end: 'finished' }],
    });
    expect(bench.of('sampleTurn')).toHaveLength(1);
    expect(bench.of('openEpisode')).toHaveLength(0);
    const { events = [] } = await parent.fetchHistory();
    const [signal] = (events ?? []).flatMap(({ workflowExecutionSignaledEventAttributes: one }) => one ?? []);
    expect(signal?.signalName).toBe('rolloutDone');
    const told = JSON.parse(Buffer.from(signal?.input?.payloads?.[0]?.data ?? []).toString()) as object;
    expect(told).toMatchObject({ group: 'g000001', members, outcome: { episodes: [{}, {}, {}, {}] } });
    await parent.terminate();
  });
});

test('The coder works turn by turn in one workspace, and its patch is taken before it is graded', async () => {
  await withBench(env, 'rolloutcoder', { candidates: {} }, async (bench) => {
    const handle = await start(bench);
    expect(await handle.result()).toMatchObject({ episodes: [{ member: 1, end: 'finished', reward: 1 }] });
    expect(bench.of('openEpisode')).toHaveLength(1);
    expect(bench.of('actOnTurn').map(({ request }) => request['turn'])).toEqual([0, 1]);
    expect(bench.of('closeEpisode').map(({ request }) => request['discard'])).toEqual([false]);
    const [grade] = bench.of('gradeRollout');
    expect(grade?.request['ends']).toEqual([
      { end: 'finished', patch: `sha256:${'a'.repeat(64)}`, note: '' },
    ]);
    const summaries = await summariesOf(handle);
    expect(summaries).toEqual(
      expect.arrayContaining(['turn 1: sample', 'turn 1: bash step 1', 'turn 2: close']),
    );
  });
});

/** Summaries as Temporal UI shows them. */
async function summariesOf(handle: {
  fetchHistory(): Promise<{ events?: unknown }>;
}): Promise<readonly string[]> {
  const { events } = (await handle.fetchHistory()) as {
    events: { userMetadata?: { summary?: { data?: Uint8Array } } }[];
  };
  return events.flatMap(({ userMetadata }) => {
    const data = userMetadata?.summary?.data;
    return data === undefined || data === null ? [] : [JSON.parse(Buffer.from(data).toString()) as string];
  });
}

test('A lost act has no second attempt: the workspace is opened again under a higher fence, and the turn is done there', async () => {
  let lost = 0;
  const before = ({ activity, request }: { activity: string; request: Record<string, unknown> }): void => {
    if (activity === 'actOnTurn' && request['turn'] === 1 && (lost += 1) <= 2)
      throw ApplicationFailure.create({ message: 'the container is gone', type: 'Infra' });
  };
  await withBench(env, 'rolloutlost', { candidates: {}, before }, async (bench) => {
    const handle = await start(bench);
    expect(await handle.result()).toMatchObject({ episodes: [{ end: 'finished' }] });
    expect(fences(bench, 'openEpisode')).toEqual([1, 2, 3]);
    expect(bench.of('actOnTurn').map(({ request }) => [request['turn'], request['fence']])).toEqual([
      [0, 1],
      [1, 1],
      [1, 2],
      [1, 3],
    ]);
    expect(bench.of('sampleTurn')).toHaveLength(3);
    expect(fences(bench, 'closeEpisode')).toEqual([3]);
  });
});

test('A workspace that is lost again and again, or comes out otherwise when it is replayed, ends the episode as infrastructure', async () => {
  const before = ({ activity }: { activity: string }): void => {
    if (activity === 'actOnTurn') throw ApplicationFailure.nonRetryable('not here', 'EpisodeLost');
  };
  await withBench(env, 'rolloutgone', { candidates: {}, before }, async (bench) => {
    expect(await (await start(bench)).result()).toMatchObject({ episodes: [{ end: 'infra', reward: null }] });
    expect(fences(bench, 'openEpisode')).toEqual([1, 2, 3, 4, 5]);
  });
  const openEpisode = async () => ({ host: processHost(), diverged: 'turn 0 (bash date): "1" became "2"' });
  await withBench(env, 'rolloutdiverged', { candidates: {}, rollout: { openEpisode } }, async (bench) => {
    expect(await (await start(bench)).result()).toMatchObject({ episodes: [{ end: 'infra', reward: null }] });
    const [grade] = bench.of('gradeRollout');
    expect(JSON.stringify(grade?.request['ends'])).toContain('became');
    expect(bench.of('closeEpisode').map(({ request }) => request['discard'])).toEqual([true]);
  });
});

test('Turns and time are bounded, and what was done until then is graded', async () => {
  const sampleTurn = async ({ turn }: { turn: number }) =>
    ({ next: 'act', end: null, action: `bash ${turn}`, sampledTokens: 1 }) as const;
  await withBench(env, 'rolloutturns', { candidates: {}, rollout: { sampleTurn } }, async (bench) => {
    const budget = { maxTurns: 3, maxTokens: 100, maxTokensPerTurn: 10, maxWallMs: 600_000 };
    expect(await (await start(bench, { budget })).result()).toMatchObject({
      episodes: [{ end: 'max_turns' }],
    });
    expect(bench.of('actOnTurn')).toHaveLength(3);
    expect(bench.of('closeEpisode').map(({ request }) => request['discard'])).toEqual([false]);
  });
  const gate = createGate();
  const before = ({ activity }: { activity: string }) =>
    activity === 'actOnTurn' ? gate.pass('act') : undefined;
  await withBench(env, 'rolloutwall', { candidates: {}, before, rollout: { sampleTurn } }, async (bench) => {
    const budget = { maxTurns: 3, maxTokens: 100, maxTokensPerTurn: 10, maxWallMs: 2_000 };
    const handle = await start(bench, { budget });
    await eventually('an act runs', () => gate.waiting().length === 1, { timeoutMs: 40_000 });
    setTimeout(() => gate.openAll(), 4_000); // stubs do not hear that they are cancelled
    expect(await handle.result()).toMatchObject({ episodes: [{ end: 'max_wall' }] });
    expect(bench.of('closeEpisode').map(({ request }) => request['discard'])).toEqual([false]);
  });
});

test('Waiting for a place on a host is not counted as time of the episode', async () => {
  const gate = createGate();
  const before = ({ activity }: { activity: string }) =>
    activity === 'openEpisode' ? gate.pass('open') : undefined;
  await withBench(env, 'rolloutwait', { candidates: {}, before }, async (bench) => {
    const budget = { maxTurns: 9, maxTokens: 100, maxTokensPerTurn: 10, maxWallMs: 1_500 };
    const handle = await start(bench, { budget });
    await eventually('it waits for a place', () => gate.waiting().length === 1, { timeoutMs: 40_000 });
    setTimeout(() => gate.openAll(), 2_500);
    const { events } = await handle.fetchHistory();
    expect((events ?? []).filter(({ timerStartedEventAttributes: timer }) => timer)).toEqual([]);
    await handle.result();
    expect(bench.of('actOnTurn').length, 'it came to act').toBeGreaterThan(0);
  });
});

test('Cancelled, it removes its container and tells whoever started it', async () => {
  const gate = createGate();
  const before = ({ activity }: { activity: string }) =>
    activity === 'actOnTurn' ? gate.pass('act') : undefined;
  await withBench(env, 'rolloutcancel', { candidates: {}, before }, async (bench) => {
    const parent = await env.client.workflow.start('campaign', {
      workflowId: `${bench.prefix}/parent`,
      taskQueue: 'nobody-takes-this',
      args: [],
    });
    const handle = await start(bench, { parent: parent.workflowId });
    await eventually('an act runs', () => gate.waiting().length === 1, { timeoutMs: 40_000 });
    await handle.cancel();
    setTimeout(() => gate.openAll(), 1_000);
    await expect(handle.result()).rejects.toMatchObject({ cause: { name: 'CancelledFailure' } });
    expect(bench.of('closeEpisode').map(({ request }) => request['discard'])).toEqual([true]);
    expect(bench.of('gradeRollout')).toHaveLength(0);
    const { events } = await parent.fetchHistory();
    const signals = (events ?? []).flatMap(({ workflowExecutionSignaledEventAttributes: one }) => one ?? []);
    expect(signals.map(({ signalName }) => signalName)).toEqual(['rolloutDone']);
    expect(Buffer.from(signals[0]?.input?.payloads?.[0]?.data ?? []).toString()).toContain('"outcome":null');
    await parent.terminate();
  });
});

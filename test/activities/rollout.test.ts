import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createEpisodes } from '../../src/activities/episodes.ts';
import { createRolloutSampling } from '../../src/activities/rollout.ts';
import { createRolloutGrading } from '../../src/activities/rolloutGrade.ts';
import { createRolloutHost } from '../../src/activities/rolloutHost.ts';
import type {
  RolloutHostActivities,
  RolloutLlmActivities,
  RolloutSandboxActivities,
} from '../../src/activities/rlTypes.ts';
import { selectorOrder } from '../../src/agents/selector.ts';
import type { SelectorTask } from '../../src/agents/types.ts';
import { FAILURE_TYPES, infraFailure, permanentFailure } from '../../src/domain/failures.ts';
import type { RolloutInput } from '../../src/domain/rl/messages.ts';
import type { PolicyCall, SampledChoice, Trajectory } from '../../src/domain/rl/trajectory.ts';
import type { ArtefactRef } from '../../src/domain/types.ts';
import type { VerdictName } from '../../src/domain/verdicts.ts';
import type { AgentWorkspace } from '../../src/ecosystems/python/agentWorkspace.ts';
import type { EvaluateInput } from '../../src/evaluation/evaluate.ts';
import type { SampleRequest } from '../../src/policy/types.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import type { ArtefactStore, RecordStore } from '../../src/store/types.ts';
import { makeRow } from '../evaluation/rows.ts';

let dir = '';
let store: ArtefactStore;
let records: RecordStore;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-rollout-'));
  store = createFsArtefactStore(join(dir, 'artefacts'));
  records = createFsRecordStore(join(dir, 'records'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const log = pino({ level: 'silent' });
const base = () => ({ installation: 'test', log, store, records, assertRoom: async () => undefined });
type Rollout = RolloutLlmActivities & RolloutSandboxActivities & RolloutHostActivities;

/** Runs one of the activities as a worker would. */
async function run<Name extends keyof Rollout>(
  activities: Pick<Rollout, Name>,
  name: Name,
  request: Parameters<Rollout[Name]>[0],
): Promise<Awaited<ReturnType<Rollout[Name]>>> {
  const logger = new DefaultLogger('ERROR', () => undefined);
  const answer: unknown = await new MockActivityEnvironment(undefined, { logger }).run(
    () => activities[name](request as never) as Promise<unknown>,
  );
  return answer as Awaited<ReturnType<Rollout[Name]>>;
}

const TASK: SelectorTask = {
  schema: 1,
  instanceId: 'a__a-1',
  problem: 'It is broken.',
  candidates: (['gold', 'partial', 'mutant', 'nop'] as const).map((origin) => ({
    patch: `diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x\n+${origin}\n`,
    origin,
  })),
};

const rolloutOf = async (changes: Partial<RolloutInput> = {}): Promise<RolloutInput> => ({
  run: 'run',
  queuePrefix: 'p',
  group: 'e1-g000007',
  members: [0, 1, 2, 3],
  agent: 'selector',
  instanceId: 'a__a-1',
  row: await store.putJson(makeRow()),
  provenCanaries: null,
  task: await store.putJson(TASK),
  policy: { servers: ['http://127.0.0.1:1'], choice: 'pinned', model: 'policy-v3', version: 3 },
  temperature: 1,
  budget: { maxTurns: 35, maxTokens: 32_768, maxTokensPerTurn: 1_000, maxWallMs: 60_000 },
  seed: 1,
  candidateOrder: 'shuffled',
  parent: null,
  ...changes,
});

const choiceOf = (text: string): SampledChoice => ({
  tokenIds: [5],
  logprobs: [-1],
  text,
  finishReason: 'stop',
});

/** A policy that answers with these texts, one after the other, and remembers what it was asked. */
function policyOf(answer: (request: SampleRequest, asked: number) => readonly SampledChoice[]) {
  const asked: SampleRequest[] = [];
  return {
    asked,
    async sample(request: SampleRequest) {
      asked.push(request);
      const call: PolicyCall = {
        schema: 1,
        server: 'http://127.0.0.1:1',
        model: request.address.model,
        version: request.address.version,
        temperature: request.temperature,
        maxTokens: request.maxTokens,
        promptTokenIds: [1, 2, 3],
        choices: answer(request, asked.length),
        startedMs: 10,
        endedMs: 20,
      };
      return { call, toolCalls: call.choices.map(() => []) };
    },
  };
}

/** An evaluator that says what each patch is worth, by its text. */
function evaluatorOf(verdictOf: (text: string) => VerdictName) {
  const evaluated: string[] = [];
  return {
    evaluated,
    async evaluate({ patch, row, modelNameOrPath }: EvaluateInput) {
      const text = patch === null ? '' : await store.getText(patch as ArtefactRef);
      evaluated.push(text);
      const verdict = patch === null ? 'empty_patch' : verdictOf(text);
      const resolved = verdict === 'infra' ? null : verdict === 'resolved' || verdict === 'tampered' ? 1 : 0;
      return {
        origin: patch === null ? ('not_run' as const) : ('executed' as const),
        result: {
          schema: 1 as const,
          instanceId: row.instance_id,
          modelNameOrPath,
          key: 'k',
          grade: {
            verdict: { verdict } as never,
            resolved: resolved as 0 | 1 | null,
            graded: resolved,
            commandResolved: 0 as const,
            failToPass: { success: [], failure: [] },
            passToPass: { success: [], failure: [] },
          },
          record: null,
          patch: patch as ArtefactRef | null,
        },
      };
    },
  };
}

describe('The selector', () => {
  const finished = { end: 'finished', patch: null, note: '' } as const;

  test('is asked once for all members, with the letters as its only answers, and what is recorded is never sampled again', async () => {
    const rollout = await rolloutOf();
    const policy = policyOf(() => ['A', 'B', 'A', 'D'].map(choiceOf));
    const llm = createRolloutSampling({ ...base(), policy });
    const first = await run(llm, 'sampleTurn', { rollout, turn: 0 });
    expect(first).toEqual({ next: 'end', end: 'finished', action: 'choose A B A D', sampledTokens: 4 });
    expect(policy.asked[0]).toMatchObject({
      run: 'run',
      n: 4,
      choices: ['A', 'B', 'C', 'D'],
      temperature: 1,
    });
    const again = createRolloutSampling({ ...base(), policy: policyOf(() => ['C'].map(choiceOf)) });
    expect(await run(again, 'sampleTurn', { rollout, turn: 0 })).toEqual(first);
    expect(policy.asked).toHaveLength(1);
  });

  test('is rewarded by the verdict on the chosen patch: each is graded once, a forged one is worth nothing, infrastructure is in no rate', async () => {
    const rollout = await rolloutOf({ members: [0, 1, 2, 3, 4, 5] });
    const order = selectorOrder(TASK, rollout);
    const letterOf = (origin: string): string =>
      'ABCD'[order.findIndex((index) => TASK.candidates[index]?.origin === origin)] ?? '?';
    const letters = ['gold', 'nop', 'gold', 'mutant', 'partial'].map(letterOf);
    const policy = policyOf(() => [...letters, 'hm'].map(choiceOf));
    await run(createRolloutSampling({ ...base(), policy }), 'sampleTurn', { rollout, turn: 0 });
    const evaluator = evaluatorOf((text) =>
      text.includes('+gold')
        ? 'resolved'
        : text.includes('+mutant')
          ? 'tampered'
          : text.includes('+nop')
            ? 'unresolved'
            : 'infra',
    );
    const grading = createRolloutGrading({ ...base(), evaluator });
    const request = { rollout, ends: rollout.members.map(() => finished) };
    const outcome = await run(grading, 'gradeRollout', request);
    expect(outcome.episodes.map(({ end, reward, verdict }) => [end, reward, verdict])).toEqual([
      ['finished', 1, 'resolved'],
      ['finished', 0, 'unresolved'],
      ['finished', 1, 'resolved'],
      ['finished', 0, 'tampered'],
      ['infra', null, 'infra'],
      ['invalid', 0, 'empty_patch'],
    ]);
    expect(outcome).toMatchObject({ executed: 4, served: 0, oldestVersion: 3, newestVersion: 3 });
    if (outcome.trajectory === null) throw new Error('no trajectory');
    const { episodes } = await store.getJson<Trajectory>(outcome.trajectory);
    expect(episodes[1]?.steps).toMatchObject([
      {
        choice: 0,
        call: { promptTokenIds: [1, 2, 3], choices: [{ text: letters[1] }] },
        step: { action: 'choose' },
      },
    ]);
  });

  test('has its outcome recorded, so that a grading that is tried again counts no verdict twice', async () => {
    const rollout = await rolloutOf({ members: [0, 1] });
    const policy = policyOf(() => ['A', 'A'].map(choiceOf));
    await run(createRolloutSampling({ ...base(), policy }), 'sampleTurn', { rollout, turn: 0 });
    const evaluator = evaluatorOf(() => 'unresolved');
    const grading = createRolloutGrading({ ...base(), evaluator });
    const request = { rollout, ends: [finished, finished] };
    const outcome = await run(grading, 'gradeRollout', request);
    expect(await run(grading, 'gradeRollout', request)).toEqual(outcome);
    expect(evaluator.evaluated).toHaveLength(1);
  });

  test('that was never answered is not graded, whatever its clock says; one whose prompt does not fit counts as an attempt', async () => {
    const grading = createRolloutGrading({ ...base(), evaluator: evaluatorOf(() => 'resolved') });
    const endsWith = async (end: 'max_wall' | 'max_tokens') => {
      const rollout = await rolloutOf({ group: end, members: [0, 1] });
      const ends = rollout.members.map(() => ({ end, patch: null, note: '' }));
      return run(grading, 'gradeRollout', { rollout, ends });
    };
    const unheard = await endsWith('max_wall');
    expect(unheard.episodes).toMatchObject([{ end: 'infra', reward: null }, { end: 'infra' }]);
    expect(unheard.trajectory).toBeNull();
    expect((await records.list('rollouts/run/max_wall')).map((name) => name.split('/').at(-1))).toEqual([
      'partial',
    ]);
    const tooLong = await endsWith('max_tokens');
    expect(tooLong.episodes).toMatchObject([{ end: 'max_tokens', reward: 0 }, { end: 'max_tokens' }]);
    const { episodes } = await store.getJson<Trajectory>(tooLong.trajectory ?? 'sha256:');
    expect(episodes.map(({ steps }) => steps)).toEqual([[], []]);
  });

  test('whose prompt does not fit ends by its budget, and one whose server is gone fails and is tried again', async () => {
    const rollout = await rolloutOf();
    const failing = (error: Error) => ({
      sample: async () => {
        throw error;
      },
    });
    const full = createRolloutSampling({
      ...base(),
      policy: failing(permanentFailure(FAILURE_TYPES.contextLength, 'too long')),
    });
    expect(await run(full, 'sampleTurn', { rollout, turn: 0 })).toMatchObject({ end: 'max_tokens' });
    const gone = createRolloutSampling({ ...base(), policy: failing(infraFailure('no server')) });
    await expect(run(gone, 'sampleTurn', { rollout, turn: 0 })).rejects.toMatchObject({ type: 'Infra' });
  });
});

describe('The coder', () => {
  const coder = (changes: Partial<RolloutInput> = {}) =>
    rolloutOf({ agent: 'coder', members: [2], task: null, ...changes });
  const block = (command: string): SampledChoice => choiceOf(`\`\`\`bash\n${command}\n\`\`\``);

  /** A workspace that prints what it ran, and a host with room for two. */
  function hostOf(output: (script: string) => string = (script) => script) {
    const ran: string[] = [];
    let open = 0;
    const workspace = (): AgentWorkspace => {
      open += 1;
      return {
        async exec(script) {
          ran.push(/^exec bash -c '(.*)' </s.exec(script)?.[1] ?? script);
          const text = Buffer.from(output(ran.at(-1) ?? ''));
          return {
            exitCode: 0,
            timedOut: false,
            outOfMemory: false,
            stdout: text,
            stderr: Buffer.alloc(0),
            output: text,
            droppedBytes: 0,
            durationMs: 1,
          };
        },
        takePatch: async () => ({ ok: true, patch: Buffer.from(`made by ${ran.join()}`) }),
        close: async () => void (open -= 1),
      };
    };
    const host = createRolloutHost({
      ...base(),
      episodes: createEpisodes({ host: 'here', max: 2, log }),
      openWorkspace: async () => workspace(),
      ecosystemFor: () => ({ realise: async () => Promise.reject(new Error('not asked for')) }),
    });
    return { ...host, ran, open: () => open };
  }

  const sampling = (answers: readonly SampledChoice[]) => {
    const policy = policyOf((_request, asked) => answers.slice(asked - 1, asked));
    return { policy, ...createRolloutSampling({ ...base(), policy }) };
  };

  test('is asked turn by turn with all that came before, and three answers in a row that are no action end it', async () => {
    const rollout = await coder();
    const llm = sampling([block('ls'), ...['a', 'b', 'c'].map(choiceOf)]);
    const host = hostOf();
    await run(host, 'openEpisode', { rollout, fence: 1 });
    const ends = [];
    for (let turn = 0; turn < 4; turn += 1) {
      const sampled = await run(llm, 'sampleTurn', { rollout, turn });
      ends.push(sampled.end);
      if (sampled.next === 'act') await run(host, 'actOnTurn', { rollout, turn, fence: 1 });
    }
    expect(ends).toEqual([null, null, null, 'invalid']);
    expect(llm.policy.asked.map(({ messages }) => messages.length)).toEqual([2, 4, 6, 8]);
    expect(llm.policy.asked[1]?.messages.slice(-1)).toEqual([{ role: 'user', content: 'exit code 0\nls' }]);
  });

  test('writes fenced blocks where the server refuses tools', async () => {
    const rollout = await coder({ policy: { ...(await coder()).policy, model: 'no-tools' } });
    const policy = policyOf((request) => {
      if (request.tools !== undefined)
        throw permanentFailure(
          FAILURE_TYPES.badInput,
          '"auto" tool choice requires --enable-auto-tool-choice',
        );
      return [block('ls')];
    });
    const llm = createRolloutSampling({ ...base(), policy });
    expect(await run(llm, 'sampleTurn', { rollout, turn: 0 })).toMatchObject({
      next: 'act',
      action: 'bash ls',
    });
  });

  test('goes on in another workspace where the recorded steps are done again, and acts of the old one are refused', async () => {
    const rollout = await coder();
    const llm = sampling([block('one'), block('two'), block('three')]);
    const first = hostOf();
    await run(first, 'openEpisode', { rollout, fence: 1 });
    for (const turn of [0, 1]) {
      await run(llm, 'sampleTurn', { rollout, turn });
      await run(first, 'actOnTurn', { rollout, turn, fence: 1 });
    }
    await run(llm, 'sampleTurn', { rollout, turn: 2 });
    const second = hostOf();
    expect(await run(second, 'openEpisode', { rollout, fence: 2 })).toEqual({ host: 'here', diverged: null });
    await expect(run(second, 'actOnTurn', { rollout, turn: 2, fence: 1 })).rejects.toMatchObject({
      type: 'EpisodeLost',
    });
    await run(second, 'actOnTurn', { rollout, turn: 2, fence: 2 });
    expect(second.ran).toEqual(['one', 'two', 'three']);
    await run(second, 'actOnTurn', { rollout, turn: 2, fence: 2 });
    expect(second.ran, 'what was done here is not done again').toHaveLength(3);
    const closed = await run(second, 'closeEpisode', { rollout, fence: 2, discard: false });
    expect(await store.getText(closed.patch ?? 'sha256:')).toBe('made by one,two,three');
    expect(second.open()).toBe(0);
    expect(await run(first, 'closeEpisode', { rollout, fence: 1, discard: false }), 'taken once').toEqual(
      closed,
    );
  });

  test('has diverged when a step says something else the second time, but for times and the like', async () => {
    const rollout = await coder();
    const llm = sampling([block('one')]);
    const first = hostOf(() => '1 passed in 0.10s\n7');
    await run(first, 'openEpisode', { rollout, fence: 1 });
    await run(llm, 'sampleTurn', { rollout, turn: 0 });
    await run(first, 'actOnTurn', { rollout, turn: 0, fence: 1 });
    const same = hostOf(() => '1 passed in 2.75s\n7');
    expect(await run(same, 'openEpisode', { rollout, fence: 2 })).toMatchObject({ diverged: null });
    const other = hostOf(() => '1 passed in 0.10s\n8');
    expect(await run(other, 'openEpisode', { rollout, fence: 3 })).toMatchObject({
      diverged: 'turn 0 (bash one): "7" became "8"',
    });
  });

  test('shares a host that has room for so many: the next one is told to ask again, and an old fence is refused', async () => {
    const host = hostOf();
    const rollouts = await Promise.all([0, 1, 2].map((member) => coder({ members: [member] })));
    const [a, b, c] = rollouts;
    if (a === undefined || b === undefined || c === undefined) throw new Error('three rollouts');
    await run(host, 'openEpisode', { rollout: a, fence: 2 });
    await run(host, 'openEpisode', { rollout: b, fence: 1 });
    await expect(run(host, 'openEpisode', { rollout: c, fence: 1 })).rejects.toMatchObject({
      type: 'Infra.HostFull',
      nonRetryable: false,
    });
    await expect(run(host, 'openEpisode', { rollout: a, fence: 1 })).rejects.toMatchObject({
      type: 'EpisodeLost',
    });
    await run(host, 'openEpisode', { rollout: a, fence: 3 });
    expect(host.open(), 'the earlier one is closed').toBe(2);
    await run(host, 'closeEpisode', { rollout: a, fence: 3, discard: true });
    await run(host, 'openEpisode', { rollout: c, fence: 1 });
  });

  test('whose time passed while nobody answered is not graded; one that worked for most of it is', async () => {
    const grading = createRolloutGrading({ ...base(), evaluator: evaluatorOf(() => 'unresolved') });
    const ended = async (group: string, maxWallMs: number) => {
      const rollout = await coder({ group, budget: { ...(await coder()).budget, maxWallMs } });
      await run(sampling([block('one')]), 'sampleTurn', { rollout, turn: 0 }); // 10 ms
      const [episode] = (
        await run(grading, 'gradeRollout', { rollout, ends: [{ end: 'max_wall', patch: null, note: '' }] })
      ).episodes;
      return episode;
    };
    expect(await ended('outage', 60_000)).toMatchObject({ end: 'infra', reward: null });
    expect(await ended('slow', 15)).toMatchObject({ end: 'max_wall', reward: 0 });
  });

  test('that left no change is graded as an empty patch, also when its turns were over', async () => {
    const rollout = await coder();
    const llm = sampling([block('one')]);
    await run(llm, 'sampleTurn', { rollout, turn: 0 });
    const grading = createRolloutGrading({ ...base(), evaluator: evaluatorOf(() => 'resolved') });
    const outcome = await run(grading, 'gradeRollout', {
      rollout,
      ends: [{ end: 'max_turns', patch: null, note: '' }],
    });
    expect(outcome).toMatchObject({
      episodes: [
        { member: 2, end: 'max_turns', reward: 0, verdict: 'empty_patch', turns: 1, sampledTokens: 1 },
      ],
      executed: 0,
      served: 0,
    });
  });
});

import { ApplicationFailure } from '@temporalio/common';
import {
  CODER_TOOLS,
  MAX_INVALID_IN_ROW,
  argumentOf,
  briefAction,
  coderMessages,
  parseAnswer,
} from '../agents/coder.ts';
import { choiceLetters, selectorMessages, selectorOrder, selectorView } from '../agents/selector.ts';
import type { SelectorTask } from '../agents/types.ts';
import { drawsOf } from '../domain/draws.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import type { RolloutInput } from '../domain/rl/messages.ts';
import type { EpisodeEnd, PolicyCall } from '../domain/rl/trajectory.ts';
import type { InstanceRow } from '../domain/types.ts';
import type { PolicyServers, SampleRequest } from '../policy/types.ts';
import { roomOf } from './rolloutBudget.ts';
import { rolloutRecords } from './rolloutRecords.ts';
import type { CallRecord, RecordDeps, RolloutRecords } from './rolloutRecords.ts';
import type { RolloutLlmActivities, SampledTurn } from './rlTypes.ts';
import { withWork } from './work.ts';
import type { WorkDeps } from './work.ts';

export interface RolloutSampleDeps extends WorkDeps, RecordDeps {
  readonly policy: Pick<PolicyServers, 'sample'>;
}

/** Sampling for rollouts: one recorded answer for each turn, whatever is tried again. */
export function createRolloutSampling(deps: RolloutSampleDeps): RolloutLlmActivities {
  return {
    sampleTurn: ({ rollout, turn }) =>
      withWork(deps, undefined, async ({ signal }) => {
        const records = rolloutRecords(deps, rollout);
        const agent = rollout.agent === 'selector' ? selectorTurn : coderTurn;
        const { ask, read } = await agent(deps, rollout, records, turn);
        const known = await records.readCall(turn);
        if (known !== null) return read(known);
        const request = ask();
        if (request === 'full') return noRoom;
        try {
          return read(await records.recordCall(turn, await sampled(deps, request, signal)));
        } catch (error) {
          if (error instanceof ApplicationFailure && error.type === FAILURE_TYPES.contextLength)
            return noRoom;
          throw error;
        }
      }),
  };
}

const noRoom: SampledTurn = {
  next: 'end',
  end: 'max_tokens',
  action: 'no room for an answer',
  sampledTokens: 0,
};

/** What is asked in a turn, and how the answer is read. */
interface AgentTurn {
  /** `full`: the budget leaves no room for an answer. */
  readonly ask: () => SampleRequest | 'full';
  readonly read: (call: CallRecord) => SampledTurn;
}

/** Models, by their servers, that were found to refuse tools: they write fenced blocks. */
const withoutTools = new Set<string>();

async function sampled(
  { policy, log }: RolloutSampleDeps,
  request: SampleRequest,
  signal: AbortSignal,
): Promise<PolicyCall> {
  const { tools, ...plain } = request;
  const model = `${request.address.servers.join(' ')} ${request.address.model}`;
  const ask = withoutTools.has(model) ? plain : request;
  const { call, toolCalls } = await policy.sample(ask, signal).catch((error: unknown) => {
    if (tools === undefined || ask === plain || !refusesTools(error)) throw error;
    log.info({ model }, 'the server refuses tools; the agent writes fenced blocks there');
    withoutTools.add(model);
    return policy.sample(plain, signal);
  });
  const choices = call.choices.map((choice, at) => {
    const calls = toolCalls[at] ?? [];
    return calls.length === 0 ? choice : { ...choice, toolCalls: calls };
  });
  return { ...call, choices };
}

/** vLLM's words are `"auto" tool choice requires --enable-auto-tool-choice`; others name the parameter. */
const refusesTools = (error: unknown): boolean =>
  error instanceof ApplicationFailure &&
  error.type === FAILURE_TYPES.badInput &&
  /\btools?\b/i.test(error.message);

const common = (rollout: RolloutInput, turn: number) => {
  const { run, group, members, policy, temperature, seed } = rollout;
  const key = `${run}/${group}/${members.join('_')}`;
  return {
    run: policy.version === null ? null : run,
    address: policy,
    key,
    n: members.length,
    temperature,
    seed: Math.floor(drawsOf(`sample ${seed} ${key} ${turn}`)() * 2 ** 31),
  };
};

/** One letter, of each member. */
async function selectorTurn(deps: RolloutSampleDeps, rollout: RolloutInput): Promise<AgentTurn> {
  const task = await selectorTaskOf(deps, rollout);
  const messages = selectorMessages(
    task,
    selectorOrder(task, rollout),
    selectorView(rollout.budget.maxTokens),
  );
  return {
    ask: () => ({
      ...common(rollout, 0),
      messages,
      maxTokens: rollout.budget.maxTokensPerTurn,
      choices: choiceLetters(task.candidates.length),
    }),
    read: ({ choices }) => ({
      next: 'end',
      end: 'finished',
      action: `choose ${choices.map(({ text }) => text.trim().slice(0, 4)).join(' ')}`.slice(0, 100),
      sampledTokens: choices.reduce((sum, { tokens }) => sum + (tokens ?? 1), 0),
    }),
  };
}

export async function selectorTaskOf({ store }: Pick<RecordDeps, 'store'>, rollout: RolloutInput) {
  if (rollout.task === null)
    throw permanentFailure(FAILURE_TYPES.badInput, `${rollout.group}: the selector was given no task.`);
  return store.getJson<SelectorTask>(rollout.task);
}

/** The next tool call of an episode. */
async function coderTurn(
  { store }: RolloutSampleDeps,
  rollout: RolloutInput,
  records: RolloutRecords,
  turn: number,
): Promise<AgentTurn> {
  const row = await store.getJson<InstanceRow>(rollout.row);
  const before = (await records.turns(turn)).map(({ call, step }) => ({
    call,
    answer: call.choices[0] ?? { text: '' },
    step: step ?? { action: 'invalid', observation: '' },
  }));
  const messages = coderMessages(row.problem_statement, before);
  const room = roomOf(rollout.budget, messages, before.at(-1));
  return {
    ask: () =>
      room.tokens === 0
        ? 'full'
        : {
            ...common(rollout, turn),
            messages,
            maxTokens: room.tokens,
            choices: null,
            tools: CODER_TOOLS,
          },
    read: (call) => {
      const [choice] = call.choices;
      const action = parseAnswer(choice ?? { text: '' });
      const invalidBefore = before.toReversed().findIndex(({ step }) => step.action !== 'invalid');
      const inRow = invalidBefore < 0 ? before.length : invalidBefore;
      const end = endOf(action.tool, inRow, room.cut && choice?.finishReason === 'length');
      return {
        next: end === null ? 'act' : 'end',
        end,
        action: briefAction(action),
        sampledTokens: choice?.tokens ?? estimate(argumentOf(action)),
      };
    },
  };
}

const estimate = (text: string): number => Math.ceil(text.length / 4);

function endOf(tool: string, invalidBefore: number, cutByBudget: boolean): EpisodeEnd | null {
  if (tool === 'finish') return 'finished';
  if (tool !== 'invalid') return null;
  if (cutByBudget) return 'max_tokens';
  return invalidBefore + 1 >= MAX_INVALID_IN_ROW ? 'invalid' : null;
}

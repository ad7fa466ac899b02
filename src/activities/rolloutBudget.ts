import type { ChatMessage } from '../agents/types.ts';
import type { EpisodeBudget } from '../domain/rl/options.ts';
import type { Step } from '../domain/rl/trajectory.ts';
import type { CallRecord } from './rolloutRecords.ts';

/** Fewer tokens than that hold no tool call. */
const SHORTEST_ANSWER_TOKENS = 64;
/** Of code and of test output; a little low, so that a prompt is rather thought longer than it is. */
const CHARACTERS_PER_TOKEN = 3;

/** Room for an answer: 0 where the budget of the episode is used up; `cut` where it allows less than a turn's own. */
export interface Room {
  readonly tokens: number;
  readonly cut: boolean;
}

/**
 * What the next answer may be long: the last request as the server counted it, and what has come since as it is
 * estimated; all of it is estimated where the server does not count.
 */
export function roomOf(
  budget: EpisodeBudget,
  messages: readonly ChatMessage[],
  last: { readonly call: CallRecord; readonly step: Pick<Step, 'observation'> } | undefined,
): Room {
  const left = budget.maxTokens - promptTokens(messages, last);
  if (left < SHORTEST_ANSWER_TOKENS) return { tokens: 0, cut: true };
  return { tokens: Math.min(left, budget.maxTokensPerTurn), cut: left < budget.maxTokensPerTurn };
}

function promptTokens(messages: readonly ChatMessage[], last: Parameters<typeof roomOf>[2]): number {
  const prompt = last?.call.promptTokens ?? null;
  const answer = last?.call.choices[0]?.tokens ?? null;
  if (last !== undefined && prompt !== null && answer !== null)
    return prompt + answer + estimate(last.step.observation ?? '');
  return estimate(JSON.stringify(messages));
}

const estimate = (text: string): number => Math.ceil(text.length / CHARACTERS_PER_TOKEN);

/** Characters that are shown of a command's output: a small context must hold several. */
export const observationCharacters = ({ maxTokens }: EpisodeBudget): number =>
  Math.min(10_000, Math.max(400, Math.floor((maxTokens / 8) * CHARACTERS_PER_TOKEN)));

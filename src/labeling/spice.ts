import type { Logger } from 'pino';
import { consensusOf } from '../domain/consensus.ts';
import type { LabelConsensus, LabelDimension, Labels } from '../domain/types.ts';
import { FAILURE_TYPES, cutText, infraFailure } from '../domain/failures.ts';
import { createChatClient, type ChatAnswers, type ChatMessage } from './openaiClient.ts';
import { BUG_REPORT_PROMPT, bugReportPrompt } from './bugReport.ts';
import { priceOf } from './pricing.ts';
import { SYSTEM_PROMPT, userPrompt } from './prompts.ts';
import type { Labeler, LabelerSettings } from './types.ts';
import { filledBy, isComplete, parseVote, type ParsedVote } from './voteParser.ts';

const DEFAULT_VOTES = 3; // SPICE
const MAX_REPORT_CHARACTERS = 16 * 1024; // it was asked for 250 words
const DEFAULT_PROMPT_TOKENS = 8_000; // with three short answers about $1.7 per 1,000 at $0.15 / $0.60 per million

/**
 * SPICE's labels (arXiv 2507.09108) by any OpenAI-compatible server: all three dimensions in one answer, three votes
 * in one request. A vote that cannot be read, wholly or in one dimension, is asked for once more and stays one vote;
 * if that fails too, the dimension has fewer votes. Without any vote in a dimension: BadAnswer, retryable.
 */
export function createLabeler(options: {
  readonly settings: LabelerSettings;
  readonly fetch?: typeof globalThis.fetch;
  readonly log: Logger;
}): Labeler {
  const { settings, log } = options;
  const chat = createChatClient(options);
  const wanted = settings.votes ?? DEFAULT_VOTES;
  const name = `spice-v1:${settings.model}`;

  return {
    name,
    async label(input, context = {}) {
      const messages: readonly ChatMessage[] = [
        { role: 'system', content: SYSTEM_PROMPT },
        { role: 'user', content: userPrompt(input, settings.promptTokenBudget ?? DEFAULT_PROMPT_TOKENS) },
      ];
      const first = await chat.ask(messages, wanted, context.signal);
      context.heartbeat?.({ votes: first.texts.length });
      const answers = [first];
      let votes: readonly ParsedVote[] = first.texts.map(parseVote);
      const bad = votes.filter((vote) => !isComplete(vote)).length;
      if (bad > 0) {
        log.info(
          { instanceId: input.instanceId, bad, wanted },
          'votes that cannot be read are asked for again',
        );
        const again = await chat.ask(messages, bad, context.signal);
        answers.push(again);
        const retries = again.texts.map(parseVote);
        votes = votes.map((vote) => (isComplete(vote) ? vote : filledBy(vote, retries.shift() ?? vote)));
      }
      const decide = (dimension: LabelDimension): LabelConsensus => {
        const consensus = consensusOf(votes.map((vote) => vote[dimension]));
        if (consensus !== null) return consensus;
        throw noVotes(chat.server, input.instanceId, dimension, answers);
      };
      return {
        labeler: name,
        issue_clarity: decide('issue_clarity'),
        test_fairness: decide('test_fairness'),
        effort: decide('effort'),
        usage: usageOf(answers, settings),
      };
    },
    async reportBug(input, context = {}) {
      const messages: readonly ChatMessage[] = [
        { role: 'system', content: BUG_REPORT_PROMPT },
        { role: 'user', content: bugReportPrompt(input) },
      ];
      const answer = await chat.ask(messages, 1, context.signal);
      const text = answer.texts[0]?.trim() ?? '';
      if (text === '')
        throw infraFailure(`${chat.server} wrote no problem statement for ${input.instanceId}.`, {
          type: FAILURE_TYPES.badAnswer,
        });
      return { text: `${cutText(text, MAX_REPORT_CHARACTERS)}\n`, usage: usageOf([answer], settings) };
    },
  };
}

function usageOf(answers: readonly ChatAnswers[], settings: LabelerSettings): Labels['usage'] {
  const sum = (of: (answer: ChatAnswers) => number): number =>
    answers.reduce((total, answer) => total + of(answer), 0);
  const tokens = {
    promptTokens: sum((answer) => answer.tokens.promptTokens),
    cachedPromptTokens: sum((answer) => answer.tokens.cachedPromptTokens),
    completionTokens: sum((answer) => answer.tokens.completionTokens),
  };
  const known = answers.every((answer) => answer.tokensKnown);
  return {
    requests: sum((answer) => answer.requests),
    ...tokens,
    usd: known ? priceOf(tokens, settings.prices) : null,
  };
}

function noVotes(
  server: string,
  instanceId: string,
  dimension: string,
  answers: readonly ChatAnswers[],
): Error {
  const sample = answers
    .flatMap((answer) => answer.texts)
    .find((text) => text !== null && text.trim() !== '');
  const seen =
    sample === undefined || sample === null
      ? 'nothing'
      : `"${cutText(sample.replace(/\s+/g, ' ').trim(), 120)}"`;
  return infraFailure(`${server} gave no readable ${dimension} score for ${instanceId}; it said ${seen}.`, {
    type: FAILURE_TYPES.badAnswer,
  });
}

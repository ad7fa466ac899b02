import { ApplicationFailure } from '@temporalio/common';
import { APIError, NotFoundError } from 'openai';
import { FAILURE_TYPES, cutText, infraFailure, permanentFailure } from '../domain/failures.ts';
import { classifyOpenaiError } from '../labeling/openaiClassifier.ts';

/** vLLM 0.32's words for a request that does not fit, and OpenAI's. */
const TOO_LONG =
  /max_model_len|maximum context length|context_length_exceeded|maximum model length|longer than the maximum/i;

/**
 * Maps what a request to a policy server throws to a typed failure. `server` names model and address in messages.
 * A model that is not there is passing (a server that was restarted gets its versions back), a prompt that does not
 * fit is ContextLength, and the rest is as with every OpenAI-compatible server.
 */
export function classifyPolicyError(error: unknown, server: string, nowMs: number): ApplicationFailure {
  if (error instanceof ApplicationFailure) return error;
  if (error instanceof APIError && error.status === 400 && TOO_LONG.test(error.message)) {
    return permanentFailure(FAILURE_TYPES.contextLength, `${server}: ${cutText(error.message, 300)}`);
  }
  if (error instanceof NotFoundError && /model|lora|adapter/i.test(error.message)) {
    return infraFailure(`${server} has no such model: ${cutText(error.message, 300)}`, {
      type: FAILURE_TYPES.missingPolicy,
    });
  }
  return classifyOpenaiError(error, server, nowMs, '');
}

/** The failure of an answer that is not what the protocol promises: passing, as a proxy's error page would be. */
export const badAnswer = (server: string, what: string): ApplicationFailure =>
  infraFailure(`${server} answered ${what}.`, { type: FAILURE_TYPES.badAnswer });

export const cancelled = (server: string): ApplicationFailure =>
  permanentFailure(FAILURE_TYPES.cancelled, `The request to ${server} was cancelled.`);

export const isType = (error: unknown, type: string): boolean =>
  error instanceof ApplicationFailure && error.type === type;

/** True where another server, or the same one later, may answer. */
export const isPassing = (error: unknown): boolean =>
  error instanceof ApplicationFailure && error.nonRetryable !== true;

/** True when nobody listens there: a process that has ended holds nothing any more. */
export function isRefused(error: unknown): boolean {
  for (let one: unknown = error; one instanceof Error; one = one.cause) {
    if ((one as NodeJS.ErrnoException).code === 'ECONNREFUSED') return true;
  }
  return false;
}

import { sendJson, startHttpServer } from './http.ts';
import type { TestHttpServer } from './http.ts';

/** What a scripted model answers: a tool call, or plain text. */
export type ScriptedAnswer =
  | { readonly tool: string; readonly arguments: Readonly<Record<string, string>> }
  | { readonly text: string };

export interface ScriptedModel extends TestHttpServer {
  /** Conversations as they were sent, in order. */
  readonly conversations: readonly ScriptedRequest['messages'][];
}

export interface ScriptedRequest {
  readonly model: string;
  readonly n?: number;
  readonly tools?: readonly unknown[];
  readonly messages: readonly { readonly role: string; readonly content: string | null }[];
}

/**
 * An OpenAI-compatible server that answers by a script: `answerOf` is asked with the number of answers that the
 * conversation has already, so that a request that is sent again gets the same.
 */
export async function startScriptedModel(
  answerOf: (turn: number, request: ScriptedRequest) => ScriptedAnswer | Promise<ScriptedAnswer>,
): Promise<ScriptedModel> {
  const conversations: ScriptedRequest['messages'][] = [];
  const server = await startHttpServer(async ({ url, body }, response) => {
    if (!url.endsWith('/chat/completions')) {
      sendJson(response, { error: { message: `no route ${url}` } }, { status: 404 });
      return;
    }
    const request = JSON.parse(body) as ScriptedRequest;
    conversations.push(request.messages);
    const turn = request.messages.filter(({ role }) => role === 'assistant').length;
    const answer = await answerOf(turn, request);
    const call =
      'tool' in answer
        ? {
            id: `call-${turn}`,
            type: 'function',
            function: { name: answer.tool, arguments: JSON.stringify(answer.arguments) },
          }
        : null;
    sendJson(response, {
      id: `answer-${turn}`,
      object: 'chat.completion',
      created: 0,
      model: request.model,
      choices: Array.from({ length: request.n ?? 1 }, (_none, index) => ({
        index,
        finish_reason: call === null ? 'stop' : 'tool_calls',
        message: {
          role: 'assistant',
          content: 'text' in answer ? answer.text : null,
          ...(call === null ? {} : { tool_calls: [call] }),
        },
      })),
      usage: { prompt_tokens: 100 * (turn + 1), completion_tokens: 10, total_tokens: 100 * (turn + 1) + 10 },
    });
  });
  return Object.assign(server, { conversations });
}

/**
 * The coder: works on an issue in a repository with three tools, `bash`, `edit` and `finish`, one call a turn. Calls come
 * through the chat API where the server reads them, else as fenced blocks in the text. Pure: what tools do is elsewhere.
 */
import type { Step, ToolCall } from '../domain/rl/trajectory.ts';
import type { ChatMessage } from './types.ts';

export type CoderAction =
  | { readonly tool: 'bash'; readonly command: string }
  | { readonly tool: 'edit'; readonly path: string; readonly old: string; readonly new: string }
  | { readonly tool: 'finish' }
  /** An answer that is no action; `why` is what the model is told. */
  | { readonly tool: 'invalid'; readonly why: string };

/** What was sampled, as far as the agent reads it. */
export interface CoderAnswer {
  readonly text: string;
  readonly toolCalls?: readonly ToolCall[];
}

export interface CoderTurn {
  readonly answer: CoderAnswer;
  readonly step: Pick<Step, 'action' | 'observation'>;
}

/** Answers in a row that are no action, after which the episode ends. */
export const MAX_INVALID_IN_ROW = 3;

/** A command ends after so long; also said in the prompt. */
export const COMMAND_TIMEOUT_MS = 180_000;

const parameters = (properties: Readonly<Record<string, string>>) => ({
  type: 'object',
  properties: Object.fromEntries(
    Object.entries(properties).map(([name, description]) => [name, { type: 'string', description }]),
  ),
  required: Object.keys(properties),
  additionalProperties: false,
});

/** The tools in the chat API's shape. */
export const CODER_TOOLS: readonly unknown[] = [
  {
    type: 'function',
    function: {
      name: 'bash',
      description: 'Runs a bash command in the repository and returns its exit code and output.',
      parameters: parameters({ command: 'The command.' }),
    },
  },
  {
    type: 'function',
    function: {
      name: 'edit',
      description:
        'Replaces a text that occurs exactly once in a file. With an empty old text it makes a new file.',
      parameters: parameters({
        path: 'Path in the repository.',
        old: 'Text to replace, exactly as it stands in the file; empty for a new file.',
        new: 'Text to put there.',
      }),
    },
  },
  {
    type: 'function',
    function: {
      name: 'finish',
      description: 'Ends the work: the change that is in the repository now is handed in.',
      parameters: parameters({}),
    },
  },
];

const SYSTEM = `You solve an issue in a Python repository. You are in its directory, on a machine without network; the project is installed, and its tests run with pytest. Change the source so that the issue is solved; tests that you cannot see will check it. Do not change existing tests.

Each answer calls one tool. bash runs a command (each in a new shell; at most ${COMMAND_TIMEOUT_MS / 1000} s). edit replaces a text that occurs exactly once in a file. finish hands in your change.

If you cannot call tools, write exactly one fenced block instead:
\`\`\`bash
the command
\`\`\`
or
\`\`\`edit path/of/file.py
<<<<<<<
old text
=======
new text
>>>>>>>
\`\`\`
or
\`\`\`finish
\`\`\``;

/** The whole conversation so far. It only ever grows, so that a server's cache and the token record stay of use. */
export function coderMessages(problem: string, turns: readonly CoderTurn[]): readonly ChatMessage[] {
  return [
    { role: 'system', content: SYSTEM },
    { role: 'user', content: `${problem.trim()}\n` },
    ...turns.flatMap(({ answer, step }) => turnMessages(answer, step.observation ?? '')),
  ];
}

function turnMessages({ text, toolCalls = [] }: CoderAnswer, observation: string): readonly ChatMessage[] {
  if (toolCalls.length === 0)
    return [
      { role: 'assistant', content: text },
      { role: 'user', content: observation },
    ];
  return [
    { role: 'assistant', content: text === '' ? null : text, tool_calls: toolCalls.map(readable) },
    ...toolCalls.map(({ id }, at): ChatMessage => ({
      role: 'tool',
      tool_call_id: id,
      content: at === 0 ? observation : 'Not done: an answer calls one tool.',
    })),
  ];
}

/** Servers read the arguments of earlier calls, and refuse the whole conversation when they are no JSON object. */
const readable = (call: ToolCall): ToolCall =>
  objectOf(call.function.arguments) === null
    ? { ...call, function: { ...call.function, arguments: '{}' } }
    : call;

function objectOf(json: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}

/** The action of an answer: its first tool call, else its only fenced block. */
export function parseAnswer({ text, toolCalls = [] }: CoderAnswer): CoderAction {
  const [call] = toolCalls;
  if (call !== undefined) return actionOfCall(call);
  const blocks = fencedBlocks(text);
  const [block] = blocks;
  if (block === undefined) return invalid('no tool was called');
  if (blocks.length > 1) return invalid(`there are ${blocks.length} fenced blocks instead of one`);
  return actionOfBlock(block);
}

const invalid = (why: string): CoderAction => ({ tool: 'invalid', why });

function actionOfCall({ function: { name, arguments: json } }: ToolCall): CoderAction {
  if (name === 'finish') return { tool: 'finish' };
  const values = objectOf(json);
  if (values === null) return invalid(`the arguments of ${name} are no JSON object`);
  const { command, path, old, new: text } = values;
  if (name === 'bash')
    return typeof command === 'string' && command.trim() !== ''
      ? { tool: 'bash', command }
      : invalid('bash needs a command');
  if (name === 'edit')
    return typeof path === 'string' && path !== '' && typeof old === 'string' && typeof text === 'string'
      ? { tool: 'edit', path, old, new: text }
      : invalid('edit needs path, old and new');
  return invalid(`there is no tool ${JSON.stringify(name.slice(0, 40))}`);
}

interface Block {
  readonly tool: string;
  readonly argument: string;
  readonly body: string;
}

const FENCE = /^```(bash|sh|edit|finish)\b[ \t]*([^\n]*)\n([\s\S]*?)^```[ \t]*$/gm;

const fencedBlocks = (text: string): readonly Block[] =>
  [...`${text}\n`.matchAll(FENCE)].map(([, tool = '', argument = '', body = '']) => ({
    tool,
    argument,
    body,
  }));

const EDIT = /^<<<<<<<[^\n]*\n([\s\S]*?)^=======[^\n]*\n([\s\S]*?)^>>>>>>>/m;

function actionOfBlock({ tool, argument, body }: Block): CoderAction {
  if (tool === 'finish') return { tool: 'finish' };
  if (tool !== 'edit')
    return body.trim() === ''
      ? invalid('bash needs a command')
      : { tool: 'bash', command: body.replace(/\n$/, '') };
  const [, old, text] = EDIT.exec(body) ?? [];
  const path = argument.trim();
  return path === '' || old === undefined || text === undefined
    ? invalid('an edit block needs a path, and the two texts between <<<<<<<, ======= and >>>>>>>')
    : { tool: 'edit', path, old, new: text };
}

/** What the model is told when its answer was no action. */
export const invalidObservation = (why: string): string =>
  `This was no action: ${why}. Call exactly one of bash, edit and finish.`;

/** What is recorded as a step's argument: enough to read a trajectory by. */
export function argumentOf(action: CoderAction): string {
  switch (action.tool) {
    case 'bash':
      return action.command;
    case 'edit':
      return `${action.path}\n<<<<<<<\n${action.old}\n=======\n${action.new}\n>>>>>>>`;
    case 'finish':
      return '';
    case 'invalid':
      return action.why;
  }
}

/** The action in one short line, for displays. */
export function briefAction(action: CoderAction): string {
  const [line = ''] = argumentOf(action).trim().split('\n');
  const text = `${action.tool} ${line}`.trim();
  return text.length <= 80 ? text : `${text.slice(0, 79)}…`;
}

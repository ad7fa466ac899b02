import { describe, expect, test } from 'vitest';
import { coderMessages, parseAnswer } from '../../src/agents/coder.ts';
import type { CoderAction, CoderAnswer } from '../../src/agents/coder.ts';
import { comparable, cutMiddle, digestOf, observationOf } from '../../src/agents/observation.ts';
import { observationCharacters, roomOf } from '../../src/activities/rolloutBudget.ts';

const call = (name: string, args: unknown): CoderAnswer => ({
  text: '',
  toolCalls: [
    {
      id: 'c1',
      type: 'function',
      function: { name, arguments: typeof args === 'string' ? args : JSON.stringify(args) },
    },
  ],
});
const text = (content: string): CoderAnswer => ({ text: content });
const bash = (command: string): CoderAction => ({ tool: 'bash', command });

test.each<[string, CoderAnswer, CoderAction]>([
  ['a call of bash', call('bash', { command: 'ls' }), bash('ls')],
  [
    'a call of edit',
    call('edit', { path: 'a.py', old: 'x', new: '' }),
    { tool: 'edit', path: 'a.py', old: 'x', new: '' },
  ],
  ['a call of finish, whatever it says', call('finish', 'done!'), { tool: 'finish' }],
  ['a block of bash', text('I look.\n```bash\nls -l\ncat a\n```\n'), bash('ls -l\ncat a')],
  ['a block of sh without an end of line', text('```sh\nls\n```'), bash('ls')],
  [
    'a block of edit',
    text('```edit src/a.py\n<<<<<<< old\nx = 1\n=======\nx = 2\n>>>>>>> new\n```'),
    { tool: 'edit', path: 'src/a.py', old: 'x = 1\n', new: 'x = 2\n' },
  ],
  [
    'a block of edit that makes a file',
    text('```edit a.py\n<<<<<<<\n=======\nx = 2\n>>>>>>>\n```'),
    { tool: 'edit', path: 'a.py', old: '', new: 'x = 2\n' },
  ],
  ['a block of finish', text('```finish\n```'), { tool: 'finish' }],
])('%s is read', (_title, answer, action) => {
  expect(parseAnswer(answer)).toEqual(action);
});

test.each<[string, CoderAnswer, RegExp]>([
  ['plain text', text('I am done.'), /no tool was called/],
  ['two blocks', text('```bash\nls\n```\n```bash\nls\n```'), /2 fenced blocks/],
  ['a block of another language', text('```python\nx\n```'), /no tool was called/],
  ['a block that does not end', text('```bash\nls'), /no tool was called/],
  ['arguments that are no JSON', call('bash', '{"command": '), /no JSON object/],
  ['arguments that are a list', call('bash', '[]'), /no JSON object/],
  ['bash without a command', call('bash', { command: ' ' }), /needs a command/],
  ['edit without a path', call('edit', { old: '', new: '' }), /needs path/],
  ['a tool that is not there', call('rm', {}), /no tool "rm"/],
  ['an edit block without its marks', text('```edit a.py\nx\n```'), /between/],
])('%s is no action, and the model is told why', (_title, answer, why) => {
  const action = parseAnswer(answer);
  expect(action).toMatchObject({ tool: 'invalid', why: expect.stringMatching(why) as string });
});

describe('The conversation', () => {
  const step = { action: 'bash', observation: 'exit code 0' };

  test('only grows: each turn is a continuation of the one before', () => {
    const turns = [
      { answer: text('```bash\nls\n```'), step },
      { answer: call('bash', { command: 'pwd' }), step },
    ];
    const [one, two, three] = [0, 1, 2].map((count) => coderMessages('Broken.', turns.slice(0, count)));
    expect(two?.slice(0, one?.length)).toEqual(one);
    expect(three?.slice(0, two?.length)).toEqual(two);
    expect(three?.map(({ role }) => role)).toEqual([
      'system',
      'user',
      'assistant',
      'user',
      'assistant',
      'tool',
    ]);
  });

  test('answers every tool call of an answer, though one is done, and sends no arguments that a server cannot read', () => {
    const [first] = call('bash', '{"command": ').toolCalls ?? [];
    if (first === undefined) throw new Error('no call');
    const answer = { text: 'Both.', toolCalls: [first, { ...first, id: 'c2' }] };
    const messages = coderMessages('Broken.', [{ answer, step }]).slice(2);
    expect(messages).toMatchObject([
      { content: 'Both.', tool_calls: [{ function: { arguments: '{}' } }, { id: 'c2' }] },
      { role: 'tool', tool_call_id: 'c1', content: 'exit code 0' },
      { role: 'tool', tool_call_id: 'c2', content: 'Not done: an answer calls one tool.' },
    ]);
  });
});

describe('An observation', () => {
  const end = { exitCode: 1, output: 'x\n', timeoutMs: 180_000, outOfMemory: false, droppedBytes: 0 };

  test('says how the command ended, and what it printed', () => {
    expect(observationOf(end, 100)).toBe('exit code 1\nx');
    expect(observationOf({ ...end, exitCode: null }, 100)).toBe('ended by force after 180 s\nx');
    expect(observationOf({ ...end, outOfMemory: true, droppedBytes: 7, output: '' }, 100)).toBe(
      'exit code 1; out of memory: a process was killed; 7 more bytes of output were dropped',
    );
  });

  test('leaves the middle of a long output out', () => {
    const cut = cutMiddle(`${'a'.repeat(500)}${'b'.repeat(500)}`, 100);
    expect(cut).toBe(`${'a'.repeat(50)}\n[… 900 characters left out …]\n${'b'.repeat(50)}`);
  });

  test.each([
    ['== 3 passed in 0.12s ==', '===== 3 passed in 12.50s (0:00:12) ====='],
    ['Ran 5 tests in 0.003s', 'Ran 5 tests in 1.2s'],
    ['real\t0m0.012s', 'real\t1m3.5s'],
    ['<object at 0x7f00>', '<object at 0x7fa1b2>'],
    ['2026-01-02T03:04:05Z done', '2026-11-23 10:00:00.123 done'],
    ['-rw-r--r-- 1 test 5 Nov 23 10:37 a', '-rw-r--r-- 1 test 5 Dec  1 09:00 a'],
    ['/tmp/tmpab12cd/x', '/tmp/tmpzz98/x'],
    ['[main 1a2b3c4] fix', '[main 9f8e7d6] fix'],
  ])('%j is the same again as %j', (one, other) => {
    expect(comparable(one)).toBe(comparable(other));
  });

  test.each([
    ['3 passed', '2 passed'],
    ['FAILED a.py::test_1', 'FAILED a.py::test_2'],
    ['1 + 1 = 2', '1 + 1 = 3'],
  ])('%j is not the same as %j', (one, other) => {
    expect(comparable(one)).not.toBe(comparable(other));
    expect(digestOf({ ...end, output: one })).not.toBe(digestOf({ ...end, output: other }));
  });

  test('that was ended by force is compared by that alone', () => {
    const late = { ...end, exitCode: null };
    expect(digestOf({ ...late, output: 'a' })).toBe(digestOf({ ...late, output: 'b' }));
    expect(digestOf(end)).not.toBe(digestOf({ ...end, exitCode: 0 }));
  });
});

describe('The budget of tokens', () => {
  const budget = { maxTurns: 35, maxTokens: 1_000, maxTokensPerTurn: 300, maxWallMs: 1 };
  const last = (prompt: number, answer: number, observation = '') => ({
    call: {
      schema: 1 as const,
      promptTokens: prompt,
      choices: [{ text: '', finishReason: 'stop' as const, tokens: answer }],
      version: null,
      call: `sha256:${'0'.repeat(64)}` as const,
    },
    step: { observation },
  });

  test('counts the last request as the server did, and estimates what came since', () => {
    expect(roomOf(budget, [], last(400, 100))).toEqual({ tokens: 300, cut: false });
    expect(roomOf(budget, [], last(700, 100))).toEqual({ tokens: 200, cut: true });
    expect(roomOf(budget, [], last(700, 100, 'x'.repeat(300)))).toEqual({ tokens: 100, cut: true });
    expect(roomOf(budget, [], last(900, 50))).toEqual({ tokens: 0, cut: true });
  });

  test('is estimated as a whole where the server does not count', () => {
    const messages = [{ role: 'user', content: 'x'.repeat(3_000) }] as const;
    expect(roomOf(budget, messages, undefined)).toEqual({ tokens: 0, cut: true });
    expect(roomOf(budget, [{ role: 'user', content: 'short' }], undefined).tokens).toBe(300);
  });

  test('leaves a share of a small context for each output', () => {
    expect(observationCharacters({ ...budget, maxTokens: 32_768 })).toBe(10_000);
    expect(observationCharacters({ ...budget, maxTokens: 4_096 })).toBe(1_536);
  });
});

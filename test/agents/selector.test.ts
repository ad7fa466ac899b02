import { describe, expect, test } from 'vitest';
import { lineMutations } from '../../src/agents/lineMutations.ts';
import { briefPatch, formatPatch, parsePatch } from '../../src/agents/patchText.ts';
import {
  SMALL_VIEW,
  constantBest,
  parseChoice,
  selectorMessages,
  selectorOrder,
  selectorView,
} from '../../src/agents/selector.ts';
import { selectorTask, selectorTasks } from '../../src/agents/selectorTasks.ts';
import type { SelectorTask } from '../../src/agents/types.ts';
import { applyPatch } from './applyPatch.ts';

const BASE = [
  'def clamp(value, low, high):',
  '    """Keeps a value in bounds."""',
  '    if value <= low:',
  '        return low',
  '    if value > high:',
  '        return high',
  '    return value',
  '',
];

const GOLD = `diff --git a/bounds/clamp.py b/bounds/clamp.py
index 1111111..2222222 100644
--- a/bounds/clamp.py
+++ b/bounds/clamp.py
@@ -1,6 +1,6 @@
 def clamp(value, low, high):
     """Keeps a value in bounds."""
-    if value <= low:
+    if value < low and high != 3:
         return low
     if value > high:
         return high
`;

const row = {
  instance_id: 'mutate__bounds-1.0-a',
  patch: GOLD,
  problem_statement: 'clamp(3, 3, 5) is wrong.',
};

const taskOf = (seed = 1, place = 0): SelectorTask => {
  const made = selectorTask(row, { seed, place });
  if (!('task' in made)) throw new Error(made.why);
  return made.task;
};

describe('Tasks of the selector', () => {
  test('are gold and three others that apply and differ, the same for the same seed', () => {
    const task = taskOf();
    expect(task.candidates.map(({ origin }) => origin)).toEqual(['gold', 'nop', 'mutant', 'mutant']);
    const results = task.candidates.map(({ patch }) => applyPatch(BASE, patch).join('\n'));
    expect(new Set(results).size).toBe(4);
    expect(results.every((result) => result !== BASE.join('\n'))).toBe(true);
    expect(taskOf()).toEqual(task);
    expect(taskOf(2)).not.toEqual(task);
  });

  test('hold a nop that only adds a comment, and mutants that change one line of gold', () => {
    const [gold, nop, ...mutants] = taskOf().candidates.map(({ patch }) => applyPatch(BASE, patch));
    expect(nop?.filter((line) => !BASE.includes(line)).map((line) => line.trim()[0])).toEqual(['#']);
    for (const mutant of mutants) {
      expect(mutant.filter((line) => !gold?.includes(line)).length).toBeLessThanOrEqual(1);
      expect(mutant).not.toEqual(BASE);
    }
  });

  test('hold half of gold where it has several hunks', () => {
    const second = GOLD.replaceAll('clamp.py', 'other.py');
    const made = selectorTask({ ...row, patch: GOLD + second }, { seed: 1 });
    const partial =
      'task' in made ? made.task.candidates.find(({ origin }) => origin === 'partial') : undefined;
    expect(partial?.patch.match(/^diff /gm)).toHaveLength(1);
    expect([GOLD, second].map((one) => formatPatch(parsePatch(one)))).toContain(partial?.patch);
  });

  test('are left out, with the reason, where no three others can be made or the prompt is too long', () => {
    const blank = GOLD.replace('+    if value < low and high != 3:\n', '+\n');
    const wide = GOLD.replace('high != 3:', `high != 3 and value != ${'1'.repeat(600)}:`);
    const long = { ...row, instance_id: 'long', patch: wide };
    const { tasks, leftOut } = selectorTasks([row, { ...row, instance_id: 'blank', patch: blank }, long], {
      seed: 1,
      maxPromptCharacters: 1_000,
    });
    expect(tasks.map(({ instanceId, place }) => [instanceId, place])).toEqual([[row.instance_id, 0]]);
    expect(leftOut.map(({ instanceId }) => instanceId)).toEqual(['blank', 'long']);
    expect(leftOut[1]?.why).toMatch(/characters, more than 1000/);
  });
});

describe('The order of candidates', () => {
  const tasks = Array.from({ length: 8 }, (_none, place) => ({
    ...taskOf(1, place),
    instanceId: `i-${place}`,
  }));
  const ordersOf = (candidateOrder: 'shuffled' | 'fixed', groups: number) =>
    Array.from({ length: groups }, (_none, group) => {
      const task = tasks[group % tasks.length] ?? taskOf();
      const name = `e1-g${String(group).padStart(6, '0')}`;
      return { task, order: selectorOrder(task, { seed: 7, group: name, candidateOrder }) };
    });

  test('is drawn by group, and no letter is right more often than another', () => {
    const drawn = ordersOf('shuffled', 80);
    const best = constantBest(
      drawn.map(({ task }) => task),
      drawn.map(({ order }) => order),
    );
    expect(best.score).toBeLessThanOrEqual(1 / 4 + 0.05);
    expect(new Set(drawn.map(({ order }) => order.join(''))).size).toBeGreaterThan(15);
    for (const task of tasks) {
      const places = drawn.filter((one) => one.task === task).map(({ order }) => order.indexOf(0));
      expect(new Set(places).size, `places of ${task.instanceId}`).toBeGreaterThan(1);
    }
  });

  test('is one for each instance where it is fixed, balanced over the dataset', () => {
    const drawn = ordersOf('fixed', 16);
    expect(drawn.slice(0, 8).map(({ order }) => order)).toEqual(drawn.slice(8).map(({ order }) => order));
    const best = constantBest(
      drawn.map(({ task }) => task),
      drawn.map(({ order }) => order),
    );
    expect(best.score).toBeLessThanOrEqual(1 / 4 + 0.05);
  });

  test('holds every candidate once, and members of a group share their prompt', () => {
    const draw = { seed: 3, group: 'held-out', candidateOrder: 'shuffled' } as const;
    const [task] = tasks;
    if (task === undefined) throw new Error('no task');
    const order = selectorOrder(task, draw);
    expect(order.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3]);
    expect(promptOf(task, order)).toEqual(promptOf(task, selectorOrder(task, draw)));
  });
});

const promptOf = (task: SelectorTask, order: readonly number[], view = SMALL_VIEW): string =>
  selectorMessages(task, order, view)[0]?.content ?? '';

test('A small model is shown the first line of the issue and what the patches change, each line behind its letter', () => {
  const content = promptOf({ ...taskOf(), problem: 'clamp(3, 3, 5) is wrong.\nMore of it.' }, [1, 0, 2, 3]);
  expect(content).toMatch(/^clamp\(3, 3, 5\) is wrong\.\n\nA \+ +# /);
  expect(content).toContain('\n\nB -    if value <= low:\nB +    if value < low and high != 3:\n\n');
  expect(content).not.toMatch(/diff --git|index |@@|More of it/);
  expect(content.endsWith('Answer with one letter.')).toBe(true);
  expect(content.length).toBeLessThan(600);
});

test('A large model is shown the whole issue and the patches with their paths and surroundings', () => {
  const content = promptOf(
    { ...taskOf(), problem: 'Wrong.\nMore of it.' },
    [1, 0, 2, 3],
    selectorView(32_768),
  );
  expect(content).toMatch(/^Wrong\.\nMore of it\.\n\nA:\nbounds\/clamp\.py\n/);
  expect(content).toContain('B:\nbounds/clamp.py\n def clamp(value, low, high):\n');
  expect(content).not.toMatch(/diff --git|index |@@/);
});

test.each([
  ['A', 0],
  [' C\n', 2],
  ['B.', 1],
  ['(D)', 3],
  ['The answer is **D**.', 3],
  ['Answer: b', 1],
  ['I think C', 2],
  ['B or C', null],
  ['E', null],
  ['banana', null],
  ['', null],
  ['A patch like that is B', 1],
])('The answer %j chooses %s', (text, choice) => {
  expect(parseChoice(text, 4)).toBe(choice);
});

test.each([
  ['    return a + b', ['    return a - b', '    return None']],
  ['if x == 1:', ['if x != 1:', 'if not x == 1:', 'if x == 2:', 'if x == 0:']],
  ['while a is not None and b:', ['while a is None and b:', 'while a is not None or b:']],
  ['x = f(a, b)', ['x = f(b, a)', 'x = f(a)']],
  ["key = 'a == b'  # a == b", ["key = ''  # a == b"]],
  ['# a == b', []],
])('Of %j rules make %j', (line, expected) => {
  const texts = lineMutations(line).map(({ text }) => text);
  expect(texts).toEqual(expect.arrayContaining(expected));
  expect(texts).not.toContain(line);
  expect(new Set(texts).size).toBe(texts.length);
});

test('A patch taken apart and put together is the same but for what git adds after @@, also without a last line end', () => {
  const patch = `diff --git a/a b/a
--- a/a
+++ b/a
@@ -2,2 +2,3 @@ def f():
 one
-two
\\ No newline at end of file
+two
+three
diff --git a/new b/new
new file mode 100644
--- /dev/null
+++ b/new
@@ -0,0 +1 @@
+only
`;
  expect(formatPatch(parsePatch(patch))).toBe(
    patch.replace(' def f():', '').replace('@@ -0,0 +1 @@', '@@ -0,0 +1,1 @@'),
  );
  expect(parsePatch(patch).map(({ path }) => path)).toEqual(['a', 'new']);
  expect(briefPatch(patch, 0)).toBe('a\n-two\n+two\n+three\nnew\n+only');
  expect(() => parsePatch('diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n one\n')).toThrow(
    /middle of a hunk/,
  );
});

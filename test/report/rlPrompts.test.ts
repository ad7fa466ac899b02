import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SelectorTask } from '../../src/agents/types.ts';
import { RL_PRESETS } from '../../src/domain/rl/presets.ts';
import type { ArtefactRef } from '../../src/domain/types.ts';
import { firstPrompt } from '../../src/report/rlPrompts.ts';
import { createFsArtefactStore } from '../../src/store/fs.ts';
import type { ArtefactStore } from '../../src/store/types.ts';

let dir: string;
let store: ArtefactStore;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-rl-prompts-'));
  store = createFsArtefactStore(dir);
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

const patchOf = (line: string): string =>
  [
    '--- a/low.py',
    '+++ b/low.py',
    '@@ -1,2 +1,2 @@',
    ' def low(value):',
    '-    return 1',
    `+    ${line}`,
    '',
  ].join('\n');
const TASK: SelectorTask = {
  schema: 1,
  instanceId: 'made-0',
  place: 0,
  problem: 'low(3) is wrong.\nMore of it.',
  candidates: [
    { patch: patchOf('return value'), origin: 'gold' },
    { patch: patchOf('return 2'), origin: 'mutant' },
  ],
};

const promptOf = async (
  agent: string,
  maxTokens: number,
  task: ArtefactRef | null,
): Promise<string | null> => {
  const row = await store.putJson({ problem_statement: TASK.problem });
  const { seed, candidateOrder, budget } = RL_PRESETS.tiny.options;
  return firstPrompt(
    {
      store,
      manifest: { prompts: [{ instanceId: 'made-0', row, provenCanaries: null, task }], heldOut: [] },
      options: { seed, candidateOrder, budget: { ...budget, maxTokens } },
    },
    { schema: 1, run: 'made', group: 'e0-g000000', agent, instanceId: 'made-0', episodes: [] },
  );
};

test('A report shows a selector prompt in the view that a model of that context was given', async () => {
  const task = await store.putJson(TASK);
  const small = await promptOf('selector', 2_048, task);
  expect(small).toContain('A -    return 1\n');
  expect(small).not.toMatch(/More of it|def low/);
  const large = await promptOf('selector', 32_768, task);
  expect(large).toMatch(/^low\(3\) is wrong\.\nMore of it\.\n\nA:\nlow\.py\n def low\(value\):\n/);
});

test('A report shows what coder was told, and nothing where the task is gone', async () => {
  expect(await promptOf('coder', 2_048, null)).toContain('low(3) is wrong.\nMore of it.');
  expect(await promptOf('selector', 2_048, null)).toBeNull();
  const gone: ArtefactRef = `sha256:${'0'.repeat(64)}`;
  expect(await promptOf('selector', 2_048, gone)).toBeNull();
});

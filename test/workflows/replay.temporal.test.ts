import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DeterminismViolationError } from '@temporalio/workflow';
import { DefaultLogger, Runtime, Worker, bundleWorkflowCode } from '@temporalio/worker';
import type { WorkflowBundleOption } from '@temporalio/worker';
import { beforeAll, describe, expect, test } from 'vitest';
import { workflowBundle } from '../support/temporal.ts';

Runtime.install({ logger: new DefaultLogger('ERROR') });

const FOLDER = join(import.meta.dirname, '..', 'histories');
const histories = readdirSync(FOLDER).filter((name) => name.endsWith('.json'));

const replay = (name: string, bundle: WorkflowBundleOption): Promise<void> =>
  Worker.runReplayHistory({ workflowBundle: bundle }, JSON.parse(readFileSync(join(FOLDER, name), 'utf8')));

describe('The workflows of today walk every kept history as they did then', () => {
  test('and there are histories of every workflow', () => {
    for (const workflow of [
      'campaign',
      'instance',
      'environment',
      'evaluation',
      'janitor',
      'rollout',
      'rollouts',
    ])
      expect(histories.filter((name) => name.startsWith(`${workflow}-`))).not.toEqual([]);
  });

  test.each(histories)('%s', async (name) => {
    await expect(replay(name, workflowBundle())).resolves.toBeUndefined();
  });
});

describe('A workflow that takes another step than it did', () => {
  let broken: WorkflowBundleOption;
  beforeAll(async () => {
    const workflowsPath = join(import.meta.dirname, '..', 'support', 'brokenWorkflows.ts');
    broken = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('ERROR') });
  });

  test.each(histories)('is caught by %s', async (name) => {
    await expect(replay(name, broken)).rejects.toThrow(DeterminismViolationError);
  });
});

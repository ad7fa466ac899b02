import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CampaignProgress } from '../../src/domain/messages.ts';
import { temporalEnvironment } from '../support/temporal.ts';
import { ids, withBench } from '../support/workflowBench.ts';

let env: TestWorkflowEnvironment;
beforeAll(async () => {
  env = await temporalEnvironment();
});
afterAll(() => env.teardown());

test('A campaign publishes every candidate that validates and counts each rejection under its reason', async () => {
  const plan = {
    candidates: { 'pypi:alpha': ['a-0', 'a-1!too_large', 'a-2', 'a-3'], 'pypi:beta': ['b-0'] },
    rejected: (id: string) =>
      id === 'a-2' ? { reason: 'no_fail_to_pass' as const, detail: 'nothing fails' } : undefined,
  };
  await withBench(env, 'funnel', plan, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }, { pypi: 'beta' }]));
    const result = await handle.result();
    expect(result).toMatchObject({
      state: 'done',
      published: 3,
      counts: { mined: 5, accepted: 3, rejected: { too_large: 1, no_fail_to_pass: 1 } },
    });
    const progress = await handle.query<CampaignProgress>('progress');
    expect(progress.running).toEqual([]);
  });
});

import { expect, test } from 'vitest';
import { buildFunnel } from '../../src/domain/funnel.ts';
import type { FunnelInput } from '../../src/domain/funnel.ts';

const published = (id: string, containerRuns: number): FunnelInput['entries'][number] => ({
  instanceId: id,
  result: { outcome: 'published', row: 'sha256:r', evidence: 'sha256:e', containerRuns },
});

const input: FunnelInput = {
  campaign: 'camp',
  finished: true,
  containerRuns: 28,
  entries: [
    { instanceId: 'a', minedRejection: { reason: 'too_large', detail: 'many files' } },
    {
      instanceId: 'b',
      result: {
        outcome: 'rejected',
        stage: 'decide',
        containerRuns: 3,
        rejection: { reason: 'no_fail_to_pass', detail: 'nothing fails' },
      },
    },
    published('c', 8),
    published('d', 7),
    published('e', 7),
    { instanceId: 'f', result: null },
  ],
  published: new Set(['c', 'd']),
  grades: [
    { gold: true, nop: false },
    { gold: true, nop: false },
  ],
  durations: [10, 20, 30, 40].map((durationMs) => ({ stage: 'health', durationMs })),
  environments: [
    {
      key: 'k',
      resolveMs: 500,
      realised: {
        ok: true,
        key: 'k',
        served: false,
        durationMs: 1_000,
        fullBytes: 90,
        prunedBytes: 60,
        copiedFiles: 0,
      },
    },
    { key: 'never', resolveMs: 9_999, realised: null },
  ],
};

test('Every candidate is counted in each stage it reached, and in no later one', () => {
  const stages = new Map(buildFunnel(input).stages.map(({ stage, count }) => [stage, count]));
  expect(stages.get('mined')).toBe(6);
  expect(stages.get('resolve')).toBe(4); // not the one rejected when mined, nor the one that has not ended
  expect(stages.get('decide')).toBe(4);
  expect(stages.get('canaries')).toBe(3);
  expect(stages.get('validated')).toBe(3);
  expect(stages.get('published')).toBe(2);
});

test('Rejections, runs, gold, nop, times and environments are those of the records', () => {
  expect(buildFunnel(input)).toMatchObject({
    mined: 6,
    published: 2,
    surplus: 1,
    open: 1,
    rejections: [
      { reason: 'too_large', count: 1, examples: [{ instanceId: 'a', detail: 'many files' }] },
      { reason: 'no_fail_to_pass', count: 1 },
    ],
    containerRuns: { executed: 28, maxPerPublished: 8 },
    gold: { resolved: 2, total: 2 },
    nop: { resolved: 0, total: 2 },
    durations: [{ stage: 'health', count: 4, p50Ms: 20, p90Ms: 40, maxMs: 40 }],
    environments: { count: 1, p50Ms: 1_500, fullBytes: 90, prunedBytes: 60 },
  });
});

test('A key whose pruned variant behaved differently is an exception with its reason; others are not', () => {
  const [known, other] = input.environments;
  if (known === undefined || other === undefined) throw new Error('two environments are needed');
  const environments = [
    { ...known, difference: 'test_a fails' },
    { ...other, difference: null },
  ];
  expect(buildFunnel({ ...input, environments }).environments.exceptions).toEqual([
    { key: 'k', detail: 'test_a fails' },
  ]);
  expect(buildFunnel(input).environments.exceptions).toEqual([]);
});

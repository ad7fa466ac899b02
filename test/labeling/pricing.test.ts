import { expect, test } from 'vitest';
import { heuristicConsensus } from '../../src/domain/consensus.ts';
import type { Labels } from '../../src/domain/types.ts';
import { labelUsagePer1000, priceOf } from '../../src/labeling/pricing.ts';

const labels = (usage: Partial<Labels['usage']>, controversial = false): Labels => ({
  labeler: 'spice-v1:tiny',
  issue_clarity: { ...heuristicConsensus(0, ''), controversial },
  test_fairness: heuristicConsensus(0, ''),
  effort: heuristicConsensus(0, ''),
  usage: { requests: 1, promptTokens: 0, cachedPromptTokens: 0, completionTokens: 0, usd: 0, ...usage },
});
const million = { promptTokens: 1_000_000, cachedPromptTokens: 400_000, completionTokens: 500_000 };

test('cached prompt tokens have their own price, and the input price where none is named', () => {
  expect(priceOf(million, { input: 1, cachedInput: 0.5, output: 4 })).toBeCloseTo(0.6 + 0.2 + 2);
  expect(priceOf(million, { input: 1, output: 4 })).toBeCloseTo(3);
  expect(priceOf(million, { input: 1, cachedInput: 0, output: 0 })).toBeCloseTo(0.6);
});

test('without prices the money is unknown, not zero', () => {
  expect(priceOf(million, null)).toBeNull();
});

test('usage is scaled to 1,000 instances', () => {
  const summary = labelUsagePer1000([
    labels({ promptTokens: 4_000, cachedPromptTokens: 1_000, completionTokens: 300, usd: 0.001 }, true),
    labels({ promptTokens: 6_000, completionTokens: 500, usd: 0.003, requests: 3 }),
  ]);
  expect(summary).toMatchObject({
    instances: 2,
    controversial: 1,
    per1000: {
      requests: 2_000,
      promptTokens: 5_000_000,
      cachedPromptTokens: 500_000,
      completionTokens: 400_000,
    },
  });
  expect(summary.per1000.usd).toBeCloseTo(2);
});

test('one unknown price makes the sum unknown; no instance makes nothing known', () => {
  expect(labelUsagePer1000([labels({ usd: 0.1 }), labels({ usd: null })]).per1000.usd).toBeNull();
  expect(labelUsagePer1000([])).toMatchObject({ instances: 0, per1000: { promptTokens: 0, usd: null } });
});

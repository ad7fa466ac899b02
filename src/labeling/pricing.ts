import type { Labels } from '../domain/types.ts';
import type { TokenPrices } from './types.ts';

export interface TokenCount {
  readonly promptTokens: number;
  /** Part of `promptTokens` that the server had cached. */
  readonly cachedPromptTokens: number;
  readonly completionTokens: number;
}

/** US dollars of a number of tokens; null when no price is configured. */
export function priceOf(count: TokenCount, prices: TokenPrices | null): number | null {
  if (prices === null) return null;
  const fresh = count.promptTokens - count.cachedPromptTokens;
  const cachedPrice = prices.cachedInput ?? prices.input;
  const perMillion =
    fresh * prices.input + count.cachedPromptTokens * cachedPrice + count.completionTokens * prices.output;
  return perMillion / 1_000_000;
}

export interface LabelUsageSummary {
  readonly instances: number;
  /** Instances with a controversial dimension. */
  readonly controversial: number;
  /** Means per instance, times 1,000. */
  readonly per1000: {
    readonly requests: number;
    readonly promptTokens: number;
    readonly cachedPromptTokens: number;
    readonly completionTokens: number;
    /** null when the price of any instance is unknown, or there is no instance. */
    readonly usd: number | null;
  };
}

/** Tokens and money of labelling, scaled to 1,000 instances (the unit of SPICE's $5.10). */
export function labelUsagePer1000(labels: readonly Labels[]): LabelUsageSummary {
  const mean = (of: (usage: Labels['usage']) => number): number =>
    labels.length === 0
      ? 0
      : Math.round((1_000 * labels.reduce((sum, label) => sum + of(label.usage), 0)) / labels.length);
  const prices = labels.map((label) => label.usage.usd);
  const known = prices.filter((usd) => usd !== null);
  const complete = known.length === prices.length && prices.length > 0;
  return {
    instances: labels.length,
    controversial: labels.filter((label) =>
      [label.issue_clarity, label.test_fairness, label.effort].some((consensus) => consensus.controversial),
    ).length,
    per1000: {
      requests: mean((usage) => usage.requests),
      promptTokens: mean((usage) => usage.promptTokens),
      cachedPromptTokens: mean((usage) => usage.cachedPromptTokens),
      completionTokens: mean((usage) => usage.completionTokens),
      usd: complete ? (1_000 * known.reduce((sum, usd) => sum + usd, 0)) / prices.length : null,
    },
  };
}

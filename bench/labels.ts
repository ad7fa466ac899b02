import { labelInputOf } from '../src/activities/labels.ts';
import type { Rows } from '../src/cli/rows.ts';
import type { Labels } from '../src/domain/types.ts';
import { labelUsagePer1000, priceOf } from '../src/labeling/pricing.ts';
import { SYSTEM_PROMPT } from '../src/labeling/prompts.ts';
import { createLabeler } from '../src/labeling/spice.ts';
import type { Labeler, TokenPrices } from '../src/labeling/types.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { countTokens, countingServer } from './peer/countingServer.ts';
import { machineLine, type BenchReport } from './report.ts';

/** US dollars per million tokens. */
const PRICES: TokenPrices = { input: 0.15, cachedInput: 0.075, output: 0.6 };
const MODEL = 'gpt-4o-mini';
const PUBLISHED = 'https://developers.openai.com/api/docs/pricing (gpt-4o-mini, standard)';
/** https://developers.openai.com/api/docs/guides/prompt-caching: prefixes of at least so many tokens, in steps. */
const CACHE_FROM_TOKENS = 1_024;
const CACHE_STEP_TOKENS = 128;
const VOTES = 3;

/**
 * Tokens and money of the labels of a campaign's rows: our labeller with its real prompts, three votes in one request.
 * With REPOFORGE_LABEL_MODEL set the model answers and its server counts; otherwise answers are written samples and the
 * model's own vocabulary counts.
 */
export async function benchLabels(deps: Dependencies, { rows }: Rows): Promise<BenchReport> {
  const asked = deps.settings.labelModel;
  const labeler = asked === null ? countingLabeler(deps) : deps.labeler;
  const prices = asked?.prices ?? (asked === null ? PRICES : null);
  const labels: Labels[] = [];
  for (const row of rows) labels.push(await labeler.label(await labelInputOf(deps, row.candidate, row)));
  const { per1000 } = labelUsagePer1000(labels);
  const usd = per1000.usd === null ? null : round(per1000.usd);
  const { promptTokens, completionTokens } = per1000;
  return {
    bench: 'labels',
    figure: usd,
    unit: 'US dollars per 1,000 instances',
    what: 'labels of the campaign’s rows, three votes in one request, at published prices, nothing cached',
    target: '<= $2.50',
    machine: machineLine(),
    runs: labels.map(({ usage }, index) => ({ instance: rows[index]?.instance_id ?? '', ...usage })),
    more: {
      instances: labels.length,
      tokens_per_instance: Math.round((promptTokens + completionTokens) / 1_000),
      prompt_tokens_per_instance: Math.round(promptTokens / 1_000),
      completion_tokens_per_instance: Math.round(completionTokens / 1_000),
      votes: VOTES,
      usd_per_1000: usd,
      usd_per_1000_with_prefix_cache: withCachedPrefix(per1000, prices),
      shared_prefix_tokens: countTokens(SYSTEM_PROMPT),
      model: asked?.model ?? MODEL,
      usd_per_million_input: prices?.input ?? null,
      usd_per_million_output: prices?.output ?? null,
      prices_from: asked === null ? PUBLISHED : 'REPOFORGE_LABEL_PRICE_*',
      counted_by: asked === null ? 'o200k_base on written answers' : 'the server',
    },
  };
}

const countingLabeler = ({ log }: Dependencies): Labeler =>
  createLabeler({
    settings: { baseUrl: 'http://127.0.0.1/v1', model: MODEL, prices: PRICES, votes: VOTES },
    fetch: countingServer,
    log,
  });

/** The same when the server has the system prompt cached from the instance before, as far as its rules allow. */
function withCachedPrefix(
  per1000: { readonly promptTokens: number; readonly completionTokens: number },
  prices: TokenPrices | null,
): number | null {
  const prefix = countTokens(SYSTEM_PROMPT);
  const cached = prefix < CACHE_FROM_TOKENS ? 0 : Math.floor(prefix / CACHE_STEP_TOKENS) * CACHE_STEP_TOKENS;
  const usd = priceOf({ ...per1000, cachedPromptTokens: 1_000 * cached }, prices);
  return usd === null ? null : round(usd);
}

const round = (value: number): number => Math.round(1_000 * value) / 1_000;

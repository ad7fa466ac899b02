import type { ServerLoad } from './types.ts';

interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The load in a vLLM server's metrics (Prometheus text); null where they are somebody else's. Pure. */
export function readLoad(text: string): ServerLoad | null {
  const series = text.split('\n').flatMap((line) => parseLine(line) ?? []);
  const sum = (name: string): number =>
    series.filter((one) => one.name === name).reduce((total, { value }) => total + value, 0);
  if (!series.some(({ name }) => name === 'vllm:num_requests_running')) return null;
  return {
    running: sum('vllm:num_requests_running'),
    waiting: sum('vllm:num_requests_waiting'),
    cacheUse: sum('vllm:kv_cache_usage_perc'),
    preemptions: sum('vllm:num_preemptions_total'),
    promptTokens: sum('vllm:prompt_tokens_total'),
    generatedTokens: sum('vllm:generation_tokens_total'),
    busyAdapters: busyAdapters(series.filter(({ name }) => name === 'vllm:lora_requests_info')),
  };
}

/** One series for each set of adapters that was ever busy together, each with the moment when it last was: the newest counts. */
function busyAdapters(series: readonly Series[]): readonly string[] {
  const newest = series.reduce<Series | null>(
    (best, one) => (best === null || one.value > best.value ? one : best),
    null,
  );
  const names = ['running_lora_adapters', 'waiting_lora_adapters'].flatMap((label) =>
    (newest?.labels[label] ?? '').split(','),
  );
  return [...new Set(names.filter((name) => name !== ''))];
}

function parseLine(line: string): Series | null {
  const [, name, labels = '', value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
  if (name === undefined) return null;
  const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
  return {
    name,
    labels: Object.fromEntries(pairs.map(([, key = '', text = '']) => [key, text])),
    value: Number(value),
  };
}

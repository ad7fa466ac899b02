import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PublishedVersion } from '../../src/domain/rl/messages.ts';
import type { PolicyProbe, SampleRequest } from '../../src/policy/types.ts';
import type { SharedVllm } from '../support/vllm.ts';

export type TinyWeights = 'base' | 'adapter-1' | 'adapter-2' | 'full-1';

/** The fixed sequence and what transformers says of it under some weights. */
export function tinyProbe(
  { models }: SharedVllm,
  of: TinyWeights,
  before: TinyWeights | null = null,
): PolicyProbe {
  const { token_ids: tokenIds, expected } = JSON.parse(readFileSync(join(models, 'probe.json'), 'utf8')) as {
    readonly token_ids: readonly number[];
    readonly expected: Readonly<Record<TinyWeights, readonly number[]>>;
  };
  return { tokenIds, expected: expected[of], previous: before === null ? null : expected[before] };
}

/** A directory of makeTinyModel.py as a published version. */
export function tinyVersion(
  shared: SharedVllm,
  directory: string,
  version: number,
  model: string,
): PublishedVersion {
  const path = join(shared.models, directory);
  const manifest = JSON.parse(readFileSync(join(path, 'manifest.json'), 'utf8')) as {
    readonly sha256: string;
  };
  return { version, model, path, sha256: manifest.sha256 };
}

export const QUESTION = [
  { role: 'user', content: 'Which of the patches solves it? Answer with one letter.' },
] as const;
export const LETTERS = ['A', 'B', 'C', 'D'] as const;

/** A request of a training run for one free answer of 8 tokens, unless told otherwise. */
export function sampleOf(
  shared: SharedVllm,
  run: string,
  version: { readonly model: string; readonly version: number },
  more: Partial<SampleRequest> = {},
): SampleRequest {
  return {
    run,
    address: { servers: [shared.address], choice: 'pinned', model: version.model, version: version.version },
    key: 'episode',
    messages: QUESTION,
    n: 1,
    temperature: 1,
    maxTokens: 8,
    seed: 1,
    choices: null,
    ...more,
  };
}

export const largestDifference = (a: readonly number[], b: readonly number[]): number =>
  a.length === b.length ? Math.max(...a.map((value, at) => Math.abs(value - (b[at] as number)))) : Number.NaN;

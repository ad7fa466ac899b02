import { z } from 'zod';
import { nameProblem } from '../domain/ids.ts';
import { MAX_TURNS, RL_BOUNDS } from '../domain/rl/messages.ts';
import { RL_PRESETS } from '../domain/rl/presets.ts';
import type { RlPresetName } from '../domain/rl/presets.ts';
import type { RlOptions } from '../domain/rl/options.ts';
import { address } from './address.ts';
import { parseYamlFile, unknownKey } from './yamlFile.ts';

const count = z.int().positive();
const share = z.number().min(0).max(1);
const within = (name: keyof typeof RL_BOUNDS) => z.int().min(RL_BOUNDS[name][0]).max(RL_BOUNDS[name][1]);

/** Numbers of a run; what is left out is the preset's. */
const OPTIONS = {
  steps: within('steps'),
  groups_per_step: within('groupsPerStep'),
  group_size: within('groupSize'),
  /** Groups in flight at once. */
  width: count.max(500),
  max_staleness: z.int().min(0).max(32),
  stale: z.enum(['wait', 'drop']),
  policy: z.enum(['pinned', 'latest']),
  temperature: z.number().positive(),
  max_turns: count.max(MAX_TURNS),
  max_tokens: count,
  max_tokens_per_turn: count,
  max_wall_seconds: z.number().positive(),
  normalise_advantages: z.boolean(),
  filter_overlong: z.boolean(),
  epochs: within('epochs'),
  learning_rate: z.number().positive(),
  clip_low: share,
  clip_high: z.number().nonnegative(),
  tis_cap: z.number().min(1).nullable(),
  kl_coefficient: z.number().nonnegative(),
  entropy_coefficient: z.number(),
  lora: z.strictObject({ rank: count, alpha: z.number().positive() }).nullable(),
  dtype: z.enum(['float32', 'bfloat16']),
  samples_per_part: count,
  evaluate_every: count.nullable(),
  stop_at_reward: share.nullable(),
  stop_window: within('stopWindow'),
  max_empty_batches: within('maxEmptyBatches'),
  steps_per_run: within('stepsPerRun'),
  seed: z.int().nonnegative(),
  candidate_order: z.enum(['shuffled', 'fixed']),
  permute_rewards: z.boolean(),
} as const;

const rl = z.strictObject({
  name: z.string().superRefine((name, context) => {
    const problem = nameProblem(name);
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
  }),
  /** A campaign of this installation, or a dataset.jsonl. */
  dataset: z.string().min(1),
  /** Only these. */
  instances: z.array(z.string().min(1)).min(1).optional(),
  /** Instances set aside, the last of the dataset: scored, never trained on. */
  held_out: z.int().nonnegative().optional(),
  preset: z.enum(Object.keys(RL_PRESETS) as [RlPresetName, ...RlPresetName[]]).optional(),
  agent: z.enum(['selector', 'coder']).optional(),
  /** Directory of the model that training begins with, as trainer and servers see it. */
  model: z.string().min(1),
  /** Name under which the servers serve it. */
  served_model: z.string().min(1).optional(),
  servers: z.array(address).min(1),
  trainer: address,
  options: z.strictObject(z.object(OPTIONS).partial().shape).optional(),
});

/** A training run as its YAML file says it (snake_case, units in the names). */
export type RlFile = z.output<typeof rl>;

/**
 * Parses and checks the file of a training run.
 * @throws YamlFileError naming the file, line and column of the first mistake.
 */
export const parseRlFile = (text: string, file: string): RlFile =>
  parseYamlFile(text, file, { schema: rl, explainKey: (key, path) => unknownKey(key, knownKeys(path)) });

function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  if (path.length === 0) return Object.keys(rl.shape);
  return path.at(-1) === 'lora' ? ['rank', 'alpha'] : Object.keys(OPTIONS);
}

/** The preset with what the file says otherwise. */
export function rlOptionsOf({ preset = 'repoforge', agent, options = {} }: RlFile): RlOptions {
  const base = RL_PRESETS[preset].options;
  const given = Object.fromEntries(Object.entries(options).map(([key, value]) => [camelCase(key), value]));
  const pick = <T extends object>(into: T): T =>
    Object.fromEntries(
      Object.entries(into).map(([key, value]) => [key, key in given ? given[key] : value]),
    ) as T;
  return {
    ...pick(base),
    agent: agent ?? base.agent,
    budget: {
      ...pick(base.budget),
      ...(options.max_wall_seconds === undefined ? {} : { maxWallMs: options.max_wall_seconds * 1_000 }),
    },
    loss: pick(base.loss),
  };
}

const camelCase = (key: string): string =>
  key.replace(/_([a-z])/g, (_match, letter: string) => letter.toUpperCase());

/** Every number of a preset under the name that a file gives it. */
export function presetAsFile(name: RlPresetName): {
  readonly agent: RlOptions['agent'];
  readonly options: Readonly<Record<string, unknown>>;
} {
  const { agent, budget, loss, ...rest } = RL_PRESETS[name].options;
  const numbers: Readonly<Record<string, unknown>> = {
    ...rest,
    ...budget,
    ...loss,
    maxWallSeconds: budget.maxWallMs / 1_000,
  };
  return {
    agent,
    options: Object.fromEntries(Object.keys(OPTIONS).map((key) => [key, numbers[camelCase(key)]])),
  };
}

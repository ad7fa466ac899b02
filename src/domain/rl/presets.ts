import type { RlOptions } from './options.ts';

/** Settings of whole runs, by name. */

const common = {
  stale: 'wait',
  policy: 'pinned',
  filterOverlong: true,
  evaluateEvery: null,
  stopAtReward: null,
  stopWindow: 20,
  maxEmptyBatches: 10, // prime-rl's number
  stepsPerRun: 20, // under 3,000 events with 8 groups a step
  reconcileMs: 60_000,
  seed: 0,
  candidateOrder: 'shuffled',
  permuteRewards: false,
  samplesPerPart: 64,
} as const;

/** Ours: one version of staleness hides publishing and the tail of a batch; clip bounds of DAPO; token mean. */
const repoforge: RlOptions = {
  ...common,
  agent: 'coder',
  steps: 200,
  groupsPerStep: 8,
  groupSize: 8,
  width: 16, // (S + 1) · B
  maxStaleness: 1,
  temperature: 1,
  budget: { maxTurns: 35, maxTokens: 32_768, maxTokensPerTurn: 4_096, maxWallMs: 30 * 60_000 },
  normaliseAdvantages: false, // with the standard deviation, groups that are nearly solved weigh most (Dr. GRPO)
  epochs: 1,
  learningRate: 1e-5,
  loss: { clipLow: 0.2, clipHigh: 0.28, tisCap: null, klCoefficient: 0, entropyCoefficient: 0 },
  lora: { rank: 32, alpha: 64 },
  dtype: 'bfloat16',
};

export interface RlPreset {
  readonly description: string;
  readonly options: RlOptions;
}

export const RL_PRESETS: Readonly<Record<'repoforge' | 'paper' | 'tiny', RlPreset>> = {
  repoforge: { description: 'asynchronous, S = 1, clipped ratio 0.2 / 0.28, LoRA', options: repoforge },
  paper: {
    description:
      'GRPO as arXiv 2508.01550 gives it: 8 × 8, T 0.5, KL 0.001, 35 turns, lr 1e-6, synchronous. Its top-p 0.95 is not reproduced: truncated sampling biases the ratios',
    options: {
      ...repoforge,
      width: 8,
      maxStaleness: 0,
      temperature: 0.5,
      normaliseAdvantages: true,
      learningRate: 1e-6,
      loss: { ...repoforge.loss, clipHigh: 0.2, klCoefficient: 0.001 },
      lora: null,
    },
  },
  tiny: {
    description: 'a model of a million parameters on two cores: the selector, all parameters, S = 0',
    options: {
      ...repoforge,
      agent: 'selector',
      steps: 150,
      groupsPerStep: 12, // with 8, tasks that were wrong stayed wrong
      groupSize: 32, // sampled in one request; with 16 up to nine groups of ten had no variance in the end
      width: 12,
      maxStaleness: 0,
      budget: { maxTurns: 1, maxTokens: 1_024, maxTokensPerTurn: 2, maxWallMs: 5 * 60_000 },
      normaliseAdvantages: true,
      epochs: 2,
      learningRate: 4e-4,
      loss: { ...repoforge.loss, entropyCoefficient: 0.3 },
      lora: null,
      dtype: 'float32',
      samplesPerPart: 128,
    },
  },
};
export type RlPresetName = keyof typeof RL_PRESETS;

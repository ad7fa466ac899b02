/** One training run from start to end, and what it shows. */
import { constantBest, selectorOrder } from '../../src/agents/selector.ts';
import { selectorTask } from '../../src/agents/selectorTasks.ts';
import { playRl } from '../../src/cli/commands/rl.ts';
import type { Output } from '../../src/cli/output.ts';
import { nameProblem } from '../../src/domain/ids.ts';
import type { RlOptions } from '../../src/domain/rl/options.ts';
import { RL_PRESETS } from '../../src/domain/rl/presets.ts';
import { readRlLog } from '../../src/report/rlLog.ts';
import { bubbleOf, settledUses, stepUses, windowsOf } from '../../src/report/rlTimes.ts';
import type { RlLog } from '../../src/report/rlLog.ts';
import type { Session } from '../../src/setup/session.ts';
import type { RunningWorkers } from '../../src/workers/main.ts';
import { SERVED_MODEL } from './world.ts';
import type { Instances, WarmModel } from './world.ts';

/** What the learning runs have in common: twelve groups of 32 answers each, two passes. */
const FULL: RlOptions = { ...RL_PRESETS.tiny.options, stopAtReward: 0.8, stopWindow: 10 };

/** Adapters under names of their own, which load beside those in use: S = 1. */
const LORA: RlOptions = {
  ...FULL,
  lora: { rank: 8, alpha: 16 },
  learningRate: 2e-3,
  maxStaleness: 1,
  width: 24,
};

export const VARIANTS = {
  /** All parameters, drawn order of candidates: learned from content. */
  full: FULL,
  /** The same with its rewards permuted inside each batch: must not learn. */
  control: { ...FULL, permuteRewards: true, stopAtReward: null, steps: 60 },
  /** One order for each instance: memorised by position. */
  lora_fixed: { ...LORA, candidateOrder: 'fixed', loss: { ...LORA.loss, entropyCoefficient: 0 } },
  /** Drawn orders: its figure, as it is. */
  lora_shuffled: LORA,
} as const satisfies Readonly<Record<string, RlOptions>>;
export type Variant = keyof typeof VARIANTS;

export interface LearnRequest {
  readonly name: string;
  readonly variant: Variant;
  readonly seed: number;
  readonly instances: Instances;
  readonly model: WarmModel;
  readonly server: string;
  readonly trainer: string;
  readonly steps?: number;
}

/** Means of the first and last ten steps, and what else a reader asks of a run; of all its starts, as its log has it. */
export interface Learned {
  readonly run: string;
  readonly variant: Variant;
  readonly seed: number;
  readonly state: string;
  readonly reward_first: number;
  readonly reward_last: number;
  readonly steps: number;
  readonly minutes: number;
  readonly staleness_max: number;
  readonly parity_max: number;
  readonly bubble: number | null;
  readonly constant_best: number;
  readonly executed: number;
  readonly served: number;
  /** Of a control: the largest mean over twenty steps in a row. */
  readonly reward_window_max: number;
  readonly curve: readonly number[];
}

export async function learn(
  session: Session,
  workers: RunningWorkers,
  output: Output,
  request: LearnRequest,
): Promise<Learned> {
  const { name: run, variant, seed, instances, model, server, trainer } = request;
  const problem = nameProblem(run);
  if (problem !== undefined) throw new Error(problem);
  const options = {
    ...VARIANTS[variant],
    seed,
    ...(request.steps === undefined ? {} : { steps: request.steps }),
  };
  const asked = {
    run,
    dataset: instances.dataset,
    rows: instances.rows,
    heldOut: 0,
    options,
    servers: [server],
    trainer,
    model: model.path,
    servedModel: SERVED_MODEL,
  };
  const summary = await playRl(session, workers, asked, output);
  const log = await readRlLog(session.records, run);
  const curve = log.entries.map(({ step }) => step.reward);
  const groups = log.entries.flatMap(({ timeline }) => timeline.groups);
  const wallMs = windowsOf(log.entries).reduce((total, span) => total + span.endedMs - span.startedMs, 0);
  return {
    run,
    variant,
    seed,
    state: summary.state,
    reward_first: round(mean(curve.slice(0, 10))),
    reward_last: round(mean(curve.slice(-10))),
    steps: summary.step,
    minutes: round(wallMs / 60_000),
    staleness_max: Math.max(0, ...log.entries.map(({ step }) => step.staleness.max)),
    // at S = 0 each batch is a probe of its own
    parity_max: Math.max(
      0,
      ...log.entries.map(({ timeline }) => timeline.parityMax ?? 0),
      ...(options.maxStaleness === 0 ? mismatches(log) : []),
    ),
    bubble: bubbleOf(settledUses(stepUses(log))),
    constant_best: round(constantScore(instances, log, options)),
    executed: sum(groups.map(({ executed = 0 }) => executed)),
    served: sum(groups.map(({ served = 0 }) => served)),
    reward_window_max: round(Math.max(...windows(curve, 20).map(mean))),
    curve: curve.map(round),
  };
}

const mismatches = ({ entries }: RlLog): readonly number[] =>
  entries.map(({ step }) => step.metrics['mismatch_max'] ?? 0);

/** What the best letter alone would have scored on the orders that were drawn. */
function constantScore({ rows }: Instances, { entries }: RlLog, options: RlOptions): number {
  const { seed, candidateOrder } = options;
  const tasks = new Map(
    rows.flatMap(({ row }, place) => {
      const made = selectorTask(row, { seed, place });
      return 'task' in made ? [[row.instance_id, made.task] as const] : [];
    }),
  );
  const drawn = entries
    .flatMap(({ rollouts }) => rollouts)
    .flatMap(({ instanceId, group }) => {
      const task = tasks.get(instanceId);
      return task === undefined
        ? []
        : [{ task, order: selectorOrder(task, { seed, group, candidateOrder }) }];
    });
  return constantBest(
    drawn.map(({ task }) => task),
    drawn.map(({ order }) => order),
  ).score;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);
const mean = (numbers: readonly number[]): number => sum(numbers) / Math.max(1, numbers.length);
const round = (number: number): number => Math.round(number * 1_000) / 1_000;
const windows = (numbers: readonly number[], width: number): readonly (readonly number[])[] =>
  numbers.length < width
    ? [numbers]
    : Array.from({ length: numbers.length - width + 1 }, (_none, at) => numbers.slice(at, at + width));

// `npm run demo:rl`: a policy that really learns, on two cores. Bugs are planted in real packages and become instances by the
// whole lifecycle; a tiny model, warmed on other tasks, is served by a real vLLM and trained by a real trainer; rewards come
// from tests in real containers.
import { UsageError, table } from '../src/cli/output.ts';
import type { Output } from '../src/cli/output.ts';
import { withWorkers } from '../src/cli/signals.ts';
import type { VllmProcess } from '../src/policy/process.ts';
import type { Session } from '../src/setup/session.ts';
import type { TrainerProcess } from '../src/training/process.ts';
import { VARIANTS, learn } from './rl/learn.ts';
import type { Learned, Variant } from './rl/learn.ts';
import { DEMO_PACKAGES, bugInstances, openServer, openTrainer, runName, warmModel } from './rl/world.ts';
import { listed, parseOptions, runScript } from './script.ts';
import type { ScriptOptions } from './script.ts';

const TASKS = 8;
const FULL_SEEDS = 3;
const BAR = 40; // characters of a reward of 1
const LORA = { maxRank: 8, maxLoras: 4 }; // S + 2 versions, and one that drains
const USAGE = `Usage: npm run demo:rl -- [--runs full,control,lora_fixed,lora_shuffled] [--seeds N] [--packages a,b] [--json] [--state DIR]`;

interface Options extends ScriptOptions {
  readonly runs: readonly Variant[];
  readonly seeds: number;
  readonly packages: readonly string[];
}

await runScript('demo:rl', readOptions, demo);

function readOptions(): Options {
  const values = parseOptions(
    {
      runs: { type: 'string', default: Object.keys(VARIANTS).join(',') },
      seeds: { type: 'string', default: String(FULL_SEEDS) },
      packages: { type: 'string', default: DEMO_PACKAGES.join(',') },
      json: { type: 'boolean', default: false },
      state: { type: 'string' },
    },
    USAGE,
  );
  const runs = listed(values.runs);
  const seeds = Number(values.seeds);
  if (!runs.every(isVariant) || !Number.isInteger(seeds) || seeds < 1) throw new UsageError(USAGE);
  return { runs, seeds, packages: listed(values.packages), json: values.json, state: values.state };
}

function isVariant(name: string): name is Variant {
  return Object.keys(VARIANTS).includes(name);
}

async function demo(session: Session, output: Output, { runs, seeds, packages }: Options): Promise<void> {
  const instances = await bugInstances(session, output, { campaign: 'rl-demo', packages, wanted: TASKS });
  const trainer = await openTrainer(session, output);
  const learned: Learned[] = [];
  try {
    await withWorkers(session.startWorkers(), output, async (workers) => {
      const full = runs.filter((run) => run === 'full' || run === 'control');
      const lora = runs.filter((run) => run === 'lora_fixed' || run === 'lora_shuffled');
      for (const [start, variants] of [
        ['narrow', full],
        ['wide', lora],
      ] as const) {
        if (variants.length === 0) continue;
        const model = await warmModel(session, output, trainer, start);
        output.say(
          `The model was warmed on ${model.warmedOn}; on unseen tasks it is paid ${model.report.reward.toFixed(3)}.`,
        );
        const server = await openServer(session, output, model.path, start === 'wide' ? LORA : null);
        try {
          for (const variant of variants)
            for (let seed = 0; seed < (variant === 'full' ? seeds : 1); seed += 1) {
              const name = await runName(session, `demo-${variant.replace('_', '-')}-${seed}`, {
                resume: true,
              });
              const request = { name, variant, seed, instances, model, trainer: trainer.url };
              const result = await Promise.race([
                learn(session, workers, output, { ...request, server: server.address }),
                endOf(server, trainer),
              ]);
              output.say(curveText(result));
              learned.push(result);
            }
        } finally {
          await server.stop();
        }
      }
    });
  } finally {
    await trainer.stop();
  }
  const [first] = learned;
  output.result({ ...first, runs: learned }, resultText(learned));
}

/** Neither ends before the runs do, unless it crashes or is killed: nothing would be left to wait for. */
async function endOf(server: VllmProcess, trainer: TrainerProcess): Promise<never> {
  const what = await Promise.race([
    server.ended.then(() => `vLLM ended; its log is ${server.log}.`),
    trainer.ended.then((last) => `The trainer ended: ${last}.`),
  ]);
  throw new Error(`${what} Run the same command again to go on from the last step.`);
}

/** The curve in means of ten steps, a bar each. */
function curveText({ run, curve }: Learned): string {
  const lines = Array.from({ length: Math.ceil(curve.length / 10) }, (_none, at) => {
    const part = curve.slice(10 * at, 10 * at + 10);
    const mean = part.reduce((sum, one) => sum + one, 0) / part.length;
    return `  ${String(10 * at + 1).padStart(4)} ${mean.toFixed(2)} ${'█'.repeat(Math.round(BAR * mean))}`;
  });
  return [`${run}: mean reward of each ten steps`, ...lines].join('\n');
}

function resultText(learned: readonly Learned[]): string {
  const head = [
    'run',
    'first',
    'last',
    'steps',
    'minutes',
    'S max',
    'parity',
    'bubble',
    'constant',
    'executed',
    'served',
  ];
  const rows = learned.map((one) => [
    one.run,
    one.reward_first,
    one.reward_last,
    one.steps,
    one.minutes,
    one.staleness_max,
    one.parity_max.toExponential(1),
    one.bubble === null ? '-' : one.bubble.toFixed(2),
    one.constant_best,
    one.executed,
    one.served,
  ]);
  return table([head, ...rows]);
}

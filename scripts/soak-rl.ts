// `npm run soak:rl`: a training run on a real vLLM and a real trainer (adapters at S = 1 unless told otherwise), whose worker, trainer and server
// are killed in turn; afterwards no sample was trained twice, no step or version is missing, and nothing is left over.
import { UsageError } from '../src/cli/output.ts';
import type { Output } from '../src/cli/output.ts';
import type { Session } from '../src/setup/session.ts';
import { faultLine, trainUnderFaults } from './rl/faults.ts';
import { VARIANTS } from './rl/learn.ts';
import {
  DEMO_PACKAGES,
  SERVED_MODEL,
  bugInstances,
  openServer,
  openTrainer,
  runName,
  warmModel,
} from './rl/world.ts';
import { parseOptions, runScript } from './script.ts';
import type { ScriptOptions } from './script.ts';

const USAGE =
  'Usage: npm run soak:rl -- [--run lora_shuffled|full] [--faults 12] [--steps 40] [--seed N] [--state DIR] [--json]';
const LORA = { maxRank: 8, maxLoras: 4 };

await runScript('soak:rl', readOptions, soak);

interface Options extends ScriptOptions {
  readonly run: 'lora_shuffled' | 'full';
  readonly faults: number;
  readonly steps: number;
  readonly seed: number;
}

function readOptions(): Options {
  const values = parseOptions(
    {
      run: { type: 'string', default: 'lora_shuffled' },
      faults: { type: 'string', default: '12' },
      steps: { type: 'string', default: '40' },
      seed: { type: 'string', default: '4712' },
      json: { type: 'boolean', default: false },
      state: { type: 'string' },
    },
    USAGE,
  );
  const { run } = values;
  const [faults, steps, seed] = [Number(values.faults), Number(values.steps), Number(values.seed)];
  if (
    (run !== 'lora_shuffled' && run !== 'full') ||
    !Number.isInteger(faults) ||
    faults < 1 ||
    !Number.isInteger(steps) ||
    steps < 1 ||
    !Number.isInteger(seed)
  )
    throw new UsageError(USAGE);
  return { run, faults, steps, seed, json: values.json, state: values.state };
}

async function soak(session: Session, output: Output, { run, faults, steps, seed }: Options): Promise<void> {
  const instances = await bugInstances(session, output, {
    campaign: 'rl-demo',
    packages: DEMO_PACKAGES,
    wanted: 8,
  });
  const startTrainer = async (port?: number) => openTrainer(session, output, port);
  const trainer = await startTrainer();
  const model = await warmModel(session, output, trainer, 'narrow');
  const startServer = async (port?: number) => openServer(session, output, model.path, LORA, port);
  const processes = {
    trainer: { current: trainer, start: startTrainer },
    server: { current: await startServer(), start: startServer },
  };
  try {
    const report = await trainUnderFaults(
      session,
      processes,
      {
        run: await runName(session, 'soak', { resume: false }),
        dataset: instances.dataset,
        rows: instances.rows,
        heldOut: 0,
        options: { ...VARIANTS[run], steps, stopAtReward: null, stepsPerRun: 5 },
        servers: [processes.server.current.address],
        trainer: trainer.url,
        model: model.path,
        servedModel: SERVED_MODEL,
      },
      { faults, seed, say: output.say },
    );
    output.result(
      report,
      [
        ...report.faults.map((fault, at) => faultLine(fault, at + 1)),
        `${report.summary.step} steps, ${report.samples} samples, each trained once: ${report.problems.length === 0 ? 'yes' : 'NO'}; ${report.seconds} s`,
        ...report.problems.map((problem) => `PROBLEM: ${problem}`),
      ].join('\n'),
    );
    if (report.problems.length > 0 || report.faults.length < faults) process.exitCode = 1;
  } finally {
    await processes.server.current.stop();
    await processes.trainer.current.stop();
  }
}

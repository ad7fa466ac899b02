import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { withDependencies, type GlobalOptions } from '../src/cli/context.ts';
import { createOutput } from '../src/cli/output.ts';
import { readRows, type Rows } from '../src/cli/rows.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { benchEnvironment } from './environment.ts';
import { benchEvaluation } from './evaluation.ts';
import { benchLabels } from './labels.ts';
import { benchMining } from './mining.ts';
import { benchOrchestration } from './orchestration.ts';
import type { ServerKind } from './peer/temporalServer.ts';
import { reportJson, reportText, type BenchReport } from './report.ts';
import { benchRl } from './rl.ts';
import { benchStorage } from './storage.ts';
import { sampled } from './support.ts';
import { benchValidation } from './validation.ts';

interface BenchOptions extends GlobalOptions {
  readonly campaign: string;
  readonly packages?: string;
  readonly runs: number;
  readonly sample?: number;
  readonly slots?: number;
  readonly peer: 'all' | 'none';
  readonly repo: readonly string[];
  readonly server: ServerKind | 'both';
  readonly instances: number;
  readonly steps: number;
}

type Bench = (deps: Dependencies, rows: Rows, options: BenchOptions) => Promise<BenchReport>;

const BENCHES: Readonly<Record<string, Bench>> = {
  environment: (deps, rows, options) => benchEnvironment(deps, thin(rows, options), options.runs),
  evaluation: (deps, rows, options) => benchEvaluation(deps, thin(rows, options), options),
  labels: benchLabels,
  storage: benchStorage,
  validation: (deps, rows, options) => benchValidation(deps, thin(rows, options), options),
};

type OwnBench = (
  deps: Dependencies,
  options: BenchOptions,
  say: (line: string) => void,
) => Promise<BenchReport>;

/** A round takes seconds, and a median wants three. */
const MINING_ROUNDS = 3;

/** Benches that measure no campaign and need no Docker. */
const WITHOUT_CAMPAIGN: Readonly<Record<string, OwnBench>> = {
  mining: (deps, { repo, runs }, say) =>
    benchMining(deps, { repos: repo, rounds: Math.max(MINING_ROUNDS, runs), say }),
  orchestration: (deps, { server, instances }, say) =>
    benchOrchestration(deps, {
      servers: server === 'both' ? ['sqlite', 'postgres'] : [server],
      instances,
      say,
    }),
  rl: (deps, { server, steps }, say) =>
    benchRl(deps, { server: server === 'both' ? 'postgres' : server, steps, say }),
};

const NAMES = [...Object.keys(BENCHES), ...Object.keys(WITHOUT_CAMPAIGN)].toSorted().join(', ');

const thin = (rows: Rows, { sample }: BenchOptions): Rows => ({ ...rows, rows: sampled(rows.rows, sample) });

/** `npm run -s bench -- NAME`: measures a finished campaign of this installation and prints medians with their machine. */
async function main(): Promise<void> {
  const program = new Command('bench')
    .argument('<name>', `one of ${NAMES}`)
    .option('--campaign <name>', 'a finished campaign of this installation, or a dataset.jsonl', 'demo')
    .option('--packages <names>', 'only rows of these packages or repositories, comma separated')
    .option('--runs <n>', 'rounds of every measurement', positive, 1)
    .option('--sample <n>', 'this many of the instances, spread evenly over the dataset', positive)
    .option('--slots <n>', 'evaluations at once when walls are compared (default: the cores)', positive)
    .addOption(
      new Option(
        '--peer <which>',
        'none leaves out what ours is compared with: harness, image layouts, registry',
      )
        .choices(['all', 'none'])
        .default('all'),
    )
    .option(
      '--repo <path>',
      'mining: a clone or bare mirror; may be repeated',
      (path: string, paths: readonly string[]) => [...paths, path],
      [],
    )
    .addOption(
      new Option('--server <kind>', 'orchestration, rl: what the Temporal server keeps its data in')
        .choices(['sqlite', 'postgres', 'both'])
        .default('postgres'),
    )
    .option('--instances <n>', 'orchestration: instances of the campaign', positive, 10_000)
    .option('--steps <n>', 'rl: steps that are measured of each run', positive, 10)
    .option('--state <dir>', 'state directory')
    .option('--json', 'one JSON document on stdout')
    .exitOverride()
    .action(async (name: string, options: BenchOptions) => run(name, options));
  await program.parseAsync();
}

async function run(name: string, options: BenchOptions): Promise<void> {
  const own = WITHOUT_CAMPAIGN[name];
  if (own !== undefined) return runOwn(own, options);
  const bench = BENCHES[name];
  if (bench === undefined) {
    throw new InvalidArgumentError(`There is no bench "${name}"; benches are ${NAMES}.`);
  }
  const output = createOutput({ json: options.json === true });
  await withDependencies(
    options,
    output,
    async (deps) => {
      const rows = await rowsOf(deps, options);
      output.say(
        `Measuring ${name} on ${options.sample ?? 'all'} of ${rows.rows.length} instances of ${options.campaign}.`,
      );
      const report = await bench(deps, rows, options);
      output.result(reportJson(report), reportText(report));
    },
    { docker: name !== 'labels' }, // tokens are counted from what is kept
  );
}

async function runOwn(bench: OwnBench, options: BenchOptions): Promise<void> {
  const output = createOutput({ json: options.json === true });
  await withDependencies(options, output, async (deps) => {
    const report = await bench(deps, options, output.say);
    output.result(reportJson(report), reportText(report));
  });
}

async function rowsOf(deps: Dependencies, options: BenchOptions): Promise<Rows> {
  const first = `run \`npm run demo\` (or \`repoforge campaign run\`) first and name its campaign with --campaign`;
  const rows = await readRows({ stateDir: deps.state.dir, store: deps.store }, options.campaign).catch(
    (error: unknown) => {
      throw new InvalidArgumentError(
        `There is no finished campaign "${options.campaign}" in ${deps.state.dir}: ${first}. (${error instanceof Error ? error.message : String(error)})`,
      );
    },
  );
  const wanted = options.packages?.split(',').map((name) => name.trim().toLowerCase());
  const chosen = rows.rows.filter(
    ({ repo }) => wanted === undefined || wanted.some((name) => [repo, repo.split('/')[1]].includes(name)),
  );
  if (chosen.length === 0) {
    throw new InvalidArgumentError(
      `${options.campaign} has no instance${wanted === undefined ? '' : ` of ${options.packages}`}: ${first}.`,
    );
  }
  return { ...rows, rows: chosen };
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError('expected a whole number of at least 1');
  return value;
}

try {
  await main();
} catch (error) {
  const usage = error instanceof CommanderError;
  if (!usage || error instanceof InvalidArgumentError || error.exitCode !== 0) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  }
  process.exitCode = usage ? (error.exitCode === 0 ? 0 : 2) : 1;
}

import { cp, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { ensurePythonEnvironment } from '../../setup/pythonEnvironments.ts';
import { openState } from '../../setup/state.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../store/fs.ts';
import { createHttpTrainer } from '../../training/httpTrainer.ts';
import { startTrainer, type TrainerProcess, type TrainerProcessOptions } from '../../training/process.ts';
import { runSft, sftRunName, type SftResult } from '../../training/sft.ts';
import { exportSft, type SftExportCounts } from '../../training/sftExport.ts';
import { readExamples, writeExamples } from '../../training/sftFile.ts';
import type { TrainerConfig } from '../../training/types.ts';
import { assertAddress } from '../address.ts';
import { settingsFrom, type GlobalOptions } from '../context.ts';
import { createOutput, EXIT, table, UsageError, type Output } from '../output.ts';

/** `sft export`, `sft run`, `trainer`. */
export function addTrainingCommands(root: Command): void {
  const sft = root
    .command('sft')
    .description('supervised training on what solved its task (rejection sampling)');
  sft
    .command('export')
    .description('write the accepted episodes of a run as examples of exact tokens')
    .requiredOption('-r, --run <run>', 'a run of `rollout run` or `rl run`')
    .requiredOption('-o, --out <file>', 'file to write, JSON lines')
    .option('--min-reward <reward>', 'least reward of an accepted episode', Number, 1)
    .option('--per-instance <n>', 'most episodes of one instance, the shortest first (default: all)', Number)
    .action(exportExamples);
  sft
    .command('run')
    .description('train a model on examples; the same command goes on where it was cut')
    .requiredOption('-f, --file <files...>', 'files of `sft export`')
    .requiredOption('-m, --model <dir>', 'directory of the model, as the trainer sees it')
    .requiredOption('-o, --out <dir>', 'directory for the trained model, or adapter; must not be there')
    .option('--trainer <url>', 'a trainer that runs (default: one is started for the command)')
    .option('--steps <n>', 'steps', Number, 100)
    .option('--batch <n>', 'examples of one step', Number, 16)
    .option('--learning-rate <rate>', 'highest learning rate', Number, 1e-5)
    .option('--lora-rank <rank>', 'train an adapter of this rank (default: all parameters)', Number)
    .option('--bf16', 'compute in bfloat16')
    .option('--seed <n>', 'seed of the order of examples', Number, 0)
    .action(run);
  root
    .command('trainer')
    .description('serve the trainer in the foreground until stopped (Ctrl-C); what is committed is kept')
    .option('--dir <dir>', 'checkpoints, versions and journal (default: trainer/ in the state directory)')
    .option('--host <address>', 'whoever reaches it controls the trainer', '127.0.0.1')
    .option('--port <port>', 'port', Number, 8790)
    .option('--device <device>', 'cuda, cuda:1 or cpu (default: cuda where there is one)')
    .option('--threads <n>', 'threads on a CPU (default: all cores)', Number)
    .action(serve);
}

interface ExportOptions extends GlobalOptions {
  readonly run: string;
  readonly out: string;
  readonly minReward: number;
  readonly perInstance?: number;
}

async function exportExamples(_options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<ExportOptions>();
  const output = createOutput({ json: options.json === true });
  if (Number.isNaN(options.minReward)) throw new UsageError('--min-reward needs a number.');
  if (options.perInstance !== undefined) assertWhole('--per-instance', options.perInstance);
  const { paths } = await openState(settingsFrom(options).stateDir);
  const deps = { records: createFsRecordStore(paths.records), store: createFsArtefactStore(paths.artefacts) };
  const { run, minReward, perInstance } = options;
  const { examples, counts } = await exportSft(deps, { run, minReward, maxPerInstance: perInstance ?? null });
  await writeExamples(options.out, examples);
  output.result({ run, out: resolve(options.out), ...counts }, exportText(options.out, counts));
  if (examples.length === 0) process.exitCode = EXIT.failed;
}

function exportText(out: string, counts: SftExportCounts): string {
  const left: readonly (readonly [string, number])[] = [
    ['reward too low', counts.tooLowReward],
    ['ended by infrastructure', counts.infra],
    ['the same tokens again', counts.duplicates],
    ['more than wanted of their instance', counts.beyondPerInstance],
    ['held out, or choices among attempts', counts.notForTraining],
    ['without tokens', counts.withoutTokens],
    ['not in the store any more', counts.unreadable],
  ];
  return [
    `${counts.examples} examples with ${counts.tokens} learned tokens, of ${counts.episodes} episodes: ${out}`,
    table(left.filter(([, count]) => count > 0).map(([why, count]) => [`  ${why}`, count])),
  ]
    .filter((line) => line !== '')
    .join('\n');
}

interface RunOptions extends GlobalOptions {
  readonly file: readonly string[];
  readonly model: string;
  readonly out: string;
  readonly trainer?: string;
  readonly steps: number;
  readonly batch: number;
  readonly learningRate: number;
  readonly loraRank?: number;
  readonly bf16?: true;
  readonly seed: number;
}

async function run(_options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<RunOptions>();
  const output = createOutput({ json: options.json === true });
  const { steps, batch: batchSize, learningRate, seed } = options;
  assertWhole('--steps', steps);
  assertWhole('--batch', batchSize);
  if (options.loraRank !== undefined) assertWhole('--lora-rank', options.loraRank);
  if (!(learningRate > 0)) throw new UsageError('--learning-rate needs a number above 0.');
  if (!(Number.isInteger(seed) && seed >= 0))
    throw new UsageError('--seed needs a whole number of at least 0.');
  if (options.trainer !== undefined) assertAddress('--trainer', options.trainer);
  for (const file of options.file)
    if (!(await isThere(file))) throw new UsageError(`There is no file ${file}.`);
  if (await isThere(options.out))
    throw new UsageError(`${options.out} is there already: name another directory.`);
  const examples = await readExamples(options.file);
  const request = { config: configOf(options), examples, steps, batchSize, learningRate, seed };
  const result = await withTrainer(options, output, (url) =>
    runSft(createHttpTrainer({ url }), {
      ...request,
      run: sftRunName(request),
      onStep: ({ step, loss }) => {
        if (step % Math.max(1, Math.round(steps / 20)) === 0)
          output.say(`step ${step}/${steps}: loss ${loss.toFixed(4)}`);
      },
    }),
  );
  await keep(result, options.out);
  report(result, options, examples.length, output);
}

const configOf = ({ model, loraRank, bf16 }: RunOptions): TrainerConfig => ({
  base: resolve(model),
  lora: loraRank === undefined ? null : { rank: loraRank, alpha: 2 * loraRank },
  dtype: bf16 === true ? 'bfloat16' : 'float32',
  gradientCheckpointing: bf16 === true,
});

/** The version's directory is the trainer's, who may remove it; the user's is a copy. */
async function keep({ version }: SftResult, out: string): Promise<void> {
  if (!(await isThere(version.path)))
    throw new Error(`The trainer wrote ${version.path}, which is not on this machine: fetch it from there.`);
  await cp(version.path, out, { recursive: true, errorOnExist: true, force: false });
}

function report({ losses, version }: SftResult, options: RunOptions, examples: number, output: Output): void {
  const [first, last] = [losses.at(0), losses.at(-1)];
  output.result(
    { out: resolve(options.out), sha256: version.sha256, steps: version.step, examples, losses },
    `${version.step} steps on ${examples} examples, loss ${first?.loss.toFixed(4)} → ${last?.loss.toFixed(4)}: ${options.out}`,
  );
}

/** Uses the trainer that was named, or one for the time of the command. */
async function withTrainer<T>(
  options: RunOptions,
  output: Output,
  use: (url: string) => Promise<T>,
): Promise<T> {
  if (options.trainer !== undefined) return use(options.trainer);
  const trainer = await openTrainer(options, output, {});
  try {
    return await use(trainer.url);
  } finally {
    await trainer.stop();
  }
}

async function openTrainer(
  options: GlobalOptions,
  output: Output,
  more: Omit<Partial<TrainerProcessOptions>, 'python'>,
): Promise<TrainerProcess> {
  const settings = settingsFrom(options);
  const { python } = await ensurePythonEnvironment('trainer', { settings, say: output.say });
  const state = await openState(settings.stateDir);
  return startTrainer({ dir: join(state.dir, 'trainer'), ...more, python });
}

interface ServeOptions extends GlobalOptions {
  readonly dir?: string;
  readonly host: string;
  readonly port: number;
  readonly device?: string;
  readonly threads?: number;
}

async function serve(_options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<ServeOptions>();
  const output = createOutput({ json: options.json === true });
  assertWhole('--port', options.port);
  if (options.port > 65_535) throw new UsageError('--port needs a number of at most 65535.');
  if (options.threads !== undefined) assertWhole('--threads', options.threads);
  const { dir, host, port, device, threads } = options;
  const trainer = await openTrainer(options, output, {
    ...(dir === undefined ? {} : { dir: resolve(dir) }),
    host,
    port,
    ...(device === undefined ? {} : { device }),
    ...(threads === undefined ? {} : { threads }),
  });
  let stopping = false;
  const stop = (): void => {
    stopping = true;
    void trainer.stop();
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  output.say(`The trainer serves at ${trainer.url} (pid ${trainer.pid}).`);
  const last = await trainer.ended;
  process.off('SIGINT', stop).off('SIGTERM', stop);
  output.result({ ended: true, url: trainer.url }, stopping ? 'Stopped.' : `The trainer has ended: ${last}`);
  if (!stopping) process.exitCode = EXIT.failed;
}

function assertWhole(option: string, value: number): void {
  if (!Number.isInteger(value) || value < 1)
    throw new UsageError(`${option} needs a whole number of at least 1.`);
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

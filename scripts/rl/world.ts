/** What a training run on two cores needs: instances with bugs, a tiny model that knows how to answer, a trainer and a server. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { DEFAULT_RUN_LIMITS } from '../../src/domain/runs.ts';
import { selectorTask } from '../../src/agents/selectorTasks.ts';
import type { SelectorTask } from '../../src/agents/types.ts';
import { runCampaign } from '../../src/cli/campaigns.ts';
import type { Output } from '../../src/cli/output.ts';
import { readRows } from '../../src/cli/rows.ts';
import { cancelRl, rlStatus, waitForRl } from '../../src/client/rl.ts';
import type { RlStartRequest } from '../../src/client/rl.ts';
import { startVllm } from '../../src/policy/process.ts';
import type { VllmProcess } from '../../src/policy/process.ts';
import { TRAINER_DIR, ensurePythonEnvironment } from '../../src/setup/pythonEnvironments.ts';
import type { Session } from '../../src/setup/session.ts';
import { createHttpTrainer } from '../../src/training/httpTrainer.ts';
import { startTrainer } from '../../src/training/process.ts';
import type { TrainerProcess } from '../../src/training/process.ts';
import { WARM_DEFAULTS, examineSelector, warmProblem, warmSelector } from '../../src/training/warm.ts';
import type { WarmReport } from '../../src/training/warm.ts';
import { warmTasks } from '../../src/training/warmTasks.ts';

export const SERVED_MODEL = 'policy';
/** Their tests take a second or two, and name what a bug broke. */
export const DEMO_PACKAGES = ['inflection', 'cachetools', 'parse'] as const;

export interface Instances {
  /** Path of the dataset. */
  readonly dataset: string;
  readonly rows: RlStartRequest['rows'];
}

export interface InstancesRequest {
  readonly campaign: string;
  readonly packages: readonly string[];
  /** Instances that make a task of the selector. */
  readonly wanted: number;
}

/** Of the published instances of a package, so many give the selector a task that is short enough. */
const SPARE = 1.5;

/** Instances of the packages with bugs that make tasks, from a campaign that is resumed when it is there. */
export async function bugInstances(
  session: Session,
  output: Output,
  { campaign, packages, wanted }: InstancesRequest,
): Promise<Instances> {
  for (let published = Math.ceil(wanted * SPARE), round = 0; round < 3; published += wanted, round += 1) {
    await runCampaign(
      session,
      {
        name: campaign,
        sources: packages.map((mutate) => ({ mutate, maxInstances: Math.ceil(published / packages.length) })),
        options: {
          maxInstances: published,
          runtimes: ['3.11'],
          width: 4,
          passToPassBudgetMs: 2_000, // each of 32 candidates is graded once before anything is learned
          runLimits: { ...DEFAULT_RUN_LIMITS, timeoutMs: 20_000 }, // some candidates hang
        },
      },
      output,
    );
    const found = await tasksOf(session, campaign);
    if (found.rows.length >= wanted) return { ...found, rows: found.rows.slice(0, wanted) };
  }
  throw new Error(`The packages ${packages.join(', ')} do not give ${wanted} instances that make a task.`);
}

async function tasksOf(session: Session, campaign: string): Promise<Instances> {
  const rows = await readRows({ stateDir: session.state.dir, store: session.deps.store }, campaign);
  const usable = rows.rows.filter((row) => 'task' in selectorTask(row, { seed: 0 }));
  return {
    dataset: rows.path,
    rows: usable.map((row) => ({ row, provenCanaries: rows.provenCanaries(row.instance_id) })),
  };
}

/** Narrow: learns fast by its rewards where all parameters are trained. Wide: its embeddings know more words, which LoRA needs. */
export const WARM_STARTS = {
  narrow: [{ tasks: WARM_DEFAULTS.tasks, steps: WARM_DEFAULTS.steps }],
  wide: [
    { tasks: WARM_DEFAULTS.tasks, steps: WARM_DEFAULTS.steps },
    { tasks: 200, steps: 450 },
  ],
} as const;
export type WarmStart = keyof typeof WARM_STARTS;

export interface WarmModel {
  readonly path: string;
  readonly report: WarmReport;
  /** What it was warmed on, for people. */
  readonly warmedOn: string;
}

const SEED = 0;
const UNSEEN_TASKS = 20;

/** The tiny model after its warm start, made once and kept under the trainer's directory. */
export async function warmModel(
  session: Session,
  output: Output,
  trainer: TrainerProcess & { readonly python: string },
  start: WarmStart,
): Promise<WarmModel> {
  const dir = join(session.state.dir, 'rl-models');
  const note = join(dir, `${start}.json`);
  if (existsSync(note)) {
    const kept = JSON.parse(await readFile(note, 'utf8')) as WarmModel;
    if (existsSync(join(kept.path, 'model.safetensors'))) return kept;
  }
  const { python } = trainer;
  const stages = WARM_STARTS[start];
  const most = Math.max(...stages.map(({ tasks }) => tasks));
  const tasks = await warmTasks({ python, count: most + UNSEEN_TASKS, seed: SEED });
  const backend = createHttpTrainer({ url: trainer.url });
  let base = await tinyModel(session, python);
  let report: WarmReport | null = null;
  let problem: string | null = 'there was no warm start';
  for (const [index, stage] of stages.entries()) {
    const run = `warm-${start}-${index}-${digest(JSON.stringify([base, stage, WARM_DEFAULTS]))}`;
    const config = { base, lora: null, dtype: 'float32' } as const;
    await backend.createModel({ run, config });
    output.say(`Warm start: ${stage.steps} steps on ${stage.tasks} tasks made of Python's standard library.`);
    await warmSelector(backend, {
      run,
      config,
      tasks: tasks.slice(0, stage.tasks),
      seed: SEED,
      steps: stage.steps,
    });
    const examine = async (asked: readonly SelectorTask[]): Promise<WarmReport> =>
      examineSelector(backend, { run, tasks: asked, seed: SEED, orders: 6 });
    const learned = await examine(tasks.slice(0, Math.min(stage.tasks, UNSEEN_TASKS)));
    report = await examine(tasks.slice(most));
    problem = warmProblem(report, learned);
    base = (await backend.publish({ run, step: stage.steps })).path;
  }
  if (report === null || problem !== null) throw new Error(`The warm start failed: ${problem}.`);
  const made: WarmModel = {
    path: base,
    report,
    warmedOn: `${most} choice tasks of mutated functions of Python's standard library, smoothed labels`,
  };
  await writeFile(`${note}.tmp`, JSON.stringify(made));
  await rename(`${note}.tmp`, note);
  return made;
}

/** A random model of a million parameters with a vocabulary of its own. */
export async function tinyModel({ state }: Session, python: string): Promise<string> {
  const dir = join(state.dir, 'rl-models');
  const path = join(dir, 'tiny');
  if (existsSync(join(path, 'model.safetensors'))) return path;
  await mkdir(dir, { recursive: true });
  await execa(python, ['-m', 'repoforge_trainer.tiny', '--out', path, '--seed', String(SEED)], {
    env: { PYTHONPATH: TRAINER_DIR },
    stdin: 'ignore',
  });
  return path;
}

const digest = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 8);

/**
 * A run's name stands for its journal and its log: the first one that nobody has taken. Of those before it, one that was
 * left unfinished is ended, since its server is gone; with `resume`, which needs workers, its name is given out again and the
 * run goes on from its last step.
 */
export async function runName(
  session: Session,
  name: string,
  { resume }: { readonly resume: boolean },
): Promise<string> {
  const { state } = session;
  const context = { ...session, store: session.deps.store };
  for (let number = 1; ; number += 1) {
    const run = number === 1 ? name : `${name}-${number}`;
    if (!existsSync(join(state.dir, 'records', 'rl', run))) return run;
    if ((await rlStatus(context, run))?.status === 'RUNNING') {
      await cancelRl(context, run);
      if (resume) await waitForRl(context, run).catch(() => {}); // that it was cancelled; workers see to it
    }
    const status = (await rlStatus(context, run))?.status ?? 'COMPLETED';
    if (resume && status !== 'COMPLETED') return run;
  }
}

export async function openTrainer(
  session: Session,
  output: Output,
  port?: number,
): Promise<TrainerProcess & { python: string }> {
  const { settings, state } = session;
  const { python } = await ensurePythonEnvironment('trainer', { settings, say: output.say });
  // server and trainer take turns where nothing overlaps, and share the cores where it does
  const trainer = await startTrainer({
    dir: join(state.dir, 'trainer'),
    python,
    device: 'cpu',
    threads: 1,
    ...portOf(port),
  });
  return { ...trainer, python };
}

/** A vLLM server with this model. */
export async function openServer(
  session: Session,
  output: Output,
  model: string,
  lora: { readonly maxRank: number; readonly maxLoras: number } | null,
  port?: number,
): Promise<VllmProcess> {
  const { settings, state } = session;
  const { python } = await ensurePythonEnvironment('vllm', { settings, say: output.say });
  output.say('Starting vLLM on the CPU (40 to 80 s).');
  return startVllm({
    python,
    model,
    servedModel: SERVED_MODEL,
    directory: join(state.dir, 'vllm'),
    lora,
    maxModelTokens: 1_024,
    dtype: 'float32',
    cpu: { cacheGiB: 1 },
    ...portOf(port),
  });
}

const portOf = (port: number | undefined): { readonly port?: number } => (port === undefined ? {} : { port });

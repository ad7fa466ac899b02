import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import {
  cancelRl,
  pauseRl,
  resizeRl,
  resumeRl,
  rlStatus,
  setRlStaleness,
  startRl,
  stopRl,
  waitForRl,
} from '../../client/rl.ts';
import type { RlContext, RlStartRequest, StartedRl } from '../../client/rl.ts';
import type { RlProgress, RlSummary } from '../../domain/rl/messages.ts';
import { RL_PRESETS } from '../../domain/rl/presets.ts';
import type { RlPresetName } from '../../domain/rl/presets.ts';
import { STATUS_ENTRIES, rlStatusText } from '../../report/rlStatus.ts';
import { readRlLog } from '../../report/rlLog.ts';
import type { Session } from '../../setup/session.ts';
import type { RunningWorkers } from '../../workers/main.ts';
import { withSession, type GlobalOptions } from '../context.ts';
import { follow } from '../follow.ts';
import { createOutput, EXIT, UsageError, type Output } from '../output.ts';
import { createProgressView } from '../progress.ts';
import { parseRlFile, presetAsFile, rlOptionsOf } from '../rlFile.ts';
import type { RlFile } from '../rlFile.ts';
import { readRows } from '../rows.ts';
import { withWorkers } from '../signals.ts';
import { addVerb, inSession } from '../steering.ts';

const RUN = { name: 'training run', argument: '<name>' };

/** `rl run|start|status|pause|resume|resize|staleness|stop|presets`. */
export function addRlCommands(root: Command): void {
  const rl = root.command('rl').description('train a policy by asynchronous reinforcement learning');
  rl.command('run')
    .description('train with workers in this process, or go on with a run; ends when it is done')
    .argument('<file>', 'training file (YAML)')
    .action(run);
  rl.command('start')
    .description('start a training run and return; `repoforge worker` does the work')
    .argument('<file>', 'training file (YAML)')
    .action(start);
  rl.command('status')
    .description('how a training run is doing')
    .argument('<name>')
    .option('-w, --watch', 'again every two seconds until it ends')
    .action(status);
  const verb = (
    name: string,
    description: string,
    done: string,
    act: (context: RlContext, run: string) => Promise<void>,
  ): void => addVerb(rl, { name, description, done }, RUN, (session, run) => act(contextOf(session), run));
  verb('pause', 'dispatch no new group and take no new step', 'paused', pauseRl);
  verb('resume', 'go on after a pause', 'resumed', resumeRl);
  rl.command('stop')
    .description('end after the step under way; `rl run` takes it up again')
    .argument('<name>')
    .option(
      '--now',
      'end at once, also where a trainer or server is gone for good; the step under way is taken anew',
    )
    .action(async (name: string, { now }: { readonly now?: true }, command: Command) => {
      await inSession(command, RUN.name, async (session, output) => {
        await (now === true ? cancelRl : stopRl)(contextOf(session), name);
        output.result({ name, done: 'stopping' }, `${name}: stopping.`);
      });
    });
  rl.command('resize')
    .description('change how many groups are in flight')
    .argument('<name>')
    .requiredOption('--width <n>', 'groups in flight at once', Number)
    .action(async (name: string, { width }: { readonly width: number }, command: Command) => {
      await inSession(command, RUN.name, async (session, output) => {
        await resizeRl(contextOf(session), name, width);
        output.result({ name, width }, `${name}: ${width} groups in flight from now on.`);
      });
    });
  rl.command('staleness')
    .description('change how many versions may lie between sampling and training')
    .argument('<name>')
    .requiredOption('--max <n>', 'versions', Number)
    .action(async (name: string, { max }: { readonly max: number }, command: Command) => {
      await inSession(command, RUN.name, async (session, output) => {
        await setRlStaleness(contextOf(session), name, max);
        output.result({ name, max_staleness: max }, `${name}: at most ${max} versions from now on.`);
      });
    });
  rl.command('presets')
    .description('the settings that a file can begin with, each with every option that it can change')
    .action((_options: object, command: Command) => {
      const output = createOutput({ json: command.optsWithGlobals<GlobalOptions>().json === true });
      const names = Object.keys(RL_PRESETS) as RlPresetName[];
      const presets = names.map(
        (name) => [name, { description: RL_PRESETS[name].description, ...presetAsFile(name) }] as const,
      );
      const texts = presets.map(
        ([name, { description, agent, options }]) =>
          `# ${description}\npreset: ${name}\n${stringify({ agent, options }).trimEnd()}`,
      );
      output.result(Object.fromEntries(presets), texts.join('\n\n'));
    });
}

/** Reads a training file; what is wrong in it is said before anything is started. */
async function readFileOf(path: string): Promise<RlFile> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(
      error.code === 'ENOENT'
        ? `There is no training file ${path}.`
        : `Cannot read ${path}: ${error.message}`,
    );
  });
  return parseRlFile(text, path);
}

async function requestOf(session: Session, file: RlFile): Promise<RlStartRequest> {
  const rows = await readRows(
    { stateDir: session.state.dir, store: session.deps.store },
    file.dataset,
    file.instances,
  );
  const model = resolve(file.model);
  return {
    run: file.name,
    dataset: rows.path,
    rows: rows.rows.map((row) => ({ row, provenCanaries: rows.provenCanaries(row.instance_id) })),
    heldOut: file.held_out ?? 0,
    options: rlOptionsOf(file),
    servers: file.servers.map((address) => address.replace(/\/+$/, '')),
    trainer: file.trainer.replace(/\/+$/, ''),
    model,
    servedModel: file.served_model ?? model,
  };
}

async function run(path: string, _options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions>();
  const output = createOutput({ json: options.json === true });
  const file = await readFileOf(path);
  await withSession(
    options,
    output,
    async (session) => {
      const request = await requestOf(session, file);
      const summary = await runRl(session, request, output);
      output.result(summary, summaryText(summary));
      if (summary.state === 'stuck') process.exitCode = EXIT.failed;
    },
    { docker: true },
  );
}

/** Starts or takes up a training run and follows it to its end, with workers in this process. */
export const runRl = (session: Session, request: RlStartRequest, output: Output): Promise<RlSummary> =>
  withWorkers(session.startWorkers(['control', 'sandbox', 'llm', 'trainer']), output, (workers) =>
    playRl(session, workers, request, output),
  );

/** The same with workers that run already. */
export async function playRl(
  session: Session,
  workers: RunningWorkers,
  request: RlStartRequest,
  output: Output,
): Promise<RlSummary> {
  const context = contextOf(session);
  const started = await session.deps.leases.hold(() => startRl(context, request));
  output.say(startedLine(started));
  return follow({
    session,
    what: 'training run',
    output,
    view: createProgressView(rlLine),
    status: async () => {
      const known = await rlStatus(context, request.run);
      return known && { progress: known.progress && withCause(known.progress, known.heldUpBy) };
    },
    wait: (signal) => waitForRl(context, request.run, signal),
    workersEnded: workers.ended,
  });
}

/** What is tried again and again is told where the run itself has nothing to say. */
const withCause = (progress: RlProgress, [cause]: readonly string[]): RlProgress =>
  progress.note === '' && cause !== undefined ? { ...progress, note: `held up by ${cause}` } : progress;

function startedLine({
  run: name,
  how,
  prompts,
  heldOut,
  leftOut,
  otherwise,
  withoutCanaries,
}: StartedRl): string {
  const held = heldOut === 0 ? '' : `, ${heldOut} held out`;
  const out =
    leftOut.length === 0
      ? ''
      : ` ${leftOut.length} instances give no task, e.g. ${leftOut[0]?.instanceId}: ${leftOut[0]?.why}.`;
  const bare =
    withoutCanaries === 0
      ? ''
      : ` ${withoutCanaries} of them come without canaries (the evidence beside the dataset is not here): their rewards can be forged more easily.`;
  const other = otherwise
    ? ` It runs with other instances, addresses or numbers than the file names now: to use those, \`repoforge rl stop ${name} --now\` and start it again.`
    : '';
  return `Training run "${name}" on ${prompts} instances${held} ${how}.${out}${bare}${other}`;
}

function rlLine(progress: RlProgress): string {
  const last = progress.recent.at(-1);
  const { counts } = progress;
  const dropped = counts.noVariance + counts.infra + counts.overlong + counts.stale;
  const reward = last === undefined ? '' : `, reward ${last.reward.toFixed(3)}`;
  return `${progress.state}: step ${progress.step}/${progress.steps}${reward}, v${progress.version}, ${progress.runningGroups} groups run, ${progress.waitingGroups} wait, ${dropped} dropped${progress.note === '' ? '' : `; ${progress.note}`}`;
}

function summaryText({ run: name, state, note, step, counts, report }: RlSummary): string {
  return [
    `${name}: ${state} at step ${step}${note === '' ? '' : ` (${note})`}.`,
    `Groups: ${counts.trained} trained, ${counts.noVariance} without variance, ${counts.infra} by infrastructure, ${counts.overlong} overlong, ${counts.stale} stale. Verdicts: ${counts.executed} executed, ${counts.served} served.`,
    ...(report === null ? [] : [`Report: ${report}`]),
  ].join('\n');
}

async function start(path: string, _options: object, command: Command): Promise<void> {
  const file = await readFileOf(path);
  await inSession(command, RUN.name, async (session, output) => {
    const request = await requestOf(session, file);
    const started = await session.deps.leases.hold(() => startRl(contextOf(session), request));
    output.result(
      started,
      `${startedLine(started)} Workers do the work: \`repoforge worker\`. Watch: \`repoforge rl status ${started.run} --watch\`.`,
    );
  });
}

const WATCH_MS = 2_000;

async function status(name: string, _options: object, command: Command): Promise<void> {
  const { watch, json } = command.optsWithGlobals<GlobalOptions & { readonly watch?: boolean }>();
  if (watch === true && json === true)
    throw new UsageError('--watch shows a run again and again; --json prints it once: choose one of them.');
  await inSession(command, RUN.name, async (session, output) => {
    for (;;) {
      const known = await rlStatus(contextOf(session), name);
      if (known === null) throw new UsageError(`There is no training run "${name}" on this Temporal server.`);
      const log = await readRlLog(session.records, name, { last: STATUS_ENTRIES });
      const text =
        known.progress === null
          ? `${name}: ${known.status.toLowerCase()}; no worker answers; start one with \`repoforge worker\``
          : rlStatusText(known.progress, log);
      output.result(known, [text, ...known.heldUpBy.map((what) => `  held up by ${what}`)].join('\n'));
      if (watch !== true || known.status !== 'RUNNING') return;
      await new Promise((done) => setTimeout(done, WATCH_MS));
    }
  });
}

const contextOf = (session: Session): RlContext => ({ ...session, store: session.deps.store });

import { join } from 'node:path';
import { Option, type Command } from 'commander';
import {
  DEFAULT_BUDGET,
  rolloutsStatus,
  startRollouts,
  waitForRollouts,
  type RolloutsRequest,
  type StartedRollouts,
} from '../../client/rollouts.ts';
import { recordNames } from '../../domain/records.ts';
import type { AgentName } from '../../domain/rl/options.ts';
import type { RolloutsSummary } from '../../domain/rl/rollouts.ts';
import { listedModels } from '../../policy/listed.ts';
import { formatDuration } from '../../report/html.ts';
import type { Session } from '../../setup/session.ts';
import { openState } from '../../setup/state.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../store/fs.ts';
import { assertAddress } from '../address.ts';
import { settingsFrom, withSession, type GlobalOptions } from '../context.ts';
import { follow } from '../follow.ts';
import { createOutput, EXIT, table, UsageError, type Output } from '../output.ts';
import { createProgressView, rolloutsLine } from '../progress.ts';
import { readRows, type Rows } from '../rows.ts';
import { withWorkers } from '../signals.ts';
import { addRolloutSteering, contextOf } from './rolloutSteering.ts';

interface RunOptions extends GlobalOptions {
  readonly agent: AgentName;
  readonly model: string;
  readonly dataset: string;
  readonly attempts: number;
  readonly baseUrl?: readonly string[];
  readonly select?: string;
  readonly runId?: string;
  readonly instances?: readonly string[];
  readonly jobs?: number;
  readonly turns?: number;
  readonly tokens?: number;
  readonly answerTokens?: number;
  readonly minutes?: number;
  readonly temperature?: number;
  readonly seed?: number;
}

/** `rollout run|status|pause|resume|resize|stop`. */
export function addRolloutCommands(root: Command): void {
  const rollout = root.command('rollout').description('let a model work on instances, outside of training');
  rollout
    .command('run')
    .description(
      'play every instance k times and grade what comes of it; the same --run-id goes on where it was',
    )
    .addOption(
      new Option('-a, --agent <name>', 'who works on the instances')
        .choices(['coder', 'selector'])
        .makeOptionMandatory(),
    )
    .requiredOption('-m, --model <name>', 'name of the model at its server')
    .requiredOption('-d, --dataset <campaign|file>', 'a campaign of this installation, or a dataset.jsonl')
    .option('-k, --attempts <k>', 'attempts at each instance', Number, 1)
    .option(
      '--base-url <urls...>',
      'OpenAI-compatible servers of the model (default: $OPENAI_BASE_URL); the key is $OPENAI_API_KEY',
    )
    .option('--select <model>', 'model that chooses the best of k patches; without it the first is taken')
    .option('--run-id <id>', 'name of the run (default: made from dataset, agent and model)')
    .option('-i, --instances <ids...>', 'only these instances')
    .option('-j, --jobs <n>', 'rollouts in flight at once', Number)
    .option('--turns <n>', `turns of an episode (default: ${DEFAULT_BUDGET.maxTurns})`, Number)
    .option('--tokens <n>', `tokens of the longest request (default: ${DEFAULT_BUDGET.maxTokens})`, Number)
    .option(
      '--answer-tokens <n>',
      `tokens of one answer (default: ${DEFAULT_BUDGET.maxTokensPerTurn})`,
      Number,
    )
    .option(
      '--minutes <n>',
      `wall time of an episode (default: ${DEFAULT_BUDGET.maxWallMs / 60_000})`,
      Number,
    )
    .option('--temperature <t>', 'sampling temperature (default: 1)', Number)
    .option('--seed <n>', 'seed of what is drawn (default: 0)', Number)
    .action(run);
  addRolloutSteering(rollout);
}

async function run(_options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<RunOptions>();
  const output = createOutput({ json: options.json === true });
  checkNumbers(options);
  const startedMs = performance.now();
  const settings = settingsFrom(options);
  // all that the caller can get wrong is found before anything is started
  const { paths } = await openState(settings.stateDir);
  const store = createFsArtefactStore(paths.artefacts);
  const rows = await readRows({ stateDir: settings.stateDir, store }, options.dataset, options.instances);
  const request = requestOf(options, rows, settings.openaiBaseUrl);
  const known = await createFsRecordStore(paths.records).writtenAtMs(recordNames.rollouts(request.run));
  await askServers(request, { apiKey: settings.openaiApiKey?.reveal(), isKnown: known !== null, output });
  await withSession(
    options,
    output,
    async (session) => {
      const { started, summary } = await playRollouts(session, request, output);
      const result = resultOf(session, request, started, summary, performance.now() - startedMs);
      output.result(result, resultText(result));
      if (result.episodes > 0 && result.infra === result.episodes) process.exitCode = EXIT.failed;
    },
    { docker: true },
  );
}

/**
 * A server that does not answer is found now, not when an episode's time is over. A run that is taken up may wait for its
 * servers, or need none any more.
 */
async function askServers(
  { servers, model, selectModel = model }: RolloutsRequest,
  {
    apiKey,
    isKnown,
    output,
  }: { readonly apiKey: string | undefined; readonly isKnown: boolean; readonly output: Output },
): Promise<void> {
  for (const server of servers) {
    assertAddress('--base-url', server);
    const models = await listedModels(server, apiKey).catch((error: Error) => {
      if (!isKnown) throw new UsageError(`${error.message} Name the server of the model with --base-url.`);
      output.say(error.message);
      return null;
    });
    for (const name of new Set([model, selectModel]))
      if (models !== null && !models.includes(name))
        output.say(`${server} does not list the model "${name}"; it lists ${models.slice(0, 5).join(', ')}.`);
  }
}

const WHOLE = ['attempts', 'jobs', 'turns', 'tokens', 'answerTokens'] as const;

function checkNumbers(options: RunOptions): void {
  for (const name of WHOLE) {
    const value = options[name];
    if (value !== undefined && !(Number.isInteger(value) && value > 0))
      throw new UsageError(
        `--${name.replace('answerTokens', 'answer-tokens')} needs a whole number of at least 1.`,
      );
  }
  if (options.minutes !== undefined && !(options.minutes > 0))
    throw new UsageError('--minutes needs a number above 0.');
  if (options.temperature !== undefined && !(options.temperature >= 0))
    throw new UsageError('--temperature needs a number of at least 0.');
  if (options.seed !== undefined && !Number.isInteger(options.seed))
    throw new UsageError('--seed needs a whole number.');
  if (options.select !== undefined && options.agent === 'selector')
    throw new UsageError('--select chooses among patches that a coder wrote.');
}

function requestOf(options: RunOptions, rows: Rows, defaultUrl: string): RolloutsRequest {
  const { turns, tokens, answerTokens, minutes, temperature, seed, jobs, select } = options;
  const budget = {
    ...(turns === undefined ? {} : { maxTurns: turns }),
    ...(tokens === undefined ? {} : { maxTokens: tokens }),
    ...(answerTokens === undefined ? {} : { maxTokensPerTurn: answerTokens }),
    ...(minutes === undefined ? {} : { maxWallMs: Math.round(minutes * 60_000) }),
  };
  return {
    run: options.runId ?? defaultRunId(options),
    dataset: rows.path,
    rows: rows.rows.map((row) => ({ row, provenCanaries: rows.provenCanaries(row.instance_id) })),
    agent: options.agent,
    model: options.model,
    servers: options.baseUrl ?? [defaultUrl],
    attempts: options.attempts,
    budget,
    ...(select === undefined ? {} : { selectModel: select }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(seed === undefined ? {} : { seed }),
    ...(jobs === undefined ? {} : { width: jobs }),
  };
}

const defaultRunId = ({ dataset, agent, model, select }: RunOptions): string =>
  [dataset, agent, model, ...(select === undefined ? [] : ['by', select])]
    .join('.')
    .replace(/[^A-Za-z0-9._-]+/g, '_')
    .replace(/^[._-]+/, '')
    .slice(-100)
    .replace(/^[._-]+/, '');

/** Starts or takes up a run of rollouts and follows it to its end, with workers in this process. */
async function playRollouts(
  session: Session,
  request: RolloutsRequest,
  output: Output,
): Promise<{ readonly started: StartedRollouts; readonly summary: RolloutsSummary }> {
  return withWorkers(session.startWorkers(['control', 'sandbox', 'llm']), output, async (workers) => {
    const context = contextOf(session);
    const started = await session.deps.leases.hold(() => startRollouts(context, request));
    output.say(
      `Run "${started.run}" ${started.how}: ${request.agent} with ${request.model}, ${request.rows.length - started.leftOut.length} instances × ${request.attempts}.`,
    );
    for (const { instanceId, why } of started.leftOut) output.say(`${instanceId} is left out: ${why}.`);
    const summary = await follow({
      session,
      what: 'rollout run',
      output,
      view: createProgressView(rolloutsLine),
      status: () => rolloutsStatus(context, started.run),
      wait: (signal) => waitForRollouts(context, started.run, signal),
      workersEnded: workers.ended,
    });
    return { started, summary };
  });
}

/** What `rollout run --json` prints. */
interface RolloutRunResult {
  readonly run_id: string;
  readonly state: RolloutsSummary['state'];
  readonly agent: AgentName;
  readonly model: string;
  readonly instances: number;
  readonly attempts: number;
  readonly episodes: number;
  readonly resolved: number;
  /** Episodes that infrastructure ended: in no rate. */
  readonly infra: number;
  /** Why the last of those ended. */
  readonly failure: string | null;
  readonly executed: number;
  readonly served: number;
  readonly sampled_tokens: number;
  readonly pass_at_k: readonly { readonly k: number; readonly value: number; readonly instances: number }[];
  /** Of the one prediction of each instance in `preds`. */
  readonly chosen: { readonly by: string; readonly resolved: number; readonly instances: number };
  readonly preds: string;
  readonly predictions: string;
  readonly trajectories: string;
  readonly left_out: StartedRollouts['leftOut'];
  readonly wall_ms: number;
}

function resultOf(
  session: Session,
  request: RolloutsRequest,
  started: StartedRollouts,
  { run: runId, state, counts, report }: RolloutsSummary,
  wallMs: number,
): RolloutRunResult {
  const { agent, model, attempts, rows, selectModel } = request;
  const absolute = (path: string): string => join(session.state.dir, path);
  return {
    run_id: runId,
    state,
    agent,
    model,
    instances: rows.length - started.leftOut.length,
    attempts,
    episodes: counts.episodes,
    resolved: counts.resolved,
    infra: counts.infra,
    failure: counts.failure ?? null,
    executed: counts.executed,
    served: counts.served,
    sampled_tokens: counts.sampledTokens,
    pass_at_k: report.passAtK,
    chosen: { by: selectModel ?? 'first', ...report.chosen },
    preds: absolute(report.preds),
    predictions: absolute(report.predictions),
    trajectories: absolute(report.trajectories),
    left_out: started.leftOut,
    wall_ms: Math.round(wallMs),
  };
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function resultText(result: RolloutRunResult): string {
  const { chosen, infra } = result;
  const graded = result.episodes - infra;
  return [
    ...(result.failure === null
      ? []
      : [`The last failure of infrastructure: ${result.failure}. The same command plays these again.`]),
    `${result.run_id}: ${result.resolved}/${graded} episodes resolved (${result.executed} executed, ${result.served} served${infra === 0 ? '' : `; ${infra} not graded: infrastructure failed`}), ${result.sampled_tokens} tokens in ${formatDuration(result.wall_ms)}`,
    table(
      [
        ['', 'resolved', 'instances'],
        ...result.pass_at_k.map(({ k, value, instances }) => [`pass@${k}`, percent(value), instances]),
        [`chosen (${chosen.by})`, percent(chosen.resolved / Math.max(1, chosen.instances)), chosen.instances],
      ],
      '  ',
    ),
    `Predictions: ${result.preds}`,
    `All predictions: ${result.predictions}`,
    `Trajectories: ${result.trajectories}`,
  ].join('\n');
}

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import {
  evaluationStatus,
  startEvaluation,
  waitForEvaluation,
  type EvaluationEntry,
} from '../../client/evaluations.ts';
import { evalScript } from '../../export/evalScript.ts';
import { pythonRunner } from '../../export/pythonImages.ts';
import { regradeRun } from '../../evaluation/regrade.ts';
import { loadPredictions } from '../../evaluation/predictions.ts';
import type { EvaluationSummary } from '../../domain/messages.ts';
import type { Session } from '../../setup/session.ts';
import { openState } from '../../setup/state.ts';
import { createFsArtefactStore } from '../../store/fs.ts';
import { settingsFrom, withDependencies, withSession, type GlobalOptions } from '../context.ts';
import { follow } from '../follow.ts';
import { createOutput, UsageError, type Output } from '../output.ts';
import { createProgressView, evaluationLine } from '../progress.ts';
import { readRows, type Rows } from '../rows.ts';
import { withWorkers } from '../signals.ts';

interface EvaluateOptions extends GlobalOptions {
  readonly dataset: string;
  readonly gold?: boolean;
  readonly nop?: boolean;
  readonly predictions?: string;
  readonly runId?: string;
  readonly jobs?: number;
  readonly instances?: readonly string[];
  readonly ignoreUnknown?: boolean;
}

/** What `evaluate --json` prints. */
interface EvaluateResult {
  readonly run_id: string;
  readonly state: EvaluationSummary['state'];
  readonly total: number;
  readonly resolved: number;
  readonly executed: number;
  readonly not_run: number;
  readonly served: number;
  readonly infra: number;
  readonly verdicts: Readonly<Record<string, number>>;
  readonly resolved_ids: readonly string[];
  readonly reports: readonly string[];
  readonly ignored_ids: readonly string[];
  readonly wall_ms: number;
}

/** `evaluate`: gold, nop, or a file of predictions. */
export function addEvaluateCommands(root: Command): void {
  root
    .command('evaluate')
    .description('grade gold, nop or a file of predictions; the same --run-id goes on where it was')
    .requiredOption('-d, --dataset <campaign|file>', 'a campaign of this installation, or a dataset.jsonl')
    .option('--gold', 'the reference patches')
    .option('--nop', 'no patch at all')
    .option('-p, --predictions <file>', 'JSON list, JSON dict, JSONL or preds.json')
    .option('--run-id <id>', 'name of the run (default: made from what is evaluated)')
    .option('-j, --jobs <n>', 'containers at once on this host', Number)
    .option('-i, --instances <ids...>', 'only these instances')
    .option('--ignore-unknown', 'skip predictions for instances that the dataset does not have')
    .action(evaluate);
  root
    .command('regrade')
    .description('grade a finished run again from its saved logs, without a container')
    .argument('<run-id>')
    .action(regrade);
}

async function regrade(runId: string, _options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions>();
  const output = createOutput({ json: options.json === true });
  await withDependencies(options, output, async (deps) => {
    const report = await regradeRun({
      runId,
      store: deps.store,
      records: deps.records,
      runsDir: deps.state.paths.runs,
      evalScript: async (row) => evalScript(row, await pythonRunner(deps, row, '')),
    });
    const changed = report.changed.map(
      ({ instance_id: id, from, to }) => `  ${id}: ${from.verdict} → ${to.verdict}`,
    );
    output.result(
      report,
      [
        `${report.run_id}: ${report.regraded} graded again, ${report.kept} kept, ${report.changed.length} changed.`,
        ...changed,
        ...report.reports.summaries.map((path) => `Report: ${path}`),
      ].join('\n'),
    );
  });
}

async function evaluate(_options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<EvaluateOptions>();
  const output = createOutput({ json: options.json === true });
  const source = chosenSource(options);
  if (options.jobs !== undefined && !(Number.isInteger(options.jobs) && options.jobs > 0))
    throw new UsageError('-j needs a whole number of at least 1.');
  if (options.jobs !== undefined) process.env['REPOFORGE_SANDBOX_SLOTS'] = String(options.jobs);
  const startedMs = performance.now();
  const { stateDir } = settingsFrom(options);
  // all that the caller can get wrong is found before anything is started
  const store = createFsArtefactStore((await openState(stateDir)).paths.artefacts);
  const rows = await readRows({ stateDir, store }, options.dataset, options.instances);
  const { entries, ignored } = await entriesFor(rows, source, options.ignoreUnknown === true);
  await withSession(
    options,
    output,
    async (session) => {
      const runId = options.runId ?? defaultRunId(options.dataset, source);
      const summary = await runEvaluation(session, { runId, rows, entries }, output);
      const result = await resultOf(session, summary, ignored, performance.now() - startedMs);
      output.result(result, resultText(result));
    },
    { docker: true },
  );
}

function chosenSource(options: EvaluateOptions): string {
  const chosen = [
    options.gold === true ? 'gold' : null,
    options.nop === true ? 'nop' : null,
    options.predictions ?? null,
  ].filter((one) => one !== null);
  if (chosen.length !== 1 || chosen[0] === undefined)
    throw new UsageError('Say what to evaluate: exactly one of --gold, --nop and -p FILE.');
  return chosen[0];
}

const defaultRunId = (dataset: string, source: string): string =>
  `${dataset}.${source}`
    .replace(/[^A-Za-z0-9._-]+/g, '_')
    .replace(/^[._-]+/, '')
    .slice(-100);

async function entriesFor(
  rows: Rows,
  source: string,
  ignoreUnknown: boolean,
): Promise<{ readonly entries: readonly EvaluationEntry[]; readonly ignored: readonly string[] }> {
  const set = await loadPredictions({
    source,
    instanceIds: new Set(rows.rows.map((row) => row.instance_id)),
    ignoreUnknown,
  });
  if (set.kind !== 'file')
    return {
      entries: rows.rows.map((row) => ({
        instanceId: row.instance_id,
        modelNameOrPath: set.kind,
        patch: set.kind,
      })),
      ignored: [],
    };
  return {
    entries: set.predictions.map((prediction) => ({
      instanceId: prediction.instance_id,
      modelNameOrPath: prediction.model_name_or_path,
      patch: prediction.model_patch === null ? null : { text: prediction.model_patch },
    })),
    ignored: set.ignored,
  };
}

/** Starts or takes up an evaluation run and follows it to its end, with workers in this process. */
export async function runEvaluation(
  session: Session,
  what: { readonly runId: string; readonly rows: Rows; readonly entries: readonly EvaluationEntry[] },
  output: Output,
): Promise<EvaluationSummary> {
  return withWorkers(session.startWorkers(['control', 'sandbox']), output, async (workers) => {
    const context = { ...session, store: session.deps.store };
    const { runId, entries } = what;
    const rows = what.rows.rows.map((row) => ({
      row,
      provenCanaries: what.rows.provenCanaries(row.instance_id),
    }));
    const started = await session.deps.leases.hold(() =>
      startEvaluation(context, { runId, dataset: what.rows.path, rows, entries }),
    );
    output.say(`Evaluation "${runId}" of ${entries.length} predictions ${started.how}.`);
    const bare = rows.filter(({ provenCanaries }) => provenCanaries === null).length;
    if (bare > 0)
      output.say(
        `${bare} of ${rows.length} rows have no canaries (imported, or without their evidence.jsonl): a forged result would pass unnoticed there.`,
      );
    return await follow({
      session,
      what: 'evaluation',
      output,
      view: createProgressView(evaluationLine),
      status: () => evaluationStatus(session, what.runId),
      wait: (signal) => waitForEvaluation(session, what.runId, signal),
      workersEnded: workers.ended,
    });
  });
}

async function resultOf(
  session: Session,
  summary: EvaluationSummary,
  ignored: readonly string[],
  wallMs: number,
): Promise<EvaluateResult> {
  const own = summary.reports.find((path) => path.endsWith('repoforge.json'));
  const report =
    own === undefined
      ? null
      : (JSON.parse(await readFile(join(session.state.dir, own), 'utf8')) as {
          readonly verdicts?: Record<string, number>;
          readonly not_run?: number;
        });
  const summaries = await Promise.all(
    summary.reports
      .filter((path) => path.endsWith('.json') && path !== own)
      .map(
        async (path) =>
          JSON.parse(await readFile(join(session.state.dir, path), 'utf8')) as {
            readonly resolved_ids: readonly string[];
          },
      ),
  );
  return {
    run_id: summary.runId,
    state: summary.state,
    total: summary.total,
    resolved: summary.counts.resolved,
    executed: summary.counts.executed,
    served: summary.counts.served,
    not_run: report?.not_run ?? 0,
    infra: summary.counts.infra,
    verdicts: report?.verdicts ?? {},
    resolved_ids: summaries.flatMap(({ resolved_ids: ids }) => ids).toSorted(),
    reports: summary.reports.map((path) => join(session.state.dir, path)),
    ignored_ids: ignored,
    wall_ms: Math.round(wallMs),
  };
}

function resultText(result: EvaluateResult): string {
  const graded = result.total - result.infra;
  return [
    `${result.run_id}: ${result.resolved}/${graded} resolved (${result.executed} executed, ${result.served} served${result.not_run === 0 ? '' : `, ${result.not_run} with nothing to run`}${result.infra === 0 ? '' : `; ${result.infra} not graded: infrastructure failed`})`,
    `Verdicts: ${Object.entries(result.verdicts)
      .filter(([, count]) => count > 0)
      .map(([verdict, count]) => `${verdict} ${count}`)
      .join(', ')}`,
    ...(result.ignored_ids.length === 0
      ? []
      : [`Ignored, not in the dataset: ${result.ignored_ids.join(', ')}`]),
    ...result.reports.map((path) => `Report: ${path}`),
  ].join('\n');
}

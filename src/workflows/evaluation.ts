/**
 * Invariant: every prediction of the manifest is evaluated once per run id, through a window of activities; a result is a
 * record, so a run that starts again is served what is done. The workflow knows offsets and counts, nothing else. It
 * continues as new between pages, when nothing is in flight: an activity does not outlive its run.
 */
import {
  CancellationScope,
  TemporalFailure,
  allHandlersFinished,
  condition,
  continueAsNew,
  defineQuery,
  isCancellation,
  log,
  rootCause,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import { QUERIES, evaluationProblem } from '../domain/messages.ts';
import type {
  EvaluationCarried,
  EvaluationInput,
  EvaluationProgress,
  EvaluationSummary,
} from '../domain/messages.ts';
import type { EvaluationOrigin, VerdictName } from '../domain/verdicts.ts';
import { assemblyOn, sandboxOn } from './proxies.ts';
import { refuse, shownState, steerBy } from './steering.ts';
import type { Steered } from './steering.ts';

export const evaluationProgress = defineQuery<EvaluationProgress>(QUERIES.progress);

interface Evaluation extends Steered {
  readonly input: EvaluationInput;
  offset: number;
  running: number;
  counts: EvaluationCarried['counts'];
  /** First failure that is not infrastructure's; it ends the run. */
  bug: unknown;
}

export async function evaluation(input: EvaluationInput): Promise<EvaluationSummary> {
  refuse(evaluationProblem(input));
  const run = newEvaluation(input);
  setHandler(evaluationProgress, () => progressOf(run));
  steerBy(run, 'Every evaluation has ended and the reports are being written.');
  const pageEnd = Math.min(input.total, run.offset + input.pageSize);
  await evaluatePage(run, pageEnd);
  if (run.stopping === null && run.offset < input.total) {
    await condition(allHandlersFinished);
    await continueAsNew<typeof evaluation>({ ...input, carried: carriedOf(run) });
  }
  return finish(run);
}

/** Keeps the window full of activities until the page's predictions are through, or the run is stopped. */
async function evaluatePage(run: Evaluation, pageEnd: number): Promise<void> {
  const scope = new CancellationScope();
  // the server's suggestion ends a page early, so that a run of any width stays within its history
  const pageIsOver = (): boolean =>
    run.offset >= pageEnd || run.stopping !== null || workflowInfo().continueAsNewSuggested;
  while (!pageIsOver() || run.running > 0) {
    run.changed = false;
    if (!pageIsOver() && !run.paused)
      while (run.running < run.width && run.offset < pageEnd) start(run, scope, run.offset++);
    show(run);
    await condition(() => run.changed);
    if (run.bug !== undefined) throw run.bug;
    if (run.stopping === 'cancel') scope.cancel();
  }
}

function start(run: Evaluation, scope: CancellationScope, index: number): void {
  const { input } = run;
  run.running += 1;
  void scope
    .run(() =>
      sandboxOn(input.queuePrefix).evaluatePrediction({
        runId: input.runId,
        manifest: input.manifest,
        index,
      }),
    )
    .then((ended) => count(run, ended))
    .catch((error: unknown) => failed(run, index, error))
    .finally(() => {
      run.running -= 1;
      run.changed = true;
    });
}

function count(
  run: Evaluation,
  { origin, verdict }: { origin: EvaluationOrigin; verdict: VerdictName },
): void {
  const { counts } = run;
  run.counts = {
    done: counts.done + 1,
    executed: counts.executed + (origin === 'executed' ? 1 : 0),
    served: counts.served + (origin === 'served' ? 1 : 0),
    resolved: counts.resolved + (verdict === 'resolved' ? 1 : 0),
    infra: counts.infra + (verdict === 'infra' ? 1 : 0),
  };
}

/** Infrastructure that failed for good is a verdict of its own kind: excluded from every rate, and tried again next time. */
function failed(run: Evaluation, index: number, error: unknown): void {
  if (isCancellation(error)) return;
  if (!(error instanceof TemporalFailure)) {
    run.bug = error;
    return;
  }
  log.warn('an evaluation failed for good', { index, reason: rootCause(error) ?? error.message });
  run.counts = { ...run.counts, done: run.counts.done + 1, infra: run.counts.infra + 1 };
}

async function finish(run: Evaluation): Promise<EvaluationSummary> {
  const { input } = run;
  const finished = run.stopping === null;
  run.state = 'reporting';
  show(run);
  const { reports } = await assemblyOn(input.queuePrefix).writeEvaluationReports({
    runId: input.runId,
    manifest: input.manifest,
    counts: run.counts,
    finished,
  });
  run.state = finished ? 'done' : 'stopped';
  show(run);
  await condition(allHandlersFinished);
  return { runId: input.runId, state: run.state, total: input.total, counts: run.counts, reports };
}

function newEvaluation(input: EvaluationInput): Evaluation {
  const { carried } = input;
  return {
    input,
    offset: carried?.offset ?? 0,
    width: carried?.width ?? input.width,
    paused: carried?.paused ?? false,
    stopping: null,
    running: 0,
    state: 'running',
    counts: carried?.counts ?? { done: 0, executed: 0, served: 0, resolved: 0, infra: 0 },
    changed: false,
    bug: undefined,
  };
}

const carriedOf = ({ offset, width, paused, counts }: Evaluation): EvaluationCarried => ({
  offset,
  width,
  paused,
  counts,
});

const progressOf = (run: Evaluation): EvaluationProgress => ({
  runId: run.input.runId,
  total: run.input.total,
  running: run.running,
  state: shownState(run),
  ...carriedOf(run),
});

function show(run: Evaluation): void {
  const { counts } = run;
  setCurrentDetails(
    [
      `**${shownState(run)}**, ${counts.done} of ${run.input.total} done, window ${run.running} of ${run.width}`,
      '',
      '| executed | served | resolved | infra |',
      '| ---: | ---: | ---: | ---: |',
      `| ${counts.executed} | ${counts.served} | ${counts.resolved} | ${counts.infra} |`,
    ].join('\n'),
  );
}

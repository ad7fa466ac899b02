/**
 * Invariant: every prediction of the manifest is evaluated once per run id, through a window of activities; a result is a
 * record, so a run that starts again is served what is done. The workflow knows offsets and counts, nothing else. It
 * continues as new between pages, when nothing is in flight: an activity does not outlive its run.
 */
import {
  ApplicationFailure,
  CancellationScope,
  TemporalFailure,
  allHandlersFinished,
  condition,
  continueAsNew,
  defineQuery,
  defineUpdate,
  isCancellation,
  log,
  rootCause,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import { FAILURE_TYPES } from '../domain/failures.ts';
import { QUERIES, UPDATES, evaluationProblem, stopProblem, widthProblem } from '../domain/messages.ts';
import type {
  EvaluationCarried,
  EvaluationInput,
  EvaluationProgress,
  EvaluationSummary,
  ResizeRequest,
  StopMode,
  StopRequest,
} from '../domain/messages.ts';
import type { EvaluationOrigin, VerdictName } from '../domain/verdicts.ts';
import { assemblyOn, sandboxOn } from './proxies.ts';

export const evaluationProgress = defineQuery<EvaluationProgress>(QUERIES.progress);
const pause = defineUpdate<void>(UPDATES.pause);
const resume = defineUpdate<void>(UPDATES.resume);
const resize = defineUpdate<void, [ResizeRequest]>(UPDATES.resize);
const stop = defineUpdate<void, [StopRequest]>(UPDATES.stop);

interface Evaluation {
  readonly input: EvaluationInput;
  offset: number;
  width: number;
  paused: boolean;
  stopping: StopMode | null;
  running: number;
  state: EvaluationProgress['state'];
  counts: EvaluationCarried['counts'];
  changed: boolean;
  /** First failure that is not infrastructure's; it ends the run. */
  bug: unknown;
}

export async function evaluation(input: EvaluationInput): Promise<EvaluationSummary> {
  const problem = evaluationProblem(input);
  if (problem !== undefined) throw ApplicationFailure.nonRetryable(problem, FAILURE_TYPES.badInput);
  const run = newEvaluation(input);
  handleMessages(run);
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

const stateOf = (run: Evaluation): EvaluationProgress['state'] => {
  if (run.state !== 'running') return run.state;
  if (run.stopping !== null) return 'stopping';
  return run.paused ? 'paused' : 'running';
};

const progressOf = (run: Evaluation): EvaluationProgress => ({
  runId: run.input.runId,
  total: run.input.total,
  running: run.running,
  state: stateOf(run),
  ...carriedOf(run),
});

function show(run: Evaluation): void {
  const { counts } = run;
  setCurrentDetails(
    [
      `**${stateOf(run)}**, ${counts.done} of ${run.input.total} done, window ${run.running} of ${run.width}`,
      '',
      '| executed | served | resolved | infra |',
      '| ---: | ---: | ---: | ---: |',
      `| ${counts.executed} | ${counts.served} | ${counts.resolved} | ${counts.infra} |`,
    ].join('\n'),
  );
}

function handleMessages(run: Evaluation): void {
  setHandler(evaluationProgress, () => progressOf(run));
  const change = (apply: () => void): void => {
    apply();
    run.changed = true;
  };
  const notLate = { validator: () => refuse(lateProblem(run)) };
  setHandler(pause, () => change(() => (run.paused = true)), notLate);
  setHandler(resume, () => change(() => (run.paused = false)), notLate);
  setHandler(resize, ({ width }) => change(() => (run.width = width)), {
    validator: (request) => refuse(lateProblem(run) ?? widthProblem(request.width)),
  });
  setHandler(stop, ({ running }) => change(() => (run.stopping = running)), {
    validator: (request) => refuse(lateProblem(run) ?? stopProblem(request)),
  });
}

const lateProblem = (run: Evaluation): string | undefined =>
  run.state === 'running' ? undefined : 'Every evaluation has ended and the reports are being written.';

function refuse(problem: string | undefined): void {
  if (problem !== undefined) throw ApplicationFailure.nonRetryable(problem, FAILURE_TYPES.badInput);
}

/**
 * Invariant: every rollout of the manifest is played once per run name, through a window of children; its outcome is a
 * record, so a run that starts again plays only what is missing. First all attempts, then, where a model chooses, one
 * choice for each instance. The workflow knows offsets and counts, and continues as new between pages, when nothing is in
 * flight: a child does not outlive its parent's run, since nobody else would cancel it.
 */
import {
  CancellationScope,
  ParentClosePolicy,
  TemporalFailure,
  allHandlersFinished,
  condition,
  continueAsNew,
  defineQuery,
  executeChild,
  isCancellation,
  log,
  rootCause,
  setCurrentDetails,
  setHandler,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { cutText } from '../domain/failures.ts';
import { workflowIds } from '../domain/ids.ts';
import { QUERIES, WORKFLOWS, scopedWorkflowId, taskQueue } from '../domain/messages.ts';
import type { RolloutInput } from '../domain/rl/messages.ts';
import { rolloutsProblem } from '../domain/rl/rollouts.ts';
import type {
  RolloutsCarried,
  RolloutsInput,
  RolloutsPhase,
  RolloutsProgress,
  RolloutsSummary,
} from '../domain/rl/rollouts.ts';
import type { RolloutOutcome } from '../domain/rl/trajectory.ts';
import type { RolloutUnit } from '../activities/rolloutsTypes.ts';
import { rolloutsControlOn, rolloutsReportOn } from './proxies.ts';
import type { rollout } from './rollout.ts';
import { refuse, shownState, steerBy } from './steering.ts';
import type { Steered } from './steering.ts';

export const rolloutsProgress = defineQuery<RolloutsProgress>(QUERIES.progress);

/** A rollout of an earlier start of this run ends within a minute of being told to. */
const SAME_ID_TRIES = 60;
const SAME_ID_WAIT_MS = 2_000;

interface Run extends Steered {
  readonly input: RolloutsInput;
  phase: RolloutsPhase;
  offset: number;
  running: number;
  counts: RolloutsCarried['counts'];
  /** First failure that is not infrastructure's; it ends the run. */
  bug: unknown;
}

export async function rollouts(input: RolloutsInput): Promise<RolloutsSummary> {
  refuse(rolloutsProblem(input));
  const run = newRun(input);
  setHandler(rolloutsProgress, () => progressOf(run));
  steerBy(run, 'Every rollout has ended and the report is being written.');
  await playPage(run);
  if (run.stopping === null && !phaseIsOver(run)) await goOn(run, {});
  if (run.stopping === null && run.phase === 'play' && input.totals.select > 0)
    await goOn(run, { phase: 'select', offset: 0 });
  return finish(run);
}

async function goOn(run: Run, change: Partial<RolloutsCarried>): Promise<never> {
  await condition(allHandlersFinished);
  return continueAsNew<typeof rollouts>({ ...run.input, carried: { ...carriedOf(run), ...change } });
}

const phaseIsOver = (run: Run): boolean => run.offset >= run.input.totals[run.phase];

/** Keeps the window full of children until the page's rollouts are through, or the run is stopped. */
async function playPage(run: Run): Promise<void> {
  const units = await readPage(run);
  const scope = new CancellationScope();
  let taken = 0;
  const pageIsOver = (): boolean =>
    taken >= units.length || run.stopping !== null || workflowInfo().continueAsNewSuggested;
  while (!pageIsOver() || run.running > 0) {
    run.changed = false;
    while (!pageIsOver() && !run.paused && run.running < run.width) {
      const unit = units[taken];
      taken += 1;
      run.offset += 1;
      if (unit !== undefined) take(run, scope, unit);
    }
    show(run);
    if (pageIsOver() && run.running === 0) break;
    await condition(() => run.changed);
    if (run.bug !== undefined) throw run.bug;
    if (run.stopping === 'cancel') scope.cancel();
  }
}

async function readPage(run: Run): Promise<readonly RolloutUnit[]> {
  const { queuePrefix, manifest, servers, totals, pageSize } = run.input;
  const count = Math.min(pageSize, totals[run.phase] - run.offset);
  if (count <= 0) return [];
  return rolloutsControlOn(queuePrefix).readRollouts({
    queuePrefix,
    manifest,
    servers,
    phase: run.phase,
    offset: run.offset,
    count,
  });
}

/** Counts what is recorded; plays what is not. */
function take(run: Run, scope: CancellationScope, { input, settled }: RolloutUnit): void {
  if (settled !== null || input === null) {
    settle(run, settled);
    return;
  }
  run.running += 1;
  void scope
    .run(async () => play(input))
    .then((outcome) => settle(run, outcome))
    .catch((error: unknown) => failed(run, input, error))
    .finally(() => {
      run.running -= 1;
      run.changed = true;
    });
}

async function play(input: RolloutInput): Promise<RolloutOutcome> {
  const { run, group, members, queuePrefix, instanceId } = input;
  const member = members.length === 1 ? (members[0] ?? null) : null;
  for (let tried = 1; ; tried += 1) {
    try {
      return await executeChild<typeof rollout>(WORKFLOWS.rollout, {
        workflowId: scopedWorkflowId(queuePrefix, workflowIds.rollout(run, group, member)),
        taskQueue: taskQueue(queuePrefix, 'control'),
        args: [input],
        parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
        staticSummary: `${instanceId} ${group}${member === null ? '' : `/${member}`}`,
      });
    } catch (error) {
      const running = error instanceof WorkflowExecutionAlreadyStartedError;
      if (!running || tried === SAME_ID_TRIES) throw error;
      await sleep(SAME_ID_WAIT_MS);
    }
  }
}

function settle(run: Run, outcome: RolloutOutcome | null): void {
  const { counts } = run;
  const episodes = run.phase === 'play' ? (outcome?.episodes ?? []) : []; // a choice is no attempt
  const tokens = (outcome?.episodes ?? []).reduce((sum, { sampledTokens }) => sum + sampledTokens, 0);
  run.counts = {
    done: counts.done + 1,
    episodes: counts.episodes + episodes.length,
    resolved: counts.resolved + episodes.filter(({ verdict }) => verdict === 'resolved').length,
    infra: counts.infra + episodes.filter(({ reward }) => reward === null).length,
    executed: counts.executed + (outcome?.executed ?? 0),
    served: counts.served + (outcome?.served ?? 0),
    sampledTokens: counts.sampledTokens + tokens,
    ...failureOf(outcome?.failure ?? counts.failure),
  };
}

const failureOf = (failure: string | undefined): Pick<RolloutsCarried['counts'], 'failure'> =>
  failure === undefined ? {} : { failure };

/** Infrastructure that failed for good is in no rate, and is tried again when the run is started again. */
function failed(run: Run, input: RolloutInput, error: unknown): void {
  if (isCancellation(error)) return;
  if (!(error instanceof TemporalFailure) && !(error instanceof WorkflowExecutionAlreadyStartedError)) {
    run.bug = error;
    return;
  }
  const failure = cutText(rootCause(error) ?? error.message, 500);
  log.warn('a rollout failed for good', { group: input.group, reason: failure });
  const members = run.phase === 'play' ? input.members.length : 0;
  run.counts = { ...run.counts, done: run.counts.done + 1, infra: run.counts.infra + members, failure };
}

async function finish(run: Run): Promise<RolloutsSummary> {
  const { input } = run;
  const finished = run.stopping === null;
  run.state = 'reporting';
  show(run);
  const report = await rolloutsReportOn(input.queuePrefix).writeRollouts({ manifest: input.manifest });
  run.state = finished ? 'done' : 'stopped';
  show(run);
  await condition(allHandlersFinished);
  return { run: input.run, state: run.state, counts: run.counts, report };
}

function newRun(input: RolloutsInput): Run {
  const { carried } = input;
  return {
    input,
    phase: carried?.phase ?? 'play',
    offset: carried?.offset ?? 0,
    width: carried?.width ?? input.width,
    paused: carried?.paused ?? false,
    stopping: null,
    running: 0,
    state: 'running',
    counts: carried?.counts ?? {
      done: 0,
      episodes: 0,
      resolved: 0,
      infra: 0,
      executed: 0,
      served: 0,
      sampledTokens: 0,
    },
    changed: false,
    bug: undefined,
  };
}

const carriedOf = ({ phase, offset, width, paused, counts }: Run): RolloutsCarried => ({
  phase,
  offset,
  width,
  paused,
  counts,
});

const totalOf = ({ totals }: RolloutsInput): number => totals.play + totals.select;

const progressOf = (run: Run): RolloutsProgress => ({
  run: run.input.run,
  total: totalOf(run.input),
  running: run.running,
  state: shownState(run),
  ...carriedOf(run),
});

function show(run: Run): void {
  const { counts, input } = run;
  setCurrentDetails(
    [
      `**${shownState(run)}** (${run.phase}), ${counts.done} of ${totalOf(input)} rollouts done, window ${run.running} of ${run.width}`,
      '',
      '| episodes | resolved | infra | executed | served | tokens |',
      '| ---: | ---: | ---: | ---: | ---: | ---: |',
      `| ${counts.episodes} | ${counts.resolved} | ${counts.infra} | ${counts.executed} | ${counts.served} | ${counts.sampledTokens} |`,
    ].join('\n'),
  );
}

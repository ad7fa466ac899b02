/** Steering that windows of work share: pause, resume, resize and stop by Update, the state that they show, and refusals. */
import { ApplicationFailure, defineUpdate, setHandler } from '@temporalio/workflow';
import { FAILURE_TYPES } from '../domain/failures.ts';
import { UPDATES, stopProblem, widthProblem } from '../domain/messages.ts';
import type { ResizeRequest, StopMode, StopRequest } from '../domain/messages.ts';

const pause = defineUpdate<void>(UPDATES.pause);
const resume = defineUpdate<void>(UPDATES.resume);
const resize = defineUpdate<void, [ResizeRequest]>(UPDATES.resize);
const stop = defineUpdate<void, [StopRequest]>(UPDATES.stop);

/** What Updates change of a run that keeps a window full; its loop looks when `changed` is set. */
export interface Steered {
  width: number;
  paused: boolean;
  stopping: StopMode | null;
  state: 'running' | 'reporting' | 'done' | 'stopped';
  changed: boolean;
}

/** Takes Updates until the run's last work has ended; then they are refused with `late`. */
export function steerBy(run: Steered, late: string): void {
  const lateProblem = (): string | undefined => (run.state === 'running' ? undefined : late);
  const change = (apply: () => void): void => {
    apply();
    run.changed = true;
  };
  const notLate = { validator: () => refuse(lateProblem()) };
  setHandler(pause, () => change(() => (run.paused = true)), notLate);
  setHandler(resume, () => change(() => (run.paused = false)), notLate);
  setHandler(resize, ({ width }) => change(() => (run.width = width)), {
    validator: (request) => refuse(lateProblem() ?? widthProblem(request.width)),
  });
  setHandler(stop, ({ running }) => change(() => (run.stopping = running)), {
    validator: (request) => refuse(lateProblem() ?? stopProblem(request)),
  });
}

/** The state as it is shown. */
export function shownState({ state, stopping, paused }: Steered): Steered['state'] | 'stopping' | 'paused' {
  if (state !== 'running') return state;
  if (stopping !== null) return 'stopping';
  return paused ? 'paused' : 'running';
}

/** Refuses an input or an Update that has a problem. */
export function refuse(problem: string | undefined): void {
  if (problem !== undefined) throw ApplicationFailure.nonRetryable(problem, FAILURE_TYPES.badInput);
}

/** The state of an rl workflow between its awaits, and what is carried, told and shown of it. */
import type { RlRequest } from '../activities/rlTypes.ts';
import type { LoopState } from '../domain/rl/admission.ts';
import { NO_RL_COUNTS, RECENT_STEPS } from '../domain/rl/messages.ts';
import type {
  GroupState,
  HeldOutScore,
  PublishedVersion,
  RlCarried,
  RlCounts,
  RlInput,
  RlProgress,
  RlState,
  RlStep,
} from '../domain/rl/messages.ts';
import type { RlPrompt } from '../domain/rl/options.ts';
import type { StepTimeline } from '../domain/rl/timeline.ts';

export interface RlRun {
  readonly input: RlInput;
  /** Steps committed by the trainer: the version that the next one trains on. */
  step: number;
  /** Versions that servers hold, oldest first. */
  versions: PublishedVersion[];
  unloaded: PublishedVersion[];
  readonly groups: Map<string, GroupState>;
  counts: RlCounts;
  recent: RlStep[];
  heldOut: HeldOutScore[];
  width: number;
  maxStaleness: number;
  paused: boolean;
  state: RlState;
  note: string;
  /** Set once: no new groups, no new steps. */
  ending: 'done' | 'stopped' | 'stuck' | 'continue' | null;
  /** First failure of a loop; it ends both. */
  failure: unknown;
  /** Steps taken by this run of the workflow. */
  stepsHere: number;
  /** Deploying and recording: one after the other, beside training. */
  beside: Promise<void>;
  readonly prompts: Map<number, RlPrompt>;
  servers: readonly string[];
  /** What happened since the last recorded step. */
  timeline: StepTimeline;
  /** Since when somebody has paused the run; null while it goes on. */
  haltedMs: number | null;
}

export function newRun(input: RlInput): RlRun {
  const { carried, options } = input;
  return {
    input,
    step: carried?.step ?? 0,
    versions: [...(carried?.versions ?? [])],
    unloaded: [...(carried?.unloaded ?? [])],
    groups: new Map((carried?.groups ?? []).map((group) => [group.id, group])),
    counts: carried?.counts ?? NO_RL_COUNTS,
    recent: [...(carried?.recent ?? [])],
    heldOut: [...(carried?.heldOut ?? [])],
    width: carried?.width ?? options.width,
    maxStaleness: carried?.maxStaleness ?? options.maxStaleness,
    paused: carried?.paused ?? false,
    state: 'starting',
    note: '',
    ending: null,
    failure: undefined,
    stepsHere: 0,
    beside: Promise.resolve(),
    prompts: new Map(),
    servers: [],
    // time in which there was no run is nobody's
    timeline: carried?.timeline ?? emptyTimeline(Date.now()),
    haltedMs: carried?.paused === true ? Date.now() : null,
  };
}

export const emptyTimeline = (sinceMs: number): StepTimeline => ({
  sinceMs,
  groups: [],
  train: [],
  publish: [],
  pausedServers: [],
  halted: [],
});

/** Adds to what happened since the last recorded step. */
export function note(run: RlRun, happened: Partial<StepTimeline>): void {
  const { timeline } = run;
  run.timeline = {
    ...timeline,
    groups: [...timeline.groups, ...(happened.groups ?? [])],
    train: [...timeline.train, ...(happened.train ?? [])],
    publish: [...timeline.publish, ...(happened.publish ?? [])],
    pausedServers: [...timeline.pausedServers, ...(happened.pausedServers ?? [])],
    halted: [...(timeline.halted ?? []), ...(happened.halted ?? [])],
    ...(happened.parityMax === undefined
      ? {}
      : { parityMax: Math.max(timeline.parityMax ?? 0, happened.parityMax) }),
  };
}

/** Takes what happened for the log of a step, with the groups that are still there. */
export function takeTimeline(run: RlRun): StepTimeline {
  const nowMs = Date.now();
  noteHalt(run, run.haltedMs === null ? null : nowMs);
  const open = [...run.groups.values()].map(({ id, dispatchedMs, endedMs }) => ({
    id,
    dispatchedMs,
    endedMs,
  }));
  const taken = { ...run.timeline, open };
  run.timeline = emptyTimeline(nowMs);
  return taken;
}

/** Ends the stretch in which the run was paused, if there is one, and begins another where `sinceMs` says so. */
export function noteHalt(run: RlRun, sinceMs: number | null): void {
  if (run.haltedMs !== null) note(run, { halted: [{ startedMs: run.haltedMs, endedMs: Date.now() }] });
  run.haltedMs = sinceMs;
}

export const requestOf = ({ input }: RlRun): RlRequest => ({
  run: input.run,
  manifest: input.manifest,
  options: input.options,
});

export const deployedOf = (run: RlRun): PublishedVersion => {
  const newest = run.versions.at(-1);
  if (newest === undefined) throw new Error('no version is deployed yet');
  return newest;
};

export const loopState = (run: RlRun): LoopState => ({
  options: run.input.options,
  width: run.width,
  maxStaleness: run.maxStaleness,
  step: run.step,
  deployed: run.versions.at(-1)?.version ?? 0,
  groups: [...run.groups.values()],
  counts: run.counts,
});

export function carriedOf(run: RlRun): RlCarried {
  const { step, versions, unloaded, counts, recent, heldOut, width, maxStaleness, paused } = run;
  noteHalt(run, run.haltedMs === null ? null : Date.now());
  const { timeline } = run;
  const groups = [...run.groups.values()];
  return { step, versions, unloaded, groups, counts, recent, heldOut, width, maxStaleness, paused, timeline };
}

export function progressOf(run: RlRun): RlProgress {
  const groups = [...run.groups.values()];
  return {
    run: run.input.run,
    state: run.paused && run.state === 'running' ? 'paused' : run.state,
    note: run.note,
    step: run.step,
    steps: run.input.options.steps,
    version: run.versions.at(-1)?.version ?? 0,
    width: run.width,
    maxStaleness: run.maxStaleness,
    paused: run.paused,
    runningGroups: groups.filter(({ endedMs }) => endedMs === null).length,
    waitingGroups: groups.filter(({ endedMs }) => endedMs !== null).length,
    counts: run.counts,
    recent: run.recent,
  };
}

export function count(run: RlRun, change: Partial<RlCounts>): void {
  run.counts = { ...run.counts, ...change };
}

export function addStep(run: RlRun, step: RlStep): void {
  run.recent = [...run.recent, step].slice(-RECENT_STEPS);
}

export const fail = (run: RlRun, error: unknown): void => {
  run.failure ??= error;
};

/** Whether both loops shall end. */
export const isOver = (run: RlRun): boolean => run.ending !== null || run.failure !== undefined;

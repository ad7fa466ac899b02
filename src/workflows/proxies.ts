import { ActivityCancellationType, proxyActivities } from '@temporalio/workflow';
import type { ActivityOptions } from '@temporalio/workflow';
import type {
  ControlActivities,
  LlmActivities,
  MiningActivities,
  SandboxActivities,
} from '../activities/types.ts';
import type {
  RlControlActivities,
  RolloutHostActivities,
  RolloutLlmActivities,
  RolloutSandboxActivities,
  TrainerActivities,
} from '../activities/rlTypes.ts';
import type { RolloutsControlActivities } from '../activities/rolloutsTypes.ts';
import { taskQueue } from '../domain/messages.ts';
import type { QueueRole } from '../domain/messages.ts';

/**
 * Every proxy of every workflow, named for how it differs. Infrastructure failures are retried with patience: a daemon
 * that restarts, or a server gone for a minute, must cost nothing but the wait.
 */
const patient = {
  initialInterval: 1_000, // most faults of a daemon are over in a second
  backoffCoefficient: 2,
  maximumInterval: 30_000, // when the other side is back, nobody waits longer than that
} as const;

const watched = {
  // beats come by timer every 4 s: a killed worker is noticed in a quarter of a minute, on every queue
  heartbeatTimeout: 15_000,
  // the default TRY_CANCEL lets the workflow go on while the container still runs
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
} as const;

const inSandbox: Omit<ActivityOptions, 'taskQueue'> = {
  ...watched,
  startToCloseTimeout: '45 minutes', // the longest test limit, an install from sources and a boot, with room
  scheduleToCloseTimeout: '24 hours', // includes the wait for a slot behind a full window
  retry: patient,
};

const light: Omit<ActivityOptions, 'taskQueue'> = {
  ...watched,
  startToCloseTimeout: '5 minutes', // parses the JUnit results of a large suite
  scheduleToCloseTimeout: '24 hours',
  retry: patient,
};

const on = (role: QueueRole, prefix: string): { readonly taskQueue: string } => ({
  taskQueue: taskQueue(prefix, role),
});

/** Mining: a page may wait for an index's or an API's rate limit. */
export const miningOn = (prefix: string): MiningActivities =>
  proxyActivities<MiningActivities>({
    ...on('mining', prefix),
    ...watched,
    startToCloseTimeout: '30 minutes', // the first page of a source downloads its whole history
    scheduleToCloseTimeout: '24 hours',
    retry: patient,
  });

/** Containers, patient: a result of a retried run is as good as that of a first one. */
export const sandboxOn = (
  prefix: string,
): Pick<
  SandboxActivities,
  'resolveEnvironment' | 'realiseEnvironment' | 'checkLeaks' | 'evaluatePrediction'
> => proxyActivities<SandboxActivities>({ ...on('sandbox', prefix), ...inSandbox });

/** Runs of tests, with a summary of its own for each call, so that the UI reads `before-2` and not seven times `runTests`. */
export const runOn = (prefix: string, summary: string): Pick<SandboxActivities, 'runTests'> =>
  proxyActivities<SandboxActivities>({ ...on('sandbox', prefix), ...inSandbox, summary });

/** Decisions and book-keeping beside the workflows. */
export const controlOn = (prefix: string): ControlActivities =>
  proxyActivities<ControlActivities>({ ...on('control', prefix), ...light });

/** Assembly reads every record of a campaign: minutes, with a heartbeat. */
export const assemblyOn = (
  prefix: string,
): Pick<ControlActivities, 'assembleCampaign' | 'writeEvaluationReports'> =>
  proxyActivities<ControlActivities>({
    ...on('control', prefix),
    ...light,
    startToCloseTimeout: '1 hour',
  });

/** Labels: one request of three votes; a rate limit names its own next try. */
export const llmOn = (prefix: string): LlmActivities =>
  proxyActivities<LlmActivities>({
    ...on('llm', prefix),
    ...watched,
    startToCloseTimeout: '10 minutes', // a slow local model answers three long votes
    scheduleToCloseTimeout: '24 hours',
    retry: patient,
  });

/** The trainer and the servers that follow it: a step of a large model takes an hour, and what was killed is sent again. */
export const trainerOn = (prefix: string): TrainerActivities =>
  proxyActivities<TrainerActivities>({
    ...on('trainer', prefix),
    ...watched,
    startToCloseTimeout: '6 hours',
    scheduleToCloseTimeout: '7 days', // a run outlives a weekend without its trainer
    retry: patient,
  });

export const rlControlOn = (prefix: string): Omit<RlControlActivities, 'writeRlReport'> =>
  proxyActivities<RlControlActivities>({ ...on('control', prefix), ...light });

export const rlReportOn = (prefix: string): Pick<RlControlActivities, 'writeRlReport'> =>
  proxyActivities<RlControlActivities>({ ...on('control', prefix), ...light, startToCloseTimeout: '1 hour' });

/** One request to a policy: a long answer of a slow model, and the wait for its server. */
export const sampleOn = (prefix: string, summary: string): RolloutLlmActivities =>
  proxyActivities<RolloutLlmActivities>({
    ...on('llm', prefix),
    ...watched,
    summary,
    startToCloseTimeout: '1 hour',
    scheduleToCloseTimeout: '24 hours',
    retry: patient,
  });

/** An episode's workspace, and the grading of what was made in it. */
export const episodeOn = (prefix: string, summary: string): RolloutSandboxActivities =>
  proxyActivities<RolloutSandboxActivities>({ ...on('sandbox', prefix), ...inSandbox, summary });

/** Where an episode's container is. One attempt: what an act that got lost has done is not known, so nothing is done twice. */
export const hostOn = (prefix: string, host: string, summary: string): RolloutHostActivities =>
  proxyActivities<RolloutHostActivities>({
    taskQueue: taskQueue(prefix, 'sandbox', host),
    ...watched,
    summary,
    // a host has a slot for each of its episodes: a task that nobody takes means that the host is gone
    scheduleToStartTimeout: '1 minute',
    startToCloseTimeout: '30 minutes',
    retry: { maximumAttempts: 1 },
  });

/** Pages of a run of rollouts. */
export const rolloutsControlOn = (prefix: string): Pick<RolloutsControlActivities, 'readRollouts'> =>
  proxyActivities<RolloutsControlActivities>({ ...on('control', prefix), ...light });

/** Reads every outcome of a run. */
export const rolloutsReportOn = (prefix: string): Pick<RolloutsControlActivities, 'writeRollouts'> =>
  proxyActivities<RolloutsControlActivities>({
    ...on('control', prefix),
    ...light,
    startToCloseTimeout: '1 hour',
  });

/** The janitor's: nothing waits for them, so a day of patience would only pile up. */
const hasty: Omit<ActivityOptions, 'taskQueue'> = {
  ...watched,
  startToCloseTimeout: '45 minutes', // as long as any run of tests
  scheduleToCloseTimeout: '2 hours',
  retry: patient,
};

export const janitorSandboxOn = (prefix: string): Pick<SandboxActivities, 'sweepLeft' | 'recheckGold'> =>
  proxyActivities<SandboxActivities>({ ...on('sandbox', prefix), ...hasty });

export const janitorControlOn = (prefix: string): Pick<ControlActivities, 'samplePublished'> =>
  proxyActivities<ControlActivities>({ ...on('control', prefix), ...hasty });

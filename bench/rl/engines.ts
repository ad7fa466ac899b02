/**
 * Engines for the rl workflow that take time and compute nothing: policy servers with slots and a token rate, sandboxes with
 * heavy-tailed tools, a trainer with a fixed step. All draws come from a seed. The workflows, queues and Temporal are real.
 */
import { setTimeout as timer } from 'node:timers/promises';
import type {
  RlControlActivities,
  RolloutHostActivities,
  RolloutLlmActivities,
  RolloutSandboxActivities,
  StepTimeline,
  TrainerActivities,
} from '../../src/activities/rlTypes.ts';
import { drawsOf } from '../../src/domain/draws.ts';
import { oldestOf } from '../../src/domain/rl/admission.ts';
import type { GroupState, RlStep, RolloutInput } from '../../src/domain/rl/messages.ts';
import { spread } from '../../src/domain/rl/samples.ts';
import type { EpisodeOutcome, RolloutOutcome } from '../../src/domain/rl/trajectory.ts';
import type { ArtefactRef } from '../../src/domain/types.ts';
import { processHost } from '../../src/workers/options.ts';
import { createSlots } from './slots.ts';

export interface EnginePlan {
  readonly seed: number;
  /** Requests that the policy server works on at once. */
  readonly slots: number;
  /** Time of one answer in its slot. */
  readonly answerMs: number;
  /** Median and shape of a tool call's time: log-normal. */
  readonly toolMs: number;
  readonly sigma: number;
  readonly turns: { readonly min: number; readonly max: number };
  /** Share of groups whose rewards are all equal. */
  readonly filtered: number;
  readonly trainMs: number;
  /** Loading a version on the servers. */
  readonly loadMs: number;
  /** Groups that take so many times as long, by their place. */
  readonly straggler?: (group: string) => number;
  /** May throw, to play a fault. */
  readonly before?: (activity: string, facts: { readonly step?: number }) => void;
}

export interface EngineLog {
  readonly steps: { readonly step: RlStep; readonly timeline: StepTimeline }[];
  readonly heldOut: { readonly step: number; readonly reward: number; readonly episodes: number }[];
  /** Every request of the policy server, in its slot. */
  readonly requests: { startedMs: number; endedMs: number }[];
  /** Samples that were trained, by step: nothing may be there twice. */
  readonly trained: Map<number, readonly string[]>;
  /** Turns of each dispatched group, and of each trained one. */
  readonly lengths: Map<string, number>;
  /** Between two activities of one episode, each a turn's answer or act: what Temporal takes, in milliseconds. */
  readonly gaps: number[];
  turns: number;
  running: number;
  mostRunning: number;
  committed: number;
  calls: Record<string, number>;
}

const ref = (name: string): ArtefactRef =>
  `sha256:${Buffer.from(name).toString('hex').padEnd(64, '0').slice(0, 64)}`;

export type RlEngines = ReturnType<typeof createEngines>;

export function createEngines(plan: EnginePlan) {
  const log: EngineLog = {
    steps: [],
    heldOut: [],
    requests: [],
    trained: new Map(),
    lengths: new Map(),
    gaps: [],
    turns: 0,
    running: 0,
    mostRunning: 0,
    committed: 0,
    calls: {},
  };
  const slots = createSlots(plan.slots);
  const stopped = new AbortController();
  const delay = (ms: number): Promise<void> => timer(ms, undefined, { signal: stopped.signal });
  const count = (activity: string, facts: { readonly step?: number } = {}): void => {
    log.calls[activity] = (log.calls[activity] ?? 0) + 1;
    plan.before?.(activity, facts);
  };
  /** Draws of one episode, the same however often it is played. */
  const drawsFor = (rollout: RolloutInput, member: number, turn = -1): (() => number) =>
    drawsOf(`${plan.seed} ${rollout.group.replace(/^e\d+-/, '')} ${member} ${turn}`);
  const turnsOf = (rollout: RolloutInput, member: number): number => {
    const { min, max } = plan.turns;
    return min + Math.floor(drawsFor(rollout, member)() * (max - min + 1));
  };
  const answer = async (): Promise<void> => {
    await slots.take();
    const request = { startedMs: Date.now(), endedMs: 0 };
    await delay(plan.answerMs);
    request.endedMs = Date.now();
    log.requests.push(request);
    slots.free();
    log.turns += 1;
  };
  const tool = async (rollout: RolloutInput, member: number, turn: number): Promise<void> => {
    const normal = normalOf(drawsFor(rollout, member, turn));
    const factor = plan.straggler?.(rollout.group) ?? 1;
    await delay(plan.toolMs * Math.exp(plan.sigma * normal) * factor);
  };
  const episode = async (rollout: RolloutInput, member: number): Promise<void> => {
    log.mostRunning = Math.max(log.mostRunning, (log.running += 1));
    for (let turn = 0; turn < turnsOf(rollout, member); turn += 1) {
      await answer();
      await tool(rollout, member, turn);
    }
    log.running -= 1;
  };
  const outcomeOf = (rollout: RolloutInput): RolloutOutcome => {
    const filtered =
      drawsOf(`${plan.seed} ${rollout.group.replace(/^e\d+-/, '')} filtered`)() < plan.filtered;
    const episodes = rollout.members.map((member): EpisodeOutcome => {
      const turns = turnsOf(rollout, member);
      const reward = filtered ? 0 : member % 2;
      return { member, end: 'finished', reward, verdict: 'resolved', turns, sampledTokens: turns };
    });
    const turns = episodes.reduce((sum, one) => sum + one.turns, 0);
    log.lengths.set(rollout.group, (log.lengths.get(rollout.group) ?? 0) + turns);
    return {
      group: rollout.group,
      episodes,
      trajectory: ref(`${rollout.group}/${rollout.members[0] ?? 0}`),
      oldestVersion: rollout.policy.version,
      newestVersion: rollout.policy.version,
      executed: rollout.members.length,
      served: 0,
    };
  };
  const endedMs = new Map<string, number>();
  /** Plays an activity of an episode's turn, and notes how long ago the one before it ended. */
  const inTurn = async (rollout: RolloutInput, work: () => Promise<void>): Promise<void> => {
    const episodeId = `${rollout.group}/${rollout.members[0] ?? 0}`;
    const before = endedMs.get(episodeId);
    if (before !== undefined) log.gaps.push(Date.now() - before);
    await work();
    endedMs.set(episodeId, Date.now());
  };
  const batches = new Map<number, readonly GroupState[]>();
  const llm: RolloutLlmActivities = {
    async sampleTurn({ rollout, turn }) {
      count('sampleTurn');
      if (rollout.policy.servers[0] !== SERVER) throw new Error(`${rollout.group} was given no server`);
      if (rollout.agent === 'selector') {
        await Promise.all(rollout.members.map(async (member) => episode(rollout, member)));
        return { next: 'end', end: 'finished', action: 'episodes', sampledTokens: rollout.members.length };
      }
      await inTurn(rollout, answer);
      const last = turn + 1 >= turnsOf(rollout, rollout.members[0] ?? 0);
      return { next: last ? 'end' : 'act', end: last ? 'finished' : null, action: 'bash', sampledTokens: 1 };
    },
  };
  const sandbox: RolloutSandboxActivities = {
    async openEpisode() {
      count('openEpisode');
      log.mostRunning = Math.max(log.mostRunning, (log.running += 1));
      return { host: HOST, diverged: null };
    },
    async gradeRollout({ rollout }) {
      count('gradeRollout');
      return outcomeOf(rollout);
    },
  };
  const host: RolloutHostActivities = {
    async actOnTurn({ rollout, turn }) {
      count('actOnTurn');
      await inTurn(rollout, () => tool(rollout, rollout.members[0] ?? 0, turn));
      return { end: null, told: '' };
    },
    async closeEpisode() {
      count('closeEpisode');
      log.running -= 1;
      return { patch: null, note: '' };
    },
  };
  const trainer: TrainerActivities = {
    async openTraining() {
      count('openTraining');
      return { step: log.committed, incarnation: 'one', held: [], left: [] };
    },
    async trainStep({ step }) {
      count('trainStep', { step });
      const startedMs = Date.now();
      if (step === log.committed + 1) {
        await delay(plan.trainMs);
        log.committed = step;
        log.trained.set(
          step,
          (batches.get(step) ?? []).map(({ id }) => id),
        );
      } else if (step !== log.committed) throw new Error(`step ${step} after ${log.committed}`);
      return { metrics: { loss: 0 }, busy: { startedMs, endedMs: Date.now() } };
    },
    async publishVersion({ step }) {
      count('publishVersion', { step });
      return { version: step, model: `v${step}`, path: `/v${step}`, sha256: 'x' };
    },
    async deployVersion() {
      count('deployVersion');
      const startedMs = Date.now();
      await delay(plan.loadMs);
      return { parityMax: 0, probe: 'first', busy: { startedMs, endedMs: Date.now() }, paused: [] };
    },
    async retireVersions({ unload, remove }) {
      count('retireVersions');
      return {
        unloaded: unload.map(({ version }) => version),
        removed: remove.map(({ version }) => version),
      };
    },
  };
  const control: RlControlActivities = {
    async readPrompts({ indices }) {
      count('readPrompts');
      const prompts = indices.map((index) => ({
        instanceId: `i${index}`,
        row: ref(`row${index}`),
        provenCanaries: null,
        task: null,
      }));
      return { prompts, servers: [SERVER] };
    },
    describeRollouts: async ({ workflowIds }) =>
      workflowIds.map((workflowId) => ({ workflowId, alive: true, report: null })),
    async formBatch({ step, version, groups }) {
      count('formBatch', { step });
      batches.set(step, groups);
      const staleness = groups.map((group) => version - oldestOf(group));
      return {
        batch: ref(`batch${step}`),
        samples: groups.length,
        tokens: groups.reduce((sum, { sampledTokens }) => sum + sampledTokens, 0),
        forks: 0,
        staleness: spread(staleness),
        trainedReward: 0.5,
      };
    },
    async recordStep({ step, timeline }) {
      count('recordStep', { step: step.step });
      if (!log.steps.some((one) => one.step.step === step.step)) log.steps.push({ step, timeline });
    },
    async recordHeldOut({ step, reward, episodes }) {
      count('recordHeldOut');
      log.heldOut.push({ step, reward, episodes });
    },
    async writeRlReport() {
      count('writeRlReport');
      return { report: 'report.html' };
    },
  };
  /** Ends what still takes its time. */
  const stop = (): void => stopped.abort();
  return { log, llm, sandbox, host, trainer, control, stop };
}

const SERVER = 'http://server';

/** Queue of the simulated sandboxes' host. */
export const HOST = processHost();

/** A standard normal draw (Box–Muller). */
function normalOf(draw: () => number): number {
  const radius = Math.sqrt(-2 * Math.log(1 - draw()));
  return radius * Math.cos(2 * Math.PI * draw());
}

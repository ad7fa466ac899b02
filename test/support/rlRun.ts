import type { StepTimeline } from '../../src/activities/rlTypes.ts';
import { drawsOf } from '../../src/domain/draws.ts';
import { groupIds } from '../../src/domain/rl/groupIds.ts';
import type { RlStep } from '../../src/domain/rl/messages.ts';
import type { RlManifest, RlOptions } from '../../src/domain/rl/options.ts';
import { RL_PRESETS } from '../../src/domain/rl/presets.ts';
import { spread } from '../../src/domain/rl/samples.ts';
import type { Trajectory } from '../../src/domain/rl/trajectory.ts';
import type { ArtefactRef } from '../../src/domain/types.ts';
import { appendHeldOut, appendStep } from '../../src/report/rlLog.ts';
import type { RlLogDeps } from '../../src/report/rlLog.ts';
import { logNormal, makeEpisode } from './rlEpisode.ts';

/** A training run as it might have been: simulated by events, the same for the same seed, with real artefacts and records. */

export interface MadeRun {
  readonly run: string;
  readonly options: RlOptions;
  readonly manifest: ArtefactRef;
  readonly servers: readonly string[];
  readonly steps: readonly { readonly step: RlStep; readonly timeline: StepTimeline }[];
}

export interface RunPlan {
  readonly seed?: number;
  readonly steps?: number;
  readonly options?: Partial<RlOptions>;
  /** Put into the texts of every episode, e.g. markup. */
  readonly text?: string;
  /** A pause of 15 s in step 20, and a stop of an hour after step 35. */
  readonly incidents?: boolean;
  /** Servers stand still for each new version, as with full parameters. */
  readonly reloads?: boolean;
}

const SERVERS = ['http://127.0.0.1:8000', 'http://127.0.0.1:8001'];
const INSTANCES = 12;
const BEGIN_MS = Date.UTC(2026, 2, 1, 9);

interface Group {
  readonly id: string;
  readonly version: number;
  readonly dispatchedMs: number;
  readonly endedMs: number;
  readonly trajectory: Trajectory;
  readonly rewards: readonly number[];
  readonly sampledTokens: number;
}

/** Makes the run and writes it to the stores of `deps`. */
export async function makeRlRun(deps: RlLogDeps, plan: RunPlan = {}): Promise<MadeRun> {
  const options: RlOptions = {
    ...RL_PRESETS.repoforge.options,
    steps: plan.steps ?? 60,
    groupsPerStep: 4,
    groupSize: 4,
    width: 10,
    evaluateEvery: 10,
    ...plan.options,
  };
  const manifest = await deps.store.putJson(await manifestOf(deps));
  const simulation = new Simulation(deps, options, plan);
  return { run: deps.run, options, manifest, servers: SERVERS, steps: await simulation.play() };
}

async function manifestOf({ store, run }: RlLogDeps): Promise<RlManifest> {
  const prompts = await Promise.all(
    Array.from({ length: INSTANCES }, async (_none, index) => ({
      instanceId: `pypi__made-${index}`,
      row: await store.putJson({
        problem_statement: `Made problem ${index}: the parser drops its last line.`,
      }),
      provenCanaries: null,
      task: null,
    })),
  );
  return {
    schema: 1,
    run,
    dataset: 'some/dataset.jsonl',
    prompts,
    heldOut: prompts.slice(0, 4),
    servers: SERVERS,
    trainer: 'http://127.0.0.1:9000',
    model: '/models/made',
    servedModel: 'made',
  };
}

class Simulation {
  private readonly draw: () => number;
  private readonly running: Group[] = [];
  private readonly waiting: Group[] = [];
  private readonly recorded: { step: RlStep; timeline: StepTimeline }[] = [];
  private nowMs = BEGIN_MS;
  private sinceMs = BEGIN_MS;
  private place = 0;
  private step = 0;
  private accepted = 0;
  private deployed = 0;
  /** When each version that is on its way will be there. */
  private deploying: { version: number; atMs: number }[] = [];
  private timeline = freshTimeline();
  private noted: Promise<StepTimeline['groups'][number]>[] = [];
  private readonly deps: RlLogDeps;
  private readonly options: RlOptions;
  private readonly plan: RunPlan;

  constructor(deps: RlLogDeps, options: RlOptions, plan: RunPlan) {
    this.deps = deps;
    this.options = options;
    this.plan = plan;
    this.draw = drawsOf(`rl run ${plan.seed ?? 0}`);
  }

  async play(): Promise<readonly { step: RlStep; timeline: StepTimeline }[]> {
    this.nowMs += 1_500; // the trainer opens
    while (this.step < this.options.steps) {
      this.settle();
      this.admit();
      const batch = this.takeBatch();
      if (batch === null) this.advance();
      else await this.train(batch);
    }
    return this.recorded;
  }

  private settle(): void {
    this.deploying = this.deploying.filter(({ version, atMs }) => {
      if (atMs <= this.nowMs) this.deployed = Math.max(this.deployed, version);
      return atMs > this.nowMs;
    });
    for (const group of this.running.filter(({ endedMs }) => endedMs <= this.nowMs)) {
      this.running.splice(this.running.indexOf(group), 1);
      const equal = group.rewards.every((reward) => reward === group.rewards[0]);
      const fate = group.rewards.length < 2 ? 'infra' : equal ? 'no_variance' : null;
      if (fate === null) this.waiting.push(group);
      else this.note(group, fate);
    }
    if (this.options.stale === 'drop')
      for (const group of this.waiting.filter(
        ({ version }) => this.step - version > this.options.maxStaleness,
      )) {
        this.waiting.splice(this.waiting.indexOf(group), 1);
        this.note(group, 'stale');
      }
  }

  private admit(): void {
    const { groupsPerStep, maxStaleness, width, stale } = this.options;
    const lead = stale === 'drop' ? 3 : 1; // more in flight than the bound allows: some must be dropped
    const free = (): number =>
      Math.min(
        width - this.running.length,
        lead * (maxStaleness + this.deployed + 1) * groupsPerStep -
          (this.accepted + this.waiting.length + this.running.length),
      );
    while (free() > 0) this.running.push(this.dispatch());
  }

  private takeBatch(): readonly Group[] | null {
    const bound = this.options.maxStaleness;
    const blocked =
      this.options.stale === 'wait' && this.running.some(({ version }) => this.step + 1 - version > bound);
    if (blocked || this.waiting.length < this.options.groupsPerStep) return null;
    this.waiting.sort((a, b) => (a.id < b.id ? -1 : 1));
    return this.waiting.splice(0, this.options.groupsPerStep);
  }

  private advance(): void {
    const next = [...this.running.map(({ endedMs }) => endedMs), ...this.deploying.map(({ atMs }) => atMs)];
    this.nowMs = Math.max(this.nowMs + 1, Math.min(...next.filter((ms) => ms > this.nowMs)));
  }

  private async train(batch: readonly Group[]): Promise<void> {
    this.accepted += batch.length;
    const startedMs = this.nowMs;
    const endedMs = startedMs + logNormal(this.draw, 4_600, 0.15);
    this.timeline.train.push({ startedMs: startedMs + 60, endedMs });
    this.passTime(endedMs);
    const staleness = spread(batch.map(({ version }) => this.step - version));
    for (const group of batch) this.note(group, 'trained');
    this.step += 1;
    const writtenMs = endedMs + 180;
    const loadedMs = writtenMs + logNormal(this.draw, 350, 0.2);
    this.timeline.publish.push({ startedMs: endedMs, endedMs: loadedMs });
    if (this.plan.reloads === true)
      for (const server of SERVERS)
        this.timeline.pausedServers.push({ server, startedMs: writtenMs, endedMs: loadedMs });
    this.deploying.push({ version: this.step, atMs: loadedMs });
    if (this.plan.incidents === true && this.step === 20) {
      this.timeline.halted.push({ startedMs: writtenMs, endedMs: writtenMs + 15_000 });
      this.nowMs = writtenMs + 15_000;
    } else this.nowMs = writtenMs;
    await this.record(batch, staleness, startedMs);
  }

  /** Groups end and are refilled while the trainer works. */
  private passTime(untilMs: number): void {
    while (true) {
      this.settle();
      this.admit();
      const next = Math.min(
        ...this.running.map(({ endedMs }) => endedMs),
        ...this.deploying.map(({ atMs }) => atMs),
      );
      if (next > untilMs) break;
      this.nowMs = Math.max(this.nowMs, next);
    }
    this.nowMs = untilMs;
  }

  private async record(
    batch: readonly Group[],
    staleness: RlStep['staleness'],
    startedMs: number,
  ): Promise<void> {
    const timeline = { ...this.timeline, groups: await Promise.all(this.noted) };
    this.noted = [];
    const mean = (numbers: readonly number[]): number =>
      numbers.reduce((sum, one) => sum + one, 0) / Math.max(1, numbers.length);
    const learned = this.skill();
    const step: RlStep = {
      step: this.step,
      reward: mean(timeline.groups.flatMap(({ reward }) => (reward === null ? [] : [reward]))),
      trainedReward: mean(batch.flatMap(({ rewards }) => rewards)),
      staleness,
      tokens: batch.reduce((sum, { sampledTokens }) => sum + sampledTokens, 0),
      forks: this.draw() < 0.2 ? 1 : 0,
      metrics: {
        loss: 0.02 * (this.draw() - 0.5),
        clip_fraction: 0.02 + 0.05 * this.draw() * (1 + staleness.mean),
        entropy: 1.3 - 0.8 * learned + 0.05 * this.draw(),
        mismatch_kl: 2e-5 * (1 + 3 * this.draw()) * (1 + 4 * staleness.mean),
        mismatch_max: 1e-3 * this.draw(),
        gradient_norm: logNormal(this.draw, 600, 0.4) / 1000,
        log_mass_min: -0.01 * this.draw(),
      },
      startedMs,
      endedMs: this.nowMs,
    };
    const entry = {
      step,
      timeline: {
        ...timeline,
        sinceMs: this.sinceMs,
        parityMax: 1e-6 * (1 + 9 * this.draw()),
        open: [...this.running, ...this.waiting].map(({ id, dispatchedMs, endedMs }) => ({
          id,
          dispatchedMs,
          endedMs: endedMs <= this.nowMs ? endedMs : null,
        })),
      },
    };
    this.timeline = freshTimeline();
    this.sinceMs = this.nowMs;
    this.recorded.push(entry);
    await appendStep(this.deps, entry);
    if (this.step % 10 === 0)
      await appendHeldOut(this.deps, {
        step: this.step,
        reward: 0.2 + 0.55 * learned + 0.06 * this.draw(),
        episodes: 16,
      });
    if (this.plan.incidents === true && this.step === 35) this.stopForAnHour();
  }

  /** What was in flight is lost, as when a run is stopped and started again. */
  private stopForAnHour(): void {
    this.running.length = 0;
    this.waiting.length = 0;
    this.deployed = this.step;
    this.deploying = [];
    this.nowMs += 3_600_000;
    this.sinceMs = this.nowMs;
    this.nowMs += 2_000;
  }

  /** Artefacts of a step are written side by side: each waits for the disk. */
  private note(group: Group, fate: StepTimeline['groups'][number]['fate']): void {
    const { id, dispatchedMs, endedMs, rewards, sampledTokens, version, trajectory } = group;
    const executed = Math.min(2, rewards.length);
    const noted = {
      id,
      dispatchedMs,
      endedMs,
      fate,
      reward: rewards.length === 0 ? null : rewards.reduce((sum, one) => sum + one, 0) / rewards.length,
      sampledTokens,
      staleness: this.step - version,
      executed,
      served: rewards.length - executed,
    };
    this.noted.push(this.deps.store.putJson(trajectory).then((ref) => ({ ...noted, trajectories: [ref] })));
  }

  /** How much has been learned, from 0 to 1. */
  private skill(): number {
    return 1 / (1 + Math.exp(-(this.step - 0.45 * this.options.steps) / (0.13 * this.options.steps)));
  }

  private dispatch(): Group {
    const place = this.place++;
    const id = groupIds.trained(0, place);
    const instance = Math.floor(this.draw() * INSTANCES);
    const chance = Math.min(
      0.97,
      Math.max(0.03, 0.15 + 0.65 * this.skill() + 0.5 * (instance / INSTANCES - 0.5)),
    );
    const failing = this.draw() < 0.03;
    const episodes = Array.from({ length: this.options.groupSize }, (_none, member) =>
      makeEpisode({
        draw: this.draw,
        member,
        server: SERVERS[place % SERVERS.length] ?? '',
        version: this.deployed,
        startedMs: this.nowMs + 200,
        chance,
        failing: failing && member > 0,
        text: this.plan.text ?? '',
      }),
    );
    const last = Math.max(...episodes.map(({ steps }) => steps.at(-1)?.step.endedMs ?? this.nowMs));
    return {
      id,
      version: this.deployed,
      dispatchedMs: this.nowMs,
      endedMs: last + 300 + logNormal(this.draw, 700, 0.3), // grading
      trajectory: {
        schema: 1,
        run: this.deps.run,
        group: id,
        agent: this.options.agent,
        instanceId: `pypi__made-${instance}`,
        episodes,
      },
      rewards: episodes.flatMap(({ reward }) => (reward === null ? [] : [reward])),
      sampledTokens: episodes.reduce((sum, { sampledTokens }) => sum + sampledTokens, 0),
    };
  }
}

type Mutable<T> = { -readonly [K in keyof T]-?: NonNullable<T[K]> extends readonly (infer U)[] ? U[] : T[K] };
const freshTimeline = (): Mutable<Omit<StepTimeline, 'sinceMs' | 'open' | 'parityMax'>> => ({
  groups: [],
  train: [],
  publish: [],
  pausedServers: [],
  halted: [],
});

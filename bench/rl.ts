import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, bundleWorkflowCode } from '@temporalio/worker';
import type { WorkflowBundleOption } from '@temporalio/worker';
import { workflowIds } from '../src/domain/ids.ts';
import { QUEUE_ROLES, scopedWorkflowId, taskQueue } from '../src/domain/messages.ts';
import {
  SERVER_CAUSES,
  TRAINER_CAUSES,
  bubbleRatio,
  idleShare,
  totalUse,
  useOf,
} from '../src/domain/rl/intervals.ts';
import type { ResourceUse } from '../src/domain/rl/intervals.ts';
import { RL_UPDATES } from '../src/domain/rl/messages.ts';
import type { RlInput } from '../src/domain/rl/messages.ts';
import type { RlOptions } from '../src/domain/rl/options.ts';
import { RL_PRESETS } from '../src/domain/rl/presets.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { startWorkers } from '../src/workers/main.ts';
import { installRuntime } from '../src/workers/runtime.ts';
import type { rl } from '../src/workflows/rl.ts';
import { createStubs, fakeRef } from '../test/support/stubs.ts';
import { cpuSecondsOf } from './peer/cpu.ts';
import { startServer, type BenchServer, type ServerKind } from './peer/temporalServer.ts';
import { machineLine, type BenchReport } from './report.ts';
import { createEngines } from './rl/engines.ts';
import type { EnginePlan, RlEngines } from './rl/engines.ts';

export interface RlBenchOptions {
  readonly server: ServerKind;
  /** Steps that are measured of each run. */
  readonly steps: number;
  readonly say: (line: string) => void;
}

const BOUNDS = [0, 1, 2, 4] as const;
/** Trainer's time as a share of the mean time of a synchronous batch. */
const TRAINER_SHARES = [0.5, 1.5] as const;
const WORKLOAD = {
  seed: 20_261_123,
  slots: 256,
  answerMs: 10,
  toolMs: 60,
  sigma: 1,
  turns: { min: 8, max: 40 },
  filtered: 0.25,
  loadMs: 20,
} as const;
const GROUPS = { groupsPerStep: 8, groupSize: 8, width: 128 } as const;
/** Steps before the measured ones: the lead of S versions has to build up first. */
const WARM_UP = 3;
const CALIBRATION_STEPS = 5;
const SERVER = 'policy';

interface Place {
  readonly server: BenchServer;
  readonly client: Client;
  readonly native: NativeConnection;
  readonly bundle: WorkflowBundleOption;
  readonly deps: Dependencies;
}

interface Measured {
  readonly bound: number;
  readonly trainMs: number;
  readonly stepMs: number;
  readonly stalenessMax: number;
  readonly trainer: Readonly<Record<string, number>>;
  readonly policy: Readonly<Record<string, number>>;
  readonly bubble: number;
  /** Time of a step's answers over the server's slots: no step can be faster. */
  readonly serverMs: number;
  readonly mostRunning: number;
}

/**
 * The real rl and rollout workflows on a real Temporal server, with simulated engines, on one fixed workload: how much
 * faster steps are with a staleness bound than without, and where trainer and policy server wait.
 */
export async function benchRl(deps: Dependencies, options: RlBenchOptions): Promise<BenchReport> {
  installRuntime(deps.log);
  await using server = await startServer(options.server, {
    cacheDir: deps.settings.cacheDir,
    say: options.say,
  });
  const { address } = server;
  const native = await NativeConnection.connect({ address });
  const connection = await Connection.connect({ address });
  const workflowsPath = new URL('../src/workflows/index.ts', import.meta.url).pathname;
  const bundle = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('WARN') });
  const place: Place = { server, client: new Client({ connection }), native, bundle, deps };
  try {
    const calibrated = await measure(place, 'calibration', 0, 0, CALIBRATION_STEPS);
    const batchMs = calibrated.stepMs;
    options.say(`a synchronous batch takes ${(batchMs / 1_000).toFixed(2)} s`);
    const results: Measured[] = [];
    for (const share of TRAINER_SHARES)
      for (const bound of BOUNDS) {
        const result = await measure(
          place,
          `t${share}-s${bound}`,
          bound,
          Math.round(share * batchMs),
          options.steps,
        );
        results.push(result);
        options.say(`  trainer ${share} x, S = ${bound}: ${perHour(result)} steps/hour`);
      }
    const wide = await measureWide(place);
    return reportOf(results, batchMs, wide, options.server);
  } finally {
    await connection.close();
    await native.close();
  }
}

async function measure(
  place: Place,
  name: string,
  bound: number,
  trainMs: number,
  steps: number,
): Promise<Measured> {
  const engines = createEngines({ ...WORKLOAD, trainMs });
  const last = WARM_UP + bound + steps;
  await play(place, name, engines, {
    ...GROUPS,
    maxStaleness: bound,
    steps: last + bound + 2, // the last steps of a run dispatch less and less
    until: last,
  });
  const { log } = engines;
  const ended = (step: number): number =>
    log.steps.find((one) => one.step.step === step)?.step.endedMs ?? Number.NaN;
  const window = { startedMs: ended(last - steps), endedMs: ended(last) };
  const timelines = log.steps.map(({ timeline }) => timeline);
  const use = totalUse(
    useOf(
      {
        train: timelines.flatMap(({ train }) => train),
        publish: timelines.flatMap(({ publish }) => publish),
        groups: timelines.flatMap(({ groups }) =>
          groups.map(({ dispatchedMs: startedMs, endedMs }) => ({ startedMs, endedMs })),
        ),
        calls: log.requests.map((request) => ({ ...request, server: SERVER, requests: 1 })),
        halted: [],
        paused: [],
        starting: [],
      },
      [SERVER],
      [window],
    ),
  );
  const [policy] = use.servers;
  if (policy === undefined) throw new Error('the policy server is not in the log');
  const answers = log.requests.filter(
    ({ endedMs }) => endedMs > window.startedMs && endedMs <= window.endedMs,
  );
  const stepMs = (window.endedMs - window.startedMs) / steps;
  return {
    bound,
    trainMs,
    stepMs,
    stalenessMax: Math.max(...log.steps.map(({ step }) => step.staleness.max)),
    trainer: shares(use.trainer, TRAINER_CAUSES),
    policy: { ...shares(policy, SERVER_CAUSES), occupancy: policy.occupancy / WORKLOAD.slots },
    bubble: bubbleRatio(use) ?? 0,
    serverMs: (answers.length * WORKLOAD.answerMs) / WORKLOAD.slots / steps,
    mostRunning: log.mostRunning,
  };
}

/** Idle share in all, and by cause. */
function shares<Cause extends string>(
  use: ResourceUse<Cause>,
  causes: readonly Cause[],
): Readonly<Record<string, number>> {
  const byCause = causes.map((cause) => [cause, use.idleMs[cause] / use.wallMs] as const);
  return { idle: idleShare(use) ?? 0, ...Object.fromEntries(byCause) };
}

/** Plays a run until a step is done, then stops it. */
async function play(
  { client, native, bundle, deps, server }: Place,
  name: string,
  engines: RlEngines,
  options: Partial<RlOptions> & { readonly until: number },
): Promise<{ readonly seconds: number; readonly workerCpuS: number; readonly serverCpuS: number }> {
  const prefix = `bench-${name}`;
  const stubs = createStubs({ client }, { candidates: {} }).activities;
  const workers = await startWorkers({
    leases: null,
    roles: QUEUE_ROLES,
    connection: native,
    place: {
      queuePrefix: prefix,
      namespace: 'default',
      sizing: { sandboxSlots: 64, miningPerSecond: null, llmSlots: 640, openEpisodes: 640 },
    },
    activities: {
      ...stubs,
      control: { ...stubs.control, ...engines.control },
      sandbox: { ...stubs.sandbox, ...engines.sandbox },
      host: engines.host,
      llm: { ...stubs.llm, ...engines.llm },
      trainer: engines.trainer,
    },
    bundle,
    log: deps.log,
  });
  const { until, ...rest } = options;
  const workflowId = scopedWorkflowId(prefix, workflowIds.rl(name));
  const input: RlInput = {
    run: name,
    queuePrefix: prefix,
    manifest: fakeRef('manifest'),
    promptCount: 64,
    heldOutCount: 0,
    options: { ...RL_PRESETS.tiny.options, lora: { rank: 8, alpha: 16 }, seed: WORKLOAD.seed, ...rest },
    epoch: 0,
  };
  const startedMs = performance.now();
  const [cpu, serverCpu] = [process.cpuUsage(), cpuSecondsOf(server.pids)];
  try {
    const handle = await client.workflow.start<typeof rl>('rl', {
      workflowId,
      taskQueue: taskQueue(prefix, 'control'),
      args: [input],
    });
    while (engines.log.steps.length < until) await new Promise((done) => setTimeout(done, 100));
    const { user, system } = process.cpuUsage(cpu);
    const took = {
      seconds: (performance.now() - startedMs) / 1_000,
      workerCpuS: (user + system) / 1e6,
      serverCpuS: cpuSecondsOf(server.pids) - serverCpu,
    };
    await handle.executeUpdate(RL_UPDATES.stop);
    await handle.result();
    return took;
  } finally {
    engines.stop(); // answers and acts that nobody waits for any more
    await workers.stop();
  }
}

interface Wide {
  readonly mostRunning: number;
  readonly turns: number;
  readonly turnsPerSecond: number;
  /** CPU time of worker and server for each turn: two activities of a workflow of its own. */
  readonly cpuMsPerTurn: number;
  /** From the end of one activity of an episode to the start of the next. */
  readonly gapMs: { readonly median: number; readonly p95: number };
}

const WIDE = { groupsPerStep: 16, groupSize: 8, width: 64, maxStaleness: 3 } as const; // 512 rollouts at once
const WIDE_STEPS = 1;
const WIDE_PLAN: EnginePlan = {
  ...WORKLOAD,
  slots: 512,
  // turns of a large model: two cores of a Temporal server take some six turns a second, and 512 rollouts at once ask for five
  answerMs: 70_000,
  toolMs: 20_000,
  turns: { min: 2, max: 3 },
  trainMs: 1_000,
};

/** Each episode a workflow of its own, each turn two activities, 512 at once: what Temporal itself costs. */
async function measureWide(place: Place): Promise<Wide> {
  const engines = createEngines(WIDE_PLAN);
  const { budget } = RL_PRESETS.repoforge.options; // the tiny preset's has one turn
  const options = { ...WIDE, agent: 'coder', budget, steps: 40, until: WIDE_STEPS } as const;
  const took = await play(place, 'wide', engines, options);
  const { log } = engines;
  const gaps = log.gaps.toSorted((a, b) => a - b);
  const quantile = (share: number): number => gaps[Math.floor(share * gaps.length)] ?? Number.NaN;
  return {
    mostRunning: log.mostRunning,
    turns: log.turns,
    turnsPerSecond: log.turns / took.seconds,
    cpuMsPerTurn: (1_000 * (took.workerCpuS + took.serverCpuS)) / log.turns,
    gapMs: { median: quantile(0.5), p95: quantile(0.95) },
  };
}

const perHour = ({ stepMs }: Measured): number => Math.round(3_600_000 / stepMs);
const round = (value: number, digits = 3): number => Math.round(10 ** digits * value) / 10 ** digits;

function reportOf(
  results: readonly Measured[],
  batchMs: number,
  wide: Wide,
  server: ServerKind,
): BenchReport {
  const runs = results.map((result) => {
    const base = results.find(({ bound, trainMs }) => bound === 0 && trainMs === result.trainMs) ?? result;
    const speedup = base.stepMs / result.stepMs;
    // a step is never faster than its training or its answers; S + 1 is how many overlap, which a loop passes where it hides
    // the tail of a batch and the refill of dropped groups, too
    const limit = Math.min(result.bound + 1, base.stepMs / Math.max(result.trainMs, result.serverMs));
    return {
      max_staleness: result.bound,
      trainer_share: round(result.trainMs / batchMs, 2),
      steps_per_hour: perHour(result),
      speedup: round(speedup, 2),
      limit: round(limit, 2),
      ratio_vs_limit: round(speedup / limit, 2),
      staleness_max: result.stalenessMax,
      bubble: round(result.bubble),
      trainer_idle: round(result.trainer['idle'] ?? 0),
      ...prefixed('trainer', result.trainer),
      ...prefixed('server', result.policy),
      rollouts_at_once: result.mostRunning,
    };
  });
  const best = runs.find(({ max_staleness: bound, trainer_share: share }) => bound === 4 && share === 0.5);
  const bounded = runs.filter(({ max_staleness: bound }) => bound > 0);
  return {
    bench: 'rl',
    figure: best?.speedup ?? null,
    unit: 'x the steps per hour of S = 0',
    what: `steps per hour at S = 4 against S = 0, hard bound, trainer at half of a batch's time; B = 8, G = 8, width 128 groups, 8 to 40 turns, log-normal tools with sigma 1, a quarter of the groups filtered, seed ${WORKLOAD.seed}; real workflows on Temporal (${server}), simulated engines that play a group's turns inside one activity`,
    target:
      '>= 90 % of min(S + 1, physical limit) at each S; >= 2.5 x at S = 4; <= 5 % idle trainer where it is the limit',
    machine: machineLine(),
    runs,
    more: {
      server,
      seed: WORKLOAD.seed,
      batch_ms: Math.round(batchMs),
      speedup_s4: best?.speedup ?? null,
      ratio_vs_limit: Math.min(...bounded.map(({ ratio_vs_limit: ratio }) => ratio)),
      trainer_idle_where_it_is_the_limit: Math.max(
        ...bounded.filter(({ trainer_share: share }) => share > 1).map((run) => run.trainer_idle),
      ),
      wide_rollouts_at_once: wide.mostRunning,
      wide_turns: wide.turns,
      wide_turns_per_second: round(wide.turnsPerSecond, 1),
      wide_cpu_ms_per_turn: round(wide.cpuMsPerTurn, 1),
      wide_gap_ms_median: wide.gapMs.median,
      wide_gap_ms_p95: wide.gapMs.p95,
    },
  };
}

const prefixed = (name: string, facts: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(facts).map(([key, value]) => [`${name}_${key}`, round(value)]));

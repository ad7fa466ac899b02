import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, bundleWorkflowCode } from '@temporalio/worker';
import { workflowIds } from '../src/domain/ids.ts';
import { DEFAULT_CAMPAIGN_OPTIONS } from '../src/domain/campaign.ts';
import { QUEUE_ROLES, scopedWorkflowId, taskQueue } from '../src/domain/messages.ts';
import type { CampaignInput } from '../src/domain/campaign.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { startWorkers } from '../src/workers/main.ts';
import { installRuntime } from '../src/workers/runtime.ts';
import type { campaign } from '../src/workflows/campaign.ts';
import { eventually } from '../test/support/eventually.ts';
import { createStubs } from '../test/support/stubs.ts';
import { cpuSecondsOf } from './peer/cpu.ts';
import { startServer, type BenchServer, type ServerKind } from './peer/temporalServer.ts';
import type { bareLoop } from './peer/workflows.ts';
import { machineLine, type BenchReport } from './report.ts';

export interface OrchestrationBenchOptions {
  readonly servers: readonly ServerKind[];
  readonly instances: number;
  readonly say: (line: string) => void;
}

const SOURCES = 5;
const PREFIX = 'bench';
/** In flight at once: enough to keep every slot busy, and the worker's cache holds them all. */
const WIDTH = 200;
const SANDBOX_SLOTS = 20;
/** As in a campaign over a real history (9 of 30): rejected by the first run without gold. */
const rejectedEarly = (index: number): boolean => index % 10 < 3;
/** Neighbours share an environment. */
const INSTANCES_PER_KEY = 5;
/** Memory is compared between these shares of the campaign. */
const SHARES = [0.2, 0.4, 0.6, 0.8, 1] as const;
const WARM_UP_ACTIVITIES = 1_000;

interface Timed {
  readonly activities: number;
  readonly seconds: number;
  readonly workerCpuS: number;
  readonly serverCpuS: number;
}

interface ServerResult {
  readonly kind: ServerKind;
  readonly loop: Timed;
  readonly campaign: Timed;
  /** Resident memory of the worker process by share of the instances that have ended. */
  readonly rss: ReadonlyMap<number, number>;
  readonly histories: Histories;
}

interface Histories {
  readonly longest: number;
  readonly longestType: string;
  /** Events of all workflows of the campaign, and of the loop. */
  readonly campaignEvents: number;
  readonly loopEvents: number;
  readonly workflows: number;
}

/**
 * The real campaign, instance and environment workflows over stub activities, on the product's own worker options, against
 * a bare `Promise.all` loop with as many activities on the same workers and server, half of it before and half after.
 */
export async function benchOrchestration(
  deps: Dependencies,
  options: OrchestrationBenchOptions,
): Promise<BenchReport> {
  installRuntime(deps.log);
  const results: ServerResult[] = [];
  for (const kind of options.servers) {
    options.say(`orchestration: ${options.instances} instances on ${kind}`);
    await using server = await startServer(kind, { cacheDir: deps.settings.cacheDir, say: options.say });
    results.push(await measure(deps, server, options));
  }
  return reportOf(results, options.instances);
}

async function measure(
  deps: Dependencies,
  server: BenchServer,
  { instances, say }: OrchestrationBenchOptions,
): Promise<ServerResult> {
  const { address } = server;
  const [native, connection] = [
    await NativeConnection.connect({ address }),
    await Connection.connect({ address }),
  ];
  const client = new Client({ connection });
  const tally = createTally(instances);
  const stubs = createStubs(
    { client },
    {
      candidates: candidatesOf(instances),
      minePageSize: DEFAULT_CAMPAIGN_OPTIONS.minePageSize,
      keyOf: (_policy, id) => String(Math.floor(indexOf(id) / INSTANCES_PER_KEY)).padStart(64, '0'),
      rejectedBefore: (id) =>
        rejectedEarly(indexOf(id)) ? { reason: 'no_fail_to_pass', detail: 'nothing fails' } : undefined,
      before: ({ activity }) => {
        stubs.calls.length = 0; // kept for tests; here they would be the memory that grows
        tally.count(activity);
      },
    },
  );
  const workers = await startWorkers({
    leases: null,
    roles: QUEUE_ROLES,
    connection: native,
    place: {
      queuePrefix: PREFIX,
      namespace: 'default',
      sizing: { sandboxSlots: SANDBOX_SLOTS, miningPerSecond: null },
    },
    activities: stubs.activities,
    bundle: await benchBundle(),
    log: deps.log,
  });
  try {
    const timed = timer(tally, server);
    const runLoop = async (activities: number): Promise<Timed> => timed(() => loop(client, activities));
    await loop(client, WARM_UP_ACTIVITIES);
    // the campaign's own count is known only afterwards: the second half makes the sums equal
    const before = await runLoop(Math.ceil(instances * 7.5));
    say(`  loop: ${perSecond(before)} activities/s`);
    const campaignRun = await timed(() => runCampaign(client, instances));
    say(`  campaign: ${perSecond(campaignRun)} activities/s (${campaignRun.activities} activities)`);
    const after = await runLoop(Math.max(1_000, campaignRun.activities - before.activities));
    say(`  loop: ${perSecond(after)} activities/s`);
    return {
      kind: server.kind,
      loop: added(before, after),
      campaign: campaignRun,
      rss: tally.rss,
      histories: await historiesOf(client, instances),
    };
  } finally {
    await workers.stop();
    await connection.close();
    await native.close();
  }
}

const benchBundle = async () => ({
  code: (
    await bundleWorkflowCode({
      workflowsPath: new URL('peer/workflows.ts', import.meta.url).pathname,
      logger: new DefaultLogger('WARN'),
    })
  ).code,
});

const indexOf = (id: string): number => Number(id.slice(id.lastIndexOf('-') + 1));

function candidatesOf(instances: number): Readonly<Record<string, readonly string[]>> {
  const ids = Array.from({ length: instances }, (_, index) => `candidate-${index}`);
  return Object.fromEntries(
    Array.from({ length: SOURCES }, (_, source) => [
      `pypi:package-${source}`,
      ids.filter((_id, index) => index % SOURCES === source),
    ]),
  );
}

function runCampaign(client: Client, instances: number): Promise<unknown> {
  const input: CampaignInput = {
    name: 'stubs',
    queuePrefix: PREFIX,
    sources: Array.from({ length: SOURCES }, (_, source) => ({ pypi: `package-${source}` })),
    // a cap that is never reached: the order of admission is then kept in full, the dearest way to run a campaign
    options: { ...DEFAULT_CAMPAIGN_OPTIONS, width: WIDTH, maxInstances: instances },
  };
  return client.workflow.execute<typeof campaign>('campaign', {
    workflowId: scopedWorkflowId(PREFIX, workflowIds.campaign(input.name)),
    taskQueue: taskQueue(PREFIX, 'control'),
    args: [input],
  });
}

let loops = 0;
const loop = (client: Client, activities: number): Promise<void> =>
  client.workflow.execute<typeof bareLoop>('bareLoop', {
    workflowId: `${PREFIX}/loop/${(loops += 1)}`,
    taskQueue: taskQueue(PREFIX, 'control'),
    args: [{ queuePrefix: PREFIX, activities }],
  });

interface Tally {
  activities: number;
  readonly rss: Map<number, number>;
  count(activity: string): void;
}

function createTally(instances: number): Tally {
  let ended = 0;
  const tally: Tally = {
    activities: 0,
    rss: new Map(),
    count(activity) {
      tally.activities += 1;
      if (activity !== 'publishInstance' && activity !== 'recordRejection') return;
      ended += 1;
      const share = SHARES.find((each) => Math.floor(each * instances) === ended);
      if (share !== undefined) tally.rss.set(share, residentBytes());
    },
  };
  return tally;
}

/** Resident memory of this process, which is the worker, after a full collection of the main heap. */
function residentBytes(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage.rss();
}

const timer =
  (tally: Tally, { pids }: BenchServer) =>
  async (work: () => Promise<unknown>): Promise<Timed> => {
    const start = { ms: performance.now(), activities: tally.activities, worker: process.cpuUsage() };
    const serverStart = cpuSecondsOf(pids);
    await work();
    const { user, system } = process.cpuUsage(start.worker);
    return {
      activities: tally.activities - start.activities,
      seconds: (performance.now() - start.ms) / 1_000,
      workerCpuS: (user + system) / 1e6,
      serverCpuS: cpuSecondsOf(pids) - serverStart,
    };
  };

const added = (a: Timed, b: Timed): Timed => ({
  activities: a.activities + b.activities,
  seconds: a.seconds + b.seconds,
  workerCpuS: a.workerCpuS + b.workerCpuS,
  serverCpuS: a.serverCpuS + b.serverCpuS,
});

const rate = ({ activities, seconds }: Timed): number => activities / seconds;
const perSecond = (timed: Timed): number => round(rate(timed), 1);

/** Every run of every workflow, as visibility tells their lengths; it lags behind a little. */
async function historiesOf(client: Client, instances: number): Promise<Histories> {
  return eventually(
    'visibility shows every instance ended',
    async () => {
      const found = { longest: 0, longestType: '', campaignEvents: 0, loopEvents: 0, workflows: 0 };
      let ended = 0;
      for await (const { type, historyLength, status } of client.workflow.list({ pageSize: 1_000 })) {
        if (type === 'bareLoop') {
          found.loopEvents += historyLength;
          continue;
        }
        found.workflows += 1;
        found.campaignEvents += historyLength;
        if (type === 'instance' && status.name !== 'RUNNING') ended += 1;
        if (historyLength > found.longest) [found.longest, found.longestType] = [historyLength, type];
      }
      if (ended < instances) throw new Error(`visibility shows ${ended} of ${instances} instances`);
      return found;
    },
    { timeoutMs: 60_000 },
  );
}

function reportOf(results: readonly ServerResult[], instances: number): BenchReport {
  const main = results.find(({ kind }) => kind === 'postgres') ?? results[0];
  if (main === undefined) throw new Error('no server was measured');
  const ratioOf = ({ campaign: run, loop: bare }: ServerResult): number => round(rate(run) / rate(bare), 2);
  const growthOf = ({ rss }: ServerResult): number => (rss.get(1) ?? 0) - (rss.get(SHARES[0]) ?? 0);
  return {
    bench: 'orchestration',
    figure: ratioOf(main),
    unit: 'x the bare loop',
    what: `activities per second of a campaign of ${instances} instances over stub activities (window ${WIDTH}, 3 of 10 rejected early), against Promise.all of 500 at a time with as many activities on the same workers and server (${main.kind})`,
    target: '>= 0.8 x; >= 200/s on Postgres; histories < 4096 events; flat memory',
    machine: machineLine(),
    runs: results.map((result) => ({
      server: result.kind,
      activities_per_s: perSecond(result.campaign),
      bare_activities_per_s: perSecond(result.loop),
      ratio_vs_bare: ratioOf(result),
      activities: result.campaign.activities,
      bare_activities: result.loop.activities,
      seconds: round(result.campaign.seconds, 1),
      longest_history: result.histories.longest,
      longest_history_of: result.histories.longestType,
      workflow_runs: result.histories.workflows,
      events_per_activity: round(result.histories.campaignEvents / result.campaign.activities, 2),
      bare_events_per_activity: round(
        result.histories.loopEvents / (result.loop.activities + WARM_UP_ACTIVITIES),
        2,
      ),
      worker_cpu_ms_per_activity: round((1_000 * result.campaign.workerCpuS) / result.campaign.activities, 2),
      bare_worker_cpu_ms_per_activity: round((1_000 * result.loop.workerCpuS) / result.loop.activities, 2),
      server_cpu_ms_per_activity: round((1_000 * result.campaign.serverCpuS) / result.campaign.activities, 2),
      bare_server_cpu_ms_per_activity: round((1_000 * result.loop.serverCpuS) / result.loop.activities, 2),
      rss_growth_bytes: growthOf(result),
      ...Object.fromEntries([...result.rss].map(([share, bytes]) => [`rss_bytes_at_${share}`, bytes])),
    })),
    more: {
      server: main.kind,
      instances,
      activities_per_s: perSecond(main.campaign),
      bare_activities_per_s: perSecond(main.loop),
      ratio_vs_bare: ratioOf(main),
      longest_history: Math.max(...results.map(({ histories }) => histories.longest)),
      rss_growth_bytes: Math.max(...results.map(growthOf)),
    },
  };
}

const round = (value: number, digits: number): number => Math.round(10 ** digits * value) / 10 ** digits;

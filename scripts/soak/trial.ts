/** One campaign and evaluations over it in an empty state directory, left alone or disturbed; and what they left behind. */
import { mkdir, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import pino from 'pino';
import { readRows } from '../../src/cli/rows.ts';
import { startCampaign, waitForCampaign, type CampaignRequest } from '../../src/client/campaigns.ts';
import { connectClient } from '../../src/client/connect.ts';
import { startEvaluation, waitForEvaluation, type EvaluationContext } from '../../src/client/evaluations.ts';
import { workflowIds } from '../../src/domain/ids.ts';
import { DEFAULT_QUEUE_PREFIX } from '../../src/domain/messages.ts';
import type { CampaignResult } from '../../src/domain/campaign.ts';
import { recordNames } from '../../src/domain/records.ts';
import { createDockerDriver } from '../../src/sandbox/docker.ts';
import { openState, type State } from '../../src/setup/state.ts';
import { stopEmbeddedTemporal } from '../../src/setup/temporalServer.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import type { OwnDaemon } from './daemon.ts';
import type { Fault } from './faults.ts';
import { predictions, wrongVerdicts } from './predictions.ts';
import { openWorld, whatRuns, type World } from './world.ts';

export interface TrialOptions {
  /** Empty, or not there yet. */
  readonly directory: string;
  readonly daemon: OwnDaemon;
  readonly request: CampaignRequest;
  readonly slots: number;
  readonly temporalCli: string | undefined;
  /** Empty for a trial that is left alone. */
  readonly faults: readonly Fault[];
  /** Makes the trial end early, with everything that it started. */
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

export interface InflictedFault extends Fault {
  /** Since the start of the trial. */
  readonly atMs: number;
  readonly phase: 'campaign' | 'evaluation';
  /** What the workers were busy with the moment before. */
  readonly running: string;
}

/** What a trial came to; everything that must not differ between one left alone and a disturbed one, and what was left over. */
export interface Trial {
  readonly dataset: string;
  readonly result: CampaignResult;
  /** The same predictions with another note in each, evaluated until every fault was inflicted. */
  readonly rounds: number;
  readonly evaluations: number;
  /** Verdicts that are not those which the predictions were made for. */
  readonly wrong: readonly string[];
  readonly faults: readonly InflictedFault[];
  readonly wallMs: number;
  readonly peakMemoryBytes: number;
  readonly lostWorkers: readonly string[];
  readonly containersLeft: readonly string[];
  readonly temporaryLeft: readonly string[];
  readonly instances: readonly { readonly id: string; readonly stages: readonly string[] }[];
  readonly recorded: readonly string[];
}

type Remains = Pick<
  Trial,
  'dataset' | 'lostWorkers' | 'containersLeft' | 'temporaryLeft' | 'instances' | 'recorded'
>;

const CAMPAIGN_SHARE = 0.65; // of the faults; the rest hits the evaluation
const MAX_ROUNDS = 50;

type Context = EvaluationContext & { readonly state: State };

export async function runTrial(options: TrialOptions): Promise<Trial> {
  const { directory } = options;
  const state = await openState(join(directory, 'state'));
  const temporary = join(directory, 'tmp');
  await mkdir(temporary, { recursive: true });
  const world = await openWorld({ ...options, state, temporary });
  try {
    const connected = await connectClient(world.temporal);
    const context = {
      client: connected.client,
      queuePrefix: DEFAULT_QUEUE_PREFIX,
      records: createFsRecordStore(state.paths.records),
      store: createFsArtefactStore(state.paths.artefacts),
      state,
    };
    const worked = await work(context, world, options);
    await world.stopWorker();
    // what died last is swept by whoever starts next
    await world.startWorker();
    await world.stopWorker();
    const trial = { ...worked, ...(await remains(context, world, options, worked.result, temporary)) };
    // only here: calls of a trial that failed are still being retried, and a retry over a closed connection ends the process
    await connected.close();
    return trial;
  } finally {
    await world.close();
    await stopEmbeddedTemporal(state);
  }
}

/** The campaign, then rounds of evaluations until every fault was inflicted. */
async function work(
  context: Context,
  world: World,
  options: TrialOptions,
): Promise<Omit<Trial, keyof Remains>> {
  const { request, faults, say } = options;
  const disturb = createDisturber(world, context.client, options);
  await world.startWorker();
  const startedMs = performance.now();
  await startCampaign(context, request);
  const share = Math.ceil(faults.length * CAMPAIGN_SHARE);
  const result = await disturb.during('campaign', share, waitForCampaign(context, request.name));
  say(`${request.name}: ${result.published} published`);
  const rows = await readRows({ stateDir: context.state.dir, store: context.store }, request.name);
  const wrong: string[] = [];
  let rounds = 0;
  let evaluations = 0;
  do {
    rounds += 1;
    const runId = `round-${rounds}`;
    const entries = predictions(rows.rows, rounds);
    const listed = rows.rows.map((row) => ({ row, provenCanaries: rows.provenCanaries(row.instance_id) }));
    await startEvaluation(context, { runId, dataset: result.dataset, rows: listed, entries });
    await disturb.during('evaluation', Infinity, waitForEvaluation(context, runId));
    wrong.push(...(await wrongVerdicts(context, runId, entries)));
    evaluations += entries.length;
  } while (disturb.left() > 0 && rounds < MAX_ROUNDS);
  say(`evaluated, ${rounds} ${rounds === 1 ? 'round' : 'rounds'}`);
  const wallMs = performance.now() - startedMs;
  const peakMemoryBytes = world.peakMemoryBytes();
  return { result, rounds, evaluations, wrong, faults: disturb.inflicted, wallMs, peakMemoryBytes };
}

/** What is there when all has ended: the dataset, the records, and what should not be there. */
async function remains(
  { client, records, state }: Context,
  world: World,
  { daemon, request }: TrialOptions,
  result: CampaignResult,
  temporary: string,
): Promise<Remains> {
  const campaign = recordNames.campaign(request.name);
  const recorded = await records.list(`${campaign}/instances`);
  const ids = recorded.flatMap((name) => /\/instances\/([^/]+)\/result$/.exec(name)?.[1] ?? []);
  return {
    dataset: await readFile(join(state.dir, result.dataset), 'utf8'),
    lostWorkers: world.lost,
    containersLeft: await containersOf(daemon, state),
    temporaryLeft: [...(await readdir(temporary)), ...(await temporaryFilesOf(state))],
    instances: await Promise.all(
      ids.map(async (id) => ({ id, stages: await completedStages(client, request.name, id) })),
    ),
    recorded,
  };
}

interface Disturber {
  readonly inflicted: readonly InflictedFault[];
  left(): number;
  /** Inflicts up to `share` of the faults that are left while `work` goes on, one after the other; returns what `work` does. */
  during<T>(phase: InflictedFault['phase'], share: number, work: Promise<T>): Promise<T>;
}

function createDisturber(world: World, client: Client, { faults, signal, say }: TrialOptions): Disturber {
  const waiting = [...faults];
  const inflicted: InflictedFault[] = [];
  const startedMs = performance.now();
  return {
    inflicted,
    left: () => waiting.length,
    async during(phase, share, wanted) {
      let over = false;
      const work = Promise.race([wanted, aborted(signal)]);
      const end = work.finally(() => (over = true)).catch(() => undefined);
      for (let count = 0; count < share; count += 1) {
        const [fault] = waiting;
        if (fault === undefined) break;
        await Promise.race([delay(fault.afterMs), end]);
        const running = over ? '' : await whatRuns(client);
        if (over) break;
        waiting.shift();
        const hit = { ...fault, atMs: performance.now() - startedMs, phase, running };
        inflicted.push(hit);
        say(`${(hit.atMs / 1_000).toFixed(1)} s: ${hit.signal} of ${hit.target} during ${hit.running}`);
        await world.inflict(fault);
      }
      return work;
    },
  };
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_resolve, reject) => {
    const stop = (): void => reject(new Error('The soak was interrupted.'));
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
  });

/** Files of the stores that were being written when their writer died. */
const temporaryFilesOf = async ({ dir, paths }: State): Promise<readonly string[]> =>
  (await Promise.all([paths.artefacts, paths.records].map((path) => readdir(path, { recursive: true }))))
    .flat()
    .filter((name) => name.endsWith('.tmp'))
    .map((name) => join(dir, '…', name));

async function containersOf(daemon: OwnDaemon, { installation }: State): Promise<readonly string[]> {
  const driver = createDockerDriver({
    socketPath: daemon.socketPath,
    log: pino({ level: 'silent' }),
    buildNetwork: { network: 'none', caBundle: null, env: {} },
  });
  return (await driver.list(installation)).map(({ labels }) => JSON.stringify(labels));
}

/** Stage of every activity that an instance's history says was completed, over all of its runs. */
async function completedStages(client: Client, campaign: string, id: string): Promise<readonly string[]> {
  const workflowId = workflowIds.instance(campaign, id);
  const stages: string[] = [];
  for await (const { runId } of client.workflow.list({ query: `WorkflowId = "${workflowId}"` })) {
    const { events } = await client.workflow.getHandle(workflowId, runId).fetchHistory();
    const scheduled = new Map<string, string>();
    for (const event of events ?? []) {
      const input = event.activityTaskScheduledEventAttributes?.input?.payloads?.[0]?.data;
      const { stage } = (input ? JSON.parse(Buffer.from(input).toString()) : {}) as { stage?: string };
      if (stage !== undefined) scheduled.set(String(event.eventId), stage);
      const done = scheduled.get(String(event.activityTaskCompletedEventAttributes?.scheduledEventId));
      if (done !== undefined) stages.push(done);
    }
  }
  return stages;
}

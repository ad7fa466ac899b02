import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import pino from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCampaign } from '../../src/cli/campaigns.ts';
import { campaignStatus, type CampaignContext } from '../../src/client/campaigns.ts';
import { QUEUE_ROLES } from '../../src/domain/messages.ts';
import type { CampaignResult } from '../../src/domain/campaign.ts';
import { openState, type State } from '../../src/setup/state.ts';
import { findServer } from '../../src/setup/temporalProcess.ts';
import { ensureTemporal, stopEmbeddedTemporal, type Temporal } from '../../src/setup/temporalServer.ts';
import { createFsRecordStore } from '../../src/store/fs.ts';
import { startWorkers } from '../../src/workers/main.ts';
import { eventually } from '../support/eventually.ts';
import { createStubs, type Stubs, type StubPlan } from '../support/stubs.ts';
import { quietRuntime, temporalServer, uniquePrefix, workflowBundle } from '../support/temporal.ts';
import { ids } from '../support/workflowBench.ts';

const AWAY_MS = 10_000; // every call made meanwhile fails; long enough for the follower to see it and say so

let dir: string;
let state: State;
let temporal: Temporal;
let connection: Connection;
const natives: NativeConnection[] = [];
beforeAll(async () => {
  quietRuntime();
  dir = await mkdtemp(join(tmpdir(), 'rf-gone-'));
  state = await openState(join(dir, 'state'));
  temporal = await ensure();
  // no retries by the SDK: an outage of ten seconds is then to the product what a long one is with them
  connection = await Connection.connect({ address: temporal.address, interceptors: [] });
});
afterAll(async () => {
  await connection.close();
  for (const native of natives) await native.close();
  await stopEmbeddedTemporal(state);
  await rm(dir, { recursive: true, force: true });
});

const ensure = (): Promise<Temporal> =>
  ensureTemporal({
    state,
    settings: { cacheDir: '/nowhere', temporalUiUrl: null },
    say: () => undefined,
    env: { HOME: dir, REPOFORGE_TEMPORAL_CLI: temporalServer().binary },
  });

interface Running {
  readonly context: CampaignContext;
  readonly stubs: Stubs;
  readonly lines: readonly string[];
  readonly result: Promise<CampaignResult>;
}

/** What `campaign run` does, with real workers on stub activities. */
function run(title: string, before?: StubPlan['before']): Running {
  const client = new Client({ connection });
  const queuePrefix = uniquePrefix(title);
  const stubs = createStubs(
    { client },
    {
      candidates: { 'pypi:alpha': ids('a', 6) },
      rejected: (id) => (id === 'a-05' ? { reason: 'no_fail_to_pass', detail: '' } : undefined),
      ...(before === undefined ? {} : { before }),
    },
  );
  const context = { client, queuePrefix, records: createFsRecordStore(join(dir, queuePrefix)) };
  const session = {
    ...context,
    temporal,
    async startWorkers() {
      const native = await NativeConnection.connect({ address: temporal.address });
      natives.push(native);
      return startWorkers({
        leases: null,
        roles: QUEUE_ROLES,
        connection: native,
        place: { queuePrefix, namespace: 'default', sizing: { sandboxSlots: 4, miningPerSecond: null } },
        activities: stubs.activities,
        bundle: workflowBundle(),
        log: pino({ level: 'silent' }),
      });
    },
  };
  const lines: string[] = [];
  const output = { json: true, say: (line: string) => void lines.push(line), result: () => undefined };
  const request = { name: 'gone', sources: [{ pypi: 'alpha' }], options: { width: 2, reconcileMs: 2_000 } };
  const result = runCampaign(session, request, output).then((ended) => ended.result);
  return { context, stubs, lines, result };
}

const callsFor = ({ calls }: Stubs, id: string): readonly string[] =>
  calls.filter(({ request }) => request['instanceId'] === id).map(({ activity }) => activity);

test('A campaign whose Temporal server is killed, stays away for 10 s in which every call fails, and comes back ends with the same result; the follower says so and waits', async () => {
  const calm = await run('calm').result;

  const held = { 'a-02': Promise.withResolvers<void>(), 'a-03': Promise.withResolvers<void>() };
  const arrived = new Set<string>();
  const disturbed = run('gone', ({ activity, request }) => {
    const id = String(request['instanceId']);
    if (activity !== 'labelInstance' || !(id === 'a-02' || id === 'a-03')) return undefined;
    arrived.add(id);
    return held[id].promise;
  });
  const { context, stubs, lines } = disturbed;
  await eventually(
    'two have ended and two are in the middle',
    async () =>
      arrived.size === 2 && (await campaignStatus(context, 'gone'))?.progress?.counts.accepted === 2,
    { timeoutMs: 30_000 },
  );
  const before = { 'a-00': callsFor(stubs, 'a-00'), 'a-01': callsFor(stubs, 'a-01') };

  const server = findServer(state.paths.temporal);
  process.kill(server?.pid ?? 0, 'SIGKILL');
  held['a-02'].resolve(); // ends while nobody can be told
  await delay(AWAY_MS);
  expect(lines.filter((line) => line.includes('does not answer'))).toEqual([
    `Temporal does not answer at ${temporal.address}; waiting until it does, nothing is lost. If it was ended: "repoforge dev" starts it again.`,
  ]);
  expect(await ensure()).toEqual(temporal);
  await eventually('the follower sees it', () => lines.includes('Temporal is back; the campaign goes on.'), {
    timeoutMs: 20_000,
  });
  held['a-03'].resolve();

  expect(await disturbed.result).toEqual(calm);
  expect(
    stubs
      .of('publishInstance')
      .map(({ request }) => String(request['instanceId']))
      .toSorted(),
  ).toEqual(ids('a', 5));
  expect(stubs.of('recordRejection')).toHaveLength(1);
  for (const id of ['a-00', 'a-01'] as const) expect(callsFor(stubs, id)).toEqual(before[id]);
  expect(
    lines.filter((line) => line.startsWith('Temporal ') && !line.startsWith('Temporal UI')),
  ).toHaveLength(2);
}, 120_000);

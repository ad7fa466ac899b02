import { NativeConnection } from '@temporalio/worker';
import type { Logger } from 'pino';
import { sweepLeft } from '../activities/janitor.ts';
import { connectClient } from '../client/connect.ts';
import type { CampaignContext } from '../client/campaigns.ts';
import { ensureJanitor } from '../client/janitor.ts';
import { QUEUE_ROLES } from '../domain/messages.ts';
import type { QueueRole } from '../domain/messages.ts';
import { workflowBundle } from '../workers/bundle.ts';
import { startWorkers } from '../workers/main.ts';
import type { RunningWorkers } from '../workers/main.ts';
import { installRuntime } from '../workers/runtime.ts';
import { createActivities, createDependencies, workerPlace } from './compose.ts';
import type { Dependencies } from './compose.ts';
import { openState } from './state.ts';
import type { State } from './state.ts';
import type { Settings } from './settings.ts';
import { ensureTemporal } from './temporalServer.ts';
import type { Temporal } from './temporalServer.ts';

/** One process's hold on an installation: its state, a Temporal server and a client; workers when asked for. */
export interface Session extends CampaignContext {
  readonly state: State;
  readonly settings: Settings;
  readonly temporal: Temporal;
  readonly deps: Dependencies;
  /** Starts workers of these roles in this process; all of them by default. */
  startWorkers(roles?: readonly QueueRole[]): Promise<RunningWorkers>;
  /** Closes the connections. An embedded server stays up: a campaign outlives the terminal that started it. */
  close(): Promise<void>;
}

/**
 * Opens the state directory, finds or starts Temporal, wires the dependencies and connects.
 * Throws one sentence that says what is missing and what to do.
 */
export async function openSession(options: {
  readonly settings: Settings;
  readonly log: Logger;
  readonly say: (line: string) => void;
}): Promise<Session> {
  const { settings, log, say } = options;
  const state = await openState(settings.stateDir);
  const temporal = await ensureTemporal({ state, settings, say, log });
  const deps = await createDependencies({ ...options, state });
  const connected = await connectClient(temporal);
  const { client } = connected;
  const place = workerPlace(settings, temporal.namespace);
  const connections: NativeConnection[] = [];
  return {
    state,
    settings,
    temporal,
    deps,
    client,
    records: deps.records,
    queuePrefix: place.queuePrefix,
    async startWorkers(roles = QUEUE_ROLES) {
      installRuntime(log); // not before: an idle native runtime keeps a process alive
      const connection = await NativeConnection.connect(temporal.connectionOptions);
      connections.push(connection);
      await sweepBefore(deps, roles, log);
      if (roles.includes('control')) await ensureJanitor(client, place.queuePrefix);
      const workers = await startWorkers({
        roles,
        connection,
        place,
        activities: createActivities(deps, client),
        bundle: await workflowBundle(),
        log,
        leases: deps.leases,
      });
      return {
        ended: workers.ended,
        async stop() {
          await workers.stop();
          await deps.episodes.closeAll();
          await deps.driver.settled(); // whoever stops workers finds no container of theirs
        },
      };
    },
    async close() {
      await deps.driver.settled();
      await connected.close();
      for (const connection of connections) await connection.close();
    },
  };
}

/** What a killed worker left goes before new work begins: its containers hold memory and cores. */
async function sweepBefore(deps: Dependencies, roles: readonly QueueRole[], log: Logger): Promise<void> {
  if (!roles.includes('sandbox')) return;
  try {
    const swept = await sweepLeft({ ...deps, installation: deps.state.installation });
    if (swept.containers + swept.files > 0) log.info(swept, 'swept what dead processes left');
  } catch (error) {
    log.warn({ err: error }, 'what dead processes left could not be swept; the janitor comes again');
  }
}

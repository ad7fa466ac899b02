/** What a soak disturbs: one worker, the embedded server, a daemon of its own; and how each is hit and brought back. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { defaultCacheDir, type State } from '../../src/setup/state.ts';
import { findServer } from '../../src/setup/temporalProcess.ts';
import { ensureTemporal, type Temporal } from '../../src/setup/temporalServer.ts';
import type { OwnDaemon } from './daemon.ts';
import type { Fault } from './faults.ts';
import { startWorkerProcess, type WorkerProcess } from './worker.ts';

export interface WorldOptions {
  readonly state: State;
  readonly daemon: OwnDaemon;
  /** Where the workers' temporary files lie. */
  readonly temporary: string;
  readonly slots: number;
  /** Path of the Temporal CLI; undefined = as the product finds it. */
  readonly temporalCli: string | undefined;
  /** Ends a fault's wait, so that an interrupted soak ends at once. */
  readonly signal: AbortSignal;
}

export interface World {
  readonly temporal: Temporal;
  /** Ends of workers that nobody asked for. */
  readonly lost: readonly string[];
  startWorker(): Promise<void>;
  stopWorker(): Promise<void>;
  inflict(fault: Fault): Promise<void>;
  /** Largest resident memory of any worker, bytes. */
  peakMemoryBytes(): number;
  /** Kills the workers that are there, frozen ones included. */
  close(): Promise<void>;
}

/** Starts the embedded server on the state directory; no worker yet. */
export async function openWorld(options: WorldOptions): Promise<World> {
  const { state, daemon, temporary, slots, signal: stop } = options;
  const env = environment(options);
  const workers: WorkerProcess[] = [];
  const lost: string[] = [];
  let peak = 0;
  const notePeak = (): void => {
    for (const worker of workers) peak = Math.max(peak, worker.peakMemoryBytes() ?? 0);
  };
  const ensureServer = (): Promise<Temporal> =>
    ensureTemporal({
      state,
      settings: { cacheDir: defaultCacheDir(), temporalUiUrl: null },
      say: () => undefined,
      env,
    });
  const startWorker = async (): Promise<void> => {
    const own = {
      REPOFORGE_STATE: state.dir,
      REPOFORGE_CACHE: defaultCacheDir(),
      REPOFORGE_SANDBOX_SLOTS: String(slots),
      REPOFORGE_BUILD_NETWORK: 'host', // the daemon's bridge leads nowhere
      REPOFORGE_BASE_REGISTRY: 'none',
      REPOFORGE_LOG_LEVEL: process.env['REPOFORGE_LOG_LEVEL'] ?? 'error',
      DOCKER_HOST: `unix://${daemon.socketPath}`,
      TMPDIR: temporary,
    };
    const worker: WorkerProcess = await startWorkerProcess({ ...env, ...own }, state.dir, (how) => {
      lost.push(how);
      workers.splice(workers.indexOf(worker), 1);
      void startWorker(); // the soak goes on, and tells in the end
    });
    workers.push(worker);
  };
  const end = async (worker: WorkerProcess | undefined, name: 'SIGKILL' | 'SIGTERM'): Promise<void> => {
    if (worker === undefined) return;
    notePeak();
    workers.splice(workers.indexOf(worker), 1);
    await worker.end(name);
  };
  const pause = (ms: number): Promise<void> => delay(ms, undefined, { signal: stop });
  const hit: Record<Fault['target'], (fault: Fault) => Promise<void>> = {
    async worker({ signal, awayMs }) {
      const [worker] = workers;
      if (signal !== 'SIGSTOP') {
        await end(worker, 'SIGKILL');
        await pause(awayMs);
        return startWorker();
      }
      worker?.signal('SIGSTOP');
      await startWorker(); // somebody sees that it is silent; then it wakes up beside its successor
      await pause(awayMs);
      worker?.signal('SIGCONT');
      await pause(1_000);
      return end(worker, 'SIGTERM');
    },
    async server({ signal, awayMs }) {
      const server = findServer(state.paths.temporal);
      if (server === null) throw new Error('The embedded server is gone, and nobody killed it.');
      process.kill(server.pid, signal);
      await pause(awayMs);
      if (signal === 'SIGSTOP') process.kill(server.pid, 'SIGCONT');
      await ensureServer();
    },
    async dockerd({ signal, awayMs }) {
      if (!daemon.signal(signal)) throw new Error('dockerd is gone, and nobody killed it.');
      if (signal !== 'SIGSTOP') await daemon.gone();
      await pause(awayMs);
      if (signal === 'SIGSTOP') daemon.signal('SIGCONT');
      else await daemon.start();
    },
  };
  return {
    temporal: await ensureServer(),
    lost,
    startWorker,
    stopWorker: () => end(workers[0], 'SIGTERM'),
    inflict: (fault) => hit[fault.target](fault),
    peakMemoryBytes() {
      notePeak();
      return peak;
    },
    async close() {
      while (workers.length > 0) await end(workers[0], 'SIGKILL');
    },
  };
}

/** Ours without what would lead to other servers, daemons and money. */
function environment({ temporalCli }: WorldOptions): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(TEMPORAL_|GITHUB_|OPENAI_|DOCKER_|REPOFORGE_LABEL)/.test(name),
  );
  return {
    ...Object.fromEntries(kept),
    ...(temporalCli === undefined ? {} : { REPOFORGE_TEMPORAL_CLI: temporalCli }),
  };
}

const LOOK_MS = 3_000;
const STARTED = 2; // PENDING_ACTIVITY_STATE_STARTED

/** What the workers are busy with, e.g. `evaluatePrediction, runTests ×2`; `?` when Temporal does not say so in time. */
export async function whatRuns(client: Client): Promise<string> {
  const counts = new Map<string, number>();
  try {
    await client.withDeadline(Date.now() + LOOK_MS, async () => {
      for await (const { workflowId } of client.workflow.list({ query: 'ExecutionStatus = "Running"' })) {
        const { raw } = await client.workflow.getHandle(workflowId).describe();
        for (const { activityType, state } of raw.pendingActivities ?? []) {
          const name = activityType?.name ?? '?';
          if (state === STARTED) counts.set(name, (counts.get(name) ?? 0) + 1);
        }
      }
    });
  } catch {
    return '?';
  }
  const busy = [...counts].sort(([a], [b]) => a.localeCompare(b));
  if (busy.length === 0) return 'nothing';
  return busy.map(([name, count]) => (count === 1 ? name : `${name} ×${count}`)).join(', ');
}

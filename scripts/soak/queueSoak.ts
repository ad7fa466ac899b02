/** Evaluations by the hundred on a daemon of the soak's own: a campaign for one row, then the queue. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readRows } from '../../src/cli/rows.ts';
import { startCampaign, waitForCampaign } from '../../src/client/campaigns.ts';
import { connectClient } from '../../src/client/connect.ts';
import { DEFAULT_QUEUE_PREFIX } from '../../src/domain/messages.ts';
import { openState } from '../../src/setup/state.ts';
import { stopEmbeddedTemporal } from '../../src/setup/temporalServer.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import { startOwnDaemon, type OwnDaemon } from './daemon.ts';
import { runQueue, type QueueReport } from './queue.ts';
import { bringImage, type SoakOptions } from './soak.ts';
import { openWorld } from './world.ts';

export interface QueueSoakOptions extends Omit<SoakOptions, 'faults'> {
  readonly evaluations: number;
}

/** Queues the evaluations and returns what that asked of the host. Everything that it started has ended when it returns or throws. */
export async function queueSoak(options: QueueSoakOptions): Promise<QueueReport> {
  const daemonDirectory = join(options.directory, 'daemon');
  const daemon = await startOwnDaemon(daemonDirectory);
  try {
    await bringImage(daemon.docker, options.say);
    return await queueOn(daemon, options);
  } finally {
    await daemon.close();
    await rm(daemonDirectory, { recursive: true, force: true });
  }
}

async function queueOn(daemon: OwnDaemon, options: QueueSoakOptions): Promise<QueueReport> {
  const { directory, request, slots, temporalCli, evaluations, say } = options;
  const { signal = new AbortController().signal } = options;
  const state = await openState(join(directory, 'state'));
  const temporary = join(directory, 'tmp');
  await mkdir(temporary, { recursive: true });
  const world = await openWorld({ state, daemon, temporary, slots, temporalCli, signal });
  try {
    const connected = await connectClient(world.temporal);
    const records = createFsRecordStore(state.paths.records);
    const store = createFsArtefactStore(state.paths.artefacts);
    const context = { client: connected.client, queuePrefix: DEFAULT_QUEUE_PREFIX, records, store };
    const interrupted = new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(new Error('The soak was interrupted.')), { once: true });
    });
    const work = async (): Promise<QueueReport> => {
      await world.startWorker();
      await startCampaign(context, request);
      await waitForCampaign(context, request.name);
      return runQueue({
        context,
        rows: await readRows({ stateDir: state.dir, store }, request.name),
        evaluations,
        countContainers: async () => (await daemon.docker.listContainers()).length,
        workerMemoryBytes: () => world.peakMemoryBytes(),
        say,
      });
    };
    const report = await Promise.race([work(), interrupted]);
    await world.stopWorker();
    await connected.close();
    return report;
  } finally {
    await world.close();
    await stopEmbeddedTemporal(state);
  }
}

import { WorkflowNotFoundError } from '@temporalio/client';
import type { Client } from '@temporalio/client';
import type { RolloutOutcome, Trajectory } from '../domain/rl/trajectory.ts';
import type { RlManifest } from '../domain/rl/options.ts';
import type { RolloutInput } from '../domain/rl/messages.ts';
import type { TrainingBatch } from '../domain/rl/training.ts';
import { batchSamples, spread } from '../domain/rl/samples.ts';
import { appendHeldOut, appendStep } from '../report/rlLog.ts';
import { writeRlReport } from '../report/rlReport.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';
import type { RlControlActivities } from './rlTypes.ts';

export interface RlControlDeps {
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  readonly client: Client;
  readonly stateDir: string;
}

/** Book-keeping of a training run: prompts, batches, its log and report. All safe to repeat. */
export function createRlControlActivities(deps: RlControlDeps): RlControlActivities {
  const { store, records } = deps;
  return {
    async readPrompts({ manifest: ref, indices, heldOut }) {
      const manifest = await store.getJson<RlManifest>(ref);
      const list = heldOut ? manifest.heldOut : manifest.prompts;
      const prompts = indices.map((index) => {
        const prompt = list[index];
        if (prompt === undefined) throw new Error(`the manifest has no prompt ${index}`);
        return prompt;
      });
      return { prompts, servers: manifest.servers };
    },
    describeRollouts: async ({ workflowIds }) =>
      Promise.all(workflowIds.map(async (workflowId) => describe(deps.client, workflowId))),
    async formBatch({ run, options, step, version, groups }) {
      const read = await Promise.all(
        groups.map(async ({ id, trajectories }) => ({
          id,
          trajectories: await Promise.all(trajectories.map(async (ref) => store.getJson<Trajectory>(ref))),
        })),
      );
      const { samples, forks, tokens, reward, staleness } = batchSamples(read, options, version);
      const batch: TrainingBatch = { schema: 1, run, step, samples };
      return {
        batch: await store.putJson(batch),
        samples: samples.length,
        tokens,
        forks,
        staleness: spread(staleness),
        trainedReward: reward,
      };
    },
    recordStep: async ({ run, step, timeline }) => appendStep({ records, store, run }, { step, timeline }),
    recordHeldOut: async ({ run, step, reward, episodes, trajectories }) =>
      appendHeldOut({ records, store, run }, { step, reward, episodes, trajectories }),
    writeRlReport: async ({ run, manifest, options, state, note }) => ({
      report: await writeRlReport({ ...deps, run, manifest, options, state, note }),
    }),
  };
}

/** A rollout that has ended, whatever the end, is told with what it returned. */
async function describe(
  client: Client,
  workflowId: string,
): Promise<Awaited<ReturnType<RlControlActivities['describeRollouts']>>[number]> {
  const handle = client.workflow.getHandle<(input: RolloutInput) => Promise<RolloutOutcome>>(workflowId);
  try {
    const { status } = await handle.describe();
    if (status.name === 'RUNNING') return { workflowId, alive: true, report: null };
    if (status.name !== 'COMPLETED') return { workflowId, alive: false, report: null };
    const outcome = await handle.result();
    const members = outcome.episodes.map(({ member }) => member);
    return { workflowId, alive: false, report: { group: outcome.group, members, outcome } };
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return { workflowId, alive: false, report: null };
    throw error;
  }
}

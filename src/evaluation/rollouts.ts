import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { passAtKTable } from '../domain/rl/passAtK.ts';
import type { RolloutsManifest, RolloutsReport } from '../domain/rl/rollouts.ts';
import type { Trajectory, TrajectoryEpisode } from '../domain/rl/trajectory.ts';
import type { ArtefactRef } from '../domain/types.ts';
import type { Prediction } from '../domain/verdicts.ts';
import { writeAtomically } from '../report/write.ts';

/** An instance's attempts, and the one that a selector chose. */
export interface PlayedInstance {
  readonly instanceId: string;
  readonly episodes: readonly (TrajectoryEpisode & { readonly text: string | null })[];
  readonly trajectories: readonly Trajectory[];
  /** Patch that the selector chose; null where it was not asked, or chose none. */
  readonly chosen: ArtefactRef | null;
}

type Attempt = PlayedInstance['episodes'][number];

/** What stays of an instance when its trajectories are written. */
interface Graded {
  readonly instanceId: string;
  readonly chosen: Attempt | null;
  readonly n: number;
  readonly c: number;
  readonly lines: readonly string[];
}

/**
 * Writes a run's predictions and trajectories under `<state>/rollouts/<run>`: `preds.json` with one prediction for each
 * instance (a dictionary by instance, as SWE-agent's), `predictions.jsonl` with all, `trajectories/<instance>.<member>.json`.
 */
export async function writeRolloutsReport(input: {
  readonly stateDir: string;
  readonly manifest: RolloutsManifest;
  /** One at a time: trajectories are large. */
  readonly instances: AsyncIterable<PlayedInstance>;
}): Promise<RolloutsReport> {
  const { manifest } = input;
  const dir = join(input.stateDir, 'rollouts', manifest.run);
  const trajectories = join(dir, 'trajectories');
  await mkdir(trajectories, { recursive: true });
  const graded: Graded[] = [];
  for await (const instance of input.instances) {
    await writeTrajectories(trajectories, instance);
    graded.push(gradedOf(manifest, instance));
  }
  const chosen = graded.flatMap((one) => (one.chosen === null ? [] : [{ ...one, chosen: one.chosen }]));
  const entries = chosen.map(
    ({ instanceId, chosen: attempt }) => [instanceId, predictionOf(manifest, instanceId, attempt)] as const,
  );
  const preds = join(dir, 'preds.json');
  await writeAtomically(preds, `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`);
  const predictions = join(dir, 'predictions.jsonl');
  await writeAtomically(predictions, graded.flatMap(({ lines }) => lines).join(''));
  return {
    preds,
    predictions,
    trajectories,
    passAtK: passAtKTable(graded),
    chosen: {
      resolved: chosen.filter(({ chosen: { reward } }) => reward === 1).length,
      instances: chosen.length,
    },
  };
}

async function writeTrajectories(dir: string, { instanceId, trajectories }: PlayedInstance): Promise<void> {
  for (const trajectory of trajectories)
    for (const episode of trajectory.episodes)
      await writeAtomically(
        join(dir, `${instanceId}.${episode.member}.json`),
        `${JSON.stringify({ ...trajectory, episodes: [episode] }, null, 1)}\n`,
      );
}

function gradedOf(manifest: RolloutsManifest, instance: PlayedInstance): Graded {
  const { instanceId, episodes } = instance;
  const chosen = chosenOf(instance);
  const rewards = episodes.flatMap(({ reward }) => (reward === null ? [] : [reward]));
  return {
    instanceId,
    chosen: chosen === null ? null : { ...chosen, steps: [] },
    n: rewards.length,
    c: rewards.filter((reward) => reward === 1).length,
    lines: episodes.map((episode) => lineOf(manifest, instanceId, episode, episode === chosen)),
  };
}

/** What the selector chose; else the first attempt that infrastructure did not end. */
function chosenOf({ episodes, chosen }: PlayedInstance): Attempt | null {
  const played = episodes.filter(({ reward }) => reward !== null);
  return played.find(({ patch }) => chosen !== null && patch === chosen) ?? played[0] ?? null;
}

const predictionOf = ({ model }: RolloutsManifest, instanceId: string, { text }: Attempt): Prediction => ({
  instance_id: instanceId,
  model_name_or_path: model,
  model_patch: text ?? '',
});

function lineOf(manifest: RolloutsManifest, instanceId: string, episode: Attempt, chosen: boolean): string {
  const { member, end, verdict, reward, turns, sampledTokens } = episode;
  const prediction = predictionOf(manifest, instanceId, episode);
  const line = { ...prediction, member, chosen, end, verdict, reward, turns, sampled_tokens: sampledTokens };
  return `${JSON.stringify(line)}\n`;
}

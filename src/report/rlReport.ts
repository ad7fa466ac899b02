import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RlManifest, RlOptions } from '../domain/rl/options.ts';
import { isInfra } from '../domain/rl/trajectory.ts';
import type { Trajectory } from '../domain/rl/trajectory.ts';
import type { ArtefactRef } from '../domain/types.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';
import { readRlLog, type RlLog, type RlLogEntry, type RolloutDigest } from './rlLog.ts';
import { buildRlReport } from './rlModel.ts';
import { rlPage } from './rlPage.ts';
import { firstPrompt, type PromptContext } from './rlPrompts.ts';
import {
  trajectoryFile,
  trajectoryPage,
  type SampleReason,
  type TrajectoryView,
} from './rlTrajectoryPage.ts';
import { writeAtomically } from './write.ts';

export interface RlReportRequest {
  readonly records: RecordStore;
  readonly store: ArtefactStore;
  readonly stateDir: string;
  readonly run: string;
  /** JSON artefact of `RlManifest`. */
  readonly manifest: ArtefactRef;
  readonly options: RlOptions;
  readonly state: string;
  readonly note: string;
}

const SAMPLES_OF_EACH = 3;

/**
 * Writes `<state>/rl/<run>/report/` (`index.html`, `trajectories/<group>-<member>.html`) and `figures.json` beside it, and
 * returns the path of the first page. Safe to repeat; a reader never sees half a report.
 */
export async function writeRlReport(request: RlReportRequest): Promise<string> {
  const { records, store, stateDir, run, options, state, note } = request;
  const manifest = await store.getJson<RlManifest>(request.manifest);
  const log = await readRlLog(records, run);
  const report = buildRlReport({ log, options, manifest, state, note });
  const trajectories = await sampleTrajectories({ store, manifest, options }, log);
  const home = join(stateDir, 'rl', run);
  const dir = join(home, 'report');
  const fresh = `${dir}.${process.pid}.tmp`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(join(fresh, 'trajectories'), { recursive: true });
  await writeFile(join(fresh, 'index.html'), rlPage(report, trajectories));
  for (const view of trajectories)
    await writeFile(join(fresh, trajectoryFile(view)), trajectoryPage(run, view));
  await rm(dir, { recursive: true, force: true });
  await rename(fresh, dir);
  await writeAtomically(join(home, 'figures.json'), `${JSON.stringify(report.figures, null, 2)}\n`);
  return join(dir, 'index.html');
}

interface Sample {
  readonly why: SampleReason;
  readonly fate: string;
  readonly rollout: RolloutDigest;
  readonly member: number;
}

/** A few episodes that are worth a look, each of another group where there are enough. */
async function sampleTrajectories(context: PromptContext, log: RlLog): Promise<readonly TrajectoryView[]> {
  const { store } = context;
  const views: TrajectoryView[] = [];
  for (const { why, fate, rollout, member } of samplesOf(log)) {
    if (!(await store.has(rollout.trajectory))) continue;
    const trajectory = await store.getJson<Trajectory>(rollout.trajectory);
    const episode = trajectory.episodes.find((one) => one.member === member);
    if (episode === undefined) continue;
    views.push({ why, fate, trajectory, episode, prompt: await firstPrompt(context, trajectory) });
  }
  return views;
}

/** Latest, best and worst by reward; of equal ones the newest. */
function samplesOf(log: RlLog): readonly Sample[] {
  const newest = log.entries
    .toReversed()
    .flatMap((entry) =>
      entry.rollouts
        .toReversed()
        .flatMap((rollout) =>
          rollout.episodes
            .filter(({ end, turns }) => !isInfra(end) && turns > 0)
            .map((episode) => ({ rollout, fate: fateOf(entry, rollout.group), ...episode })),
        ),
    );
  const rated = newest.filter(({ reward }) => reward !== null);
  const lists: readonly (readonly [SampleReason, typeof newest])[] = [
    ['latest', newest],
    ['best', rated.toSorted((a, b) => (b.reward ?? 0) - (a.reward ?? 0))],
    ['worst', rated.toSorted((a, b) => (a.reward ?? 0) - (b.reward ?? 0))],
  ];
  const taken = new Set<string>();
  return lists.flatMap(([why, list]) => {
    const chosen: Sample[] = [];
    for (const { rollout, member, fate } of list) {
      if (chosen.length === SAMPLES_OF_EACH) break;
      if (taken.has(rollout.group)) continue;
      taken.add(rollout.group);
      chosen.push({ why, fate, rollout, member });
    }
    return chosen;
  });
}

function fateOf({ step, timeline }: RlLogEntry, group: string): string {
  const fate = timeline.groups.find(({ id }) => id === group)?.fate;
  if (fate === 'trained') return `trained in step ${step.step}`;
  return `dropped before step ${step.step}: ${fate === 'no_variance' ? 'no variance' : (fate ?? 'unknown')}`;
}

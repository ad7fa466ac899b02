import { relative } from 'node:path';
import type { SelectorTask } from '../agents/types.ts';
import { groupIds } from '../domain/rl/groupIds.ts';
import type { RolloutInput } from '../domain/rl/messages.ts';
import { sharesPrompt } from '../domain/rl/rollouts.ts';
import type { RolloutsInput, RolloutsManifest, RolloutsPhase } from '../domain/rl/rollouts.ts';
import type { RolloutOutcome, Trajectory } from '../domain/rl/trajectory.ts';
import { recordNames } from '../domain/records.ts';
import type { ArtefactRef, InstanceRow } from '../domain/types.ts';
import { writeRolloutsReport } from '../evaluation/rollouts.ts';
import type { PlayedInstance } from '../evaluation/rollouts.ts';
import { recordedName } from './rolloutRecords.ts';
import type { RecordDeps } from './rolloutRecords.ts';
import type { RolloutUnit, RolloutsControlActivities } from './rolloutsTypes.ts';
import { withWork } from './work.ts';
import type { WorkDeps } from './work.ts';

export interface RolloutsDeps extends WorkDeps, RecordDeps {
  readonly stateDir: string;
}

/** A run of rollouts, page by page, and its report from the records. */
export function createRolloutsActivities(deps: RolloutsDeps): RolloutsControlActivities {
  return {
    readRollouts: ({ queuePrefix, manifest: ref, servers, phase, offset, count }) =>
      withWork(deps, undefined, async () => {
        const manifest = await deps.store.getJson<RolloutsManifest>(ref);
        const units: RolloutUnit[] = [];
        for (let index = offset; index < offset + count; index += 1) {
          const input = await unitOf(deps, manifest, phase, index, { queuePrefix, servers });
          units.push({ input, settled: input === null ? null : await outcomeOf(deps, input) });
        }
        return units;
      }),
    writeRollouts: ({ manifest: ref }) =>
      withWork(deps, undefined, async () => {
        const manifest = await deps.store.getJson<RolloutsManifest>(ref);
        const { preds, predictions, trajectories, ...figures } = await writeRolloutsReport({
          stateDir: deps.stateDir,
          manifest,
          instances: allPlayed(deps, manifest),
        });
        const short = (path: string): string => relative(deps.stateDir, path);
        return {
          ...figures,
          preds: short(preds),
          predictions: short(predictions),
          trajectories: short(trajectories),
        };
      }),
  };
}

/** Where a start of the run samples and works. */
type Where = Pick<RolloutsInput, 'queuePrefix' | 'servers'>;

async function unitOf(
  deps: RolloutsDeps,
  manifest: RolloutsManifest,
  phase: RolloutsPhase,
  index: number,
  where: Where,
): Promise<RolloutInput | null> {
  if (phase === 'select') return choiceOf(deps, manifest, index, where);
  if (sharesPrompt(manifest)) return inputOf(manifest, index, attemptsOf(manifest), where);
  const instance = Math.floor(index / manifest.attempts);
  return inputOf(manifest, instance, [index % manifest.attempts], where);
}

const attemptsOf = ({ attempts }: RolloutsManifest): readonly number[] =>
  Array.from({ length: attempts }, (_none, member) => member);

function inputOf(
  manifest: RolloutsManifest,
  index: number,
  members: readonly number[],
  where: Where,
): RolloutInput {
  const instance = manifest.instances[index];
  if (instance === undefined) throw new Error(`the manifest has no instance ${index}`);
  const { run, agent, model, temperature, budget, seed } = manifest;
  const { queuePrefix, servers } = where;
  return {
    run,
    queuePrefix,
    group: groupIds.attempts(index),
    members,
    agent,
    ...instance,
    policy: { servers, choice: 'pinned', model, version: null },
    temperature,
    budget,
    seed,
    candidateOrder: 'shuffled',
    parent: null, // children of whoever waits for them
  };
}

/** The selector's one look at an instance's patches; null where there are no two to choose from. */
async function choiceOf(
  deps: RolloutsDeps,
  manifest: RolloutsManifest,
  index: number,
  where: Where,
): Promise<RolloutInput | null> {
  const { patches, base } = await playedOf(deps, manifest, index);
  const distinct = [...new Set(patches.flatMap(({ ref }) => ref ?? []))];
  if (manifest.selectModel === null || distinct.length < 2) return null;
  const row = await deps.store.getJson<InstanceRow>(base.row);
  const task: SelectorTask = {
    schema: 1,
    instanceId: base.instanceId,
    place: index,
    problem: row.problem_statement,
    candidates: await Promise.all(
      distinct.map(async (ref) => ({ patch: await deps.store.getText(ref), origin: 'model' as const })),
    ),
  };
  return {
    ...inputOf(manifest, index, [0], where),
    group: groupIds.choice(index),
    agent: 'selector',
    task: await deps.store.putJson(task),
    temperature: 0, // the choice that the model thinks best
    policy: { servers: where.servers, choice: 'pinned', model: manifest.selectModel, version: null },
  };
}

const outcomeOf = (
  { records }: RecordDeps,
  rollout: Pick<RolloutInput, 'run' | 'group' | 'members'>,
): Promise<RolloutOutcome | null> =>
  records.read<RolloutOutcome>(recordNames.rolloutOutcome(recordedName(rollout)));

async function* allPlayed(deps: RolloutsDeps, manifest: RolloutsManifest): AsyncGenerator<Played> {
  for (const index of manifest.instances.keys()) yield playedOf(deps, manifest, index);
}

interface Played extends PlayedInstance {
  readonly base: RolloutsManifest['instances'][number];
  readonly patches: readonly { readonly member: number; readonly ref: ArtefactRef | null }[];
}

/** All that is recorded of an instance: its attempts by member, and what was chosen of them. */
async function playedOf(deps: RolloutsDeps, manifest: RolloutsManifest, index: number): Promise<Played> {
  const base = manifest.instances[index];
  if (base === undefined) throw new Error(`the manifest has no instance ${index}`);
  const { run } = manifest;
  const group = groupIds.attempts(index);
  const members = attemptsOf(manifest);
  const parts = sharesPrompt(manifest) ? [members] : members.map((member) => [member]);
  const outcomes = await Promise.all(
    parts.map(async (part) => outcomeOf(deps, { run, group, members: part })),
  );
  const trajectories = await Promise.all(outcomes.map(async (outcome) => trajectoryOf(deps, outcome)));
  const chosen = await trajectoryOf(
    deps,
    await outcomeOf(deps, { run, group: groupIds.choice(index), members: [0] }),
  );
  const episodes = trajectories.flatMap((trajectory) => trajectory?.episodes ?? []);
  const patches = episodes.map(({ member, patch }) => ({ member, ref: patch }));
  return {
    base,
    patches,
    instanceId: base.instanceId,
    trajectories: trajectories.filter((trajectory) => trajectory !== null),
    episodes: await Promise.all(
      episodes.map(async (episode) => ({
        ...episode,
        text: episode.patch === null ? null : await deps.store.getText(episode.patch),
      })),
    ),
    chosen: chosen?.episodes[0]?.patch ?? null,
  };
}

const trajectoryOf = async (
  { store }: RecordDeps,
  outcome: RolloutOutcome | null,
): Promise<Trajectory | null> =>
  outcome === null || outcome.trajectory === null ? null : store.getJson<Trajectory>(outcome.trajectory);

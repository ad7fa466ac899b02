import { ApplicationFailure } from '@temporalio/common';
import { briefAction, parseAnswer } from '../agents/coder.ts';
import { comparable } from '../agents/observation.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { recordNames } from '../domain/records.ts';
import type { RolloutInput } from '../domain/rl/messages.ts';
import type { Step } from '../domain/rl/trajectory.ts';
import type { EnvironmentSpec, InstanceRow } from '../domain/types.ts';
import type { AgentWorkspace } from '../ecosystems/python/agentWorkspace.ts';
import type { Ecosystem, WorkContext } from '../ecosystems/types.ts';
import { doAction } from './coderActs.ts';
import type { Episode, Episodes } from './episodes.ts';
import { observationCharacters } from './rolloutBudget.ts';
import { recordedName, rolloutRecords } from './rolloutRecords.ts';
import type { PatchRecord, RecordDeps, RolloutRecords } from './rolloutRecords.ts';
import type { RolloutHostActivities, RolloutSandboxActivities } from './rlTypes.ts';
import { withWork } from './work.ts';
import type { WorkDeps } from './work.ts';

/** Opening, replaying and closing happen outside of the time that the workflow counts, or after it. */
const LIFE_BEYOND_WALL_MS = 60 * 60_000;

export interface RolloutHostDeps extends WorkDeps, RecordDeps {
  readonly episodes: Episodes;
  readonly openWorkspace: (row: InstanceRow, context: WorkContext) => Promise<AgentWorkspace>;
  readonly ecosystemFor: (runtimes: null) => Pick<Ecosystem, 'realise'>;
  readonly assertRoom: () => Promise<void>;
}

/** Workspaces of episodes on this host: opened where a sandbox slot is free, then reached over the host's own queue. */
export function createRolloutHost(
  deps: RolloutHostDeps,
): Pick<RolloutSandboxActivities, 'openEpisode'> & RolloutHostActivities {
  const { episodes } = deps;
  return {
    openEpisode: ({ rollout, fence }) =>
      withWork(deps, undefined, async (context) => {
        const key = recordedName(rollout);
        const lifeMs = rollout.budget.maxWallMs + LIFE_BEYOND_WALL_MS;
        await deps.assertRoom();
        const episode = await episodes.open(key, { fence, lifeMs }, () => opened(deps, rollout, context));
        try {
          return { host: episodes.host, diverged: await replay(deps, rollout, episode, context.signal) };
        } catch (error) {
          await episodes.close(key, fence);
          throw error;
        }
      }),
    actOnTurn: ({ rollout, turn, fence }) =>
      withWork(deps, undefined, async ({ signal }) => {
        const episode = await episodes.get(recordedName(rollout), fence);
        const step = await actOnce(rolloutRecords(deps, rollout), { rollout, turn, signal }, episode);
        return { end: null, told: toldOf(step) };
      }),
    closeEpisode: ({ rollout, fence, discard }) =>
      withWork(deps, undefined, async () => {
        const key = recordedName(rollout);
        const closed = discard ? null : await takePatch(deps, key, fence);
        await episodes.close(key, fence);
        return closed ?? { patch: null, note: '' };
      }),
  };
}

/** Opens the row's workspace; an environment that `gc` took is made again, once. */
async function opened(
  deps: RolloutHostDeps,
  rollout: RolloutInput,
  context: WorkContext,
): Promise<AgentWorkspace> {
  const row = await deps.store.getJson<InstanceRow>(rollout.row);
  try {
    return await deps.openWorkspace(row, context);
  } catch (error) {
    if (!(error instanceof ApplicationFailure && error.type === FAILURE_TYPES.missingMount)) throw error;
    const spec = await deps.store.getJson<EnvironmentSpec>(row.environment_spec);
    await deps.ecosystemFor(null).realise(spec, row.environment.variant, context);
    return deps.openWorkspace(row, context);
  }
}

/** Does the recorded steps again; says where one came out otherwise than it is recorded, or null. */
async function replay(
  deps: RolloutHostDeps,
  rollout: RolloutInput,
  episode: Episode,
  signal: AbortSignal,
): Promise<string | null> {
  for (const [turn, { call, step }] of (await rolloutRecords(deps, rollout).turns()).entries()) {
    if (step === null) break;
    const action = parseAnswer(call.choices[0] ?? { text: '' });
    const again = await doAction(episode.workspace, action, {
      observationCharacters: observationCharacters(rollout.budget),
      signal,
    });
    if (!isSame(step, again)) return `turn ${turn} (${briefAction(action)}): ${difference(step, again)}`;
    episode.applied = turn + 1;
  }
  return null;
}

/**
 * Does what the answer of this turn says, unless this workspace has done it already, and records it. Where another worker
 * has recorded the turn meanwhile with something else, this workspace is not the recorded one.
 */
async function actOnce(
  records: RolloutRecords,
  { rollout, turn, signal }: { rollout: RolloutInput; turn: number; signal: AbortSignal },
  episode: Episode,
): Promise<Step> {
  const done = turn < episode.applied ? await records.readStep(turn) : null;
  if (done !== null) return done;
  const call = await records.readCall(turn);
  if (call === null || turn !== episode.applied)
    throw permanentFailure(
      FAILURE_TYPES.episodeLost,
      `${records.name}: turn ${turn} is asked for, and ${episode.applied} turns were done here.`,
    );
  const action = parseAnswer(call.choices[0] ?? { text: '' });
  const mine = await doAction(episode.workspace, action, {
    observationCharacters: observationCharacters(rollout.budget),
    signal,
  });
  const { step, created } = await records.recordStep(turn, mine);
  if (!created && !isSame(step, mine))
    throw permanentFailure(
      FAILURE_TYPES.episodeLost,
      `${records.name}: turn ${turn} was recorded by another worker: ${difference(step, mine)}`,
    );
  episode.applied = turn + 1;
  return step;
}

const isSame = (recorded: Step, again: Step): boolean =>
  recorded.digest === again.digest ||
  comparable(recorded.observation ?? '') === comparable(again.observation ?? '');

/** The first line that differs, as it was and as it is. */
function difference(recorded: Step, again: Step): string {
  const [was, is] = [recorded, again].map(({ observation }) => comparable(observation ?? '').split('\n'));
  const at = (was ?? []).findIndex((line, index) => line !== is?.[index]);
  const quote = (line: string | undefined): string => JSON.stringify((line ?? '').slice(0, 120));
  return `${quote(was?.[at])} became ${quote(is?.[at])}`;
}

/** The change of the tree, taken once: nothing may be added to it afterwards. */
async function takePatch(
  deps: RolloutHostDeps,
  key: string,
  fence: number,
): Promise<Omit<PatchRecord, 'schema'>> {
  const name = recordNames.rolloutPatch(key);
  const known = await deps.records.read<PatchRecord>(name);
  const { patch, note } = known ?? (await recordPatch(deps, name, await deps.episodes.get(key, fence)));
  return { patch, note };
}

async function recordPatch(
  { records, store }: RecordDeps,
  name: string,
  { workspace }: Episode,
): Promise<PatchRecord> {
  const taken = await workspace.takePatch();
  const record: PatchRecord = {
    schema: 1,
    patch: taken.ok && taken.patch.length > 0 ? await store.put(taken.patch) : null,
    note: taken.ok ? '' : taken.note,
  };
  return (await records.record(name, record)).value;
}

function toldOf({ action, exitCode, startedMs, endedMs }: Step): string {
  if (action === 'invalid') return 'no action';
  const seconds = ((endedMs - startedMs) / 1000).toFixed(1);
  return `${exitCode === null ? 'timed out' : `exit ${exitCode}`}, ${seconds} s`;
}

import type {
  RolloutHostActivities,
  RolloutLlmActivities,
  RolloutSandboxActivities,
} from '../../src/activities/rlTypes.ts';
import type { RolloutsControlActivities } from '../../src/activities/rolloutsTypes.ts';
import type { RolloutInput } from '../../src/domain/rl/messages.ts';
import type { RolloutOutcome } from '../../src/domain/rl/trajectory.ts';
import { processHost } from '../../src/workers/options.ts';

export type RolloutStubs = RolloutLlmActivities &
  RolloutSandboxActivities &
  RolloutHostActivities &
  RolloutsControlActivities;

/** Says that an activity was called; may wait, or throw. */
type Step = (activity: string, request: object) => Promise<void>;

/** A coder that works for two turns and finishes, a selector that chooses at once; `plan` answers otherwise. */
export function createRolloutStubs(step: Step, plan: Partial<RolloutStubs> = {}): RolloutStubs {
  const stub: RolloutStubs = {
    sampleTurn: async ({ rollout, turn }) =>
      rollout.agent === 'selector' || turn === 2
        ? { next: 'end', end: 'finished', action: 'finish', sampledTokens: 5 }
        : { next: 'act', end: null, action: `bash step ${turn}`, sampledTokens: 7 },
    openEpisode: async () => ({ host: processHost(), diverged: null }),
    actOnTurn: async () => ({ end: null, told: 'exit 0' }),
    closeEpisode: async ({ discard }) => ({ patch: discard ? null : `sha256:${'a'.repeat(64)}`, note: '' }),
    gradeRollout: async ({ rollout, ends }) => stubOutcome(rollout, ends),
    readRollouts: async ({ queuePrefix, phase, offset, count }) =>
      Array.from({ length: count }, (_none, at) => ({
        input: { ...stubRollout(queuePrefix), group: `${phase[0]}${offset + at}` },
        settled: null,
      })),
    writeRollouts: async () => ({
      preds: 'preds.json',
      predictions: 'predictions.jsonl',
      trajectories: 'trajectories',
      passAtK: [],
      chosen: { resolved: 0, instances: 0 },
    }),
    ...plan,
  };
  const told =
    <Name extends keyof RolloutStubs>(name: Name) =>
    async (request: Parameters<RolloutStubs[Name]>[0]): Promise<Awaited<ReturnType<RolloutStubs[Name]>>> => {
      await step(name, request);
      return (await stub[name](request as never)) as Awaited<ReturnType<RolloutStubs[Name]>>;
    };
  return {
    sampleTurn: told('sampleTurn'),
    openEpisode: told('openEpisode'),
    actOnTurn: told('actOnTurn'),
    closeEpisode: told('closeEpisode'),
    gradeRollout: told('gradeRollout'),
    readRollouts: told('readRollouts'),
    writeRollouts: told('writeRollouts'),
  };
}

/** A rollout of one coder, as its workflow gets it. */
export const stubRollout = (queuePrefix: string): RolloutInput => ({
  run: 'run',
  queuePrefix,
  group: 'g000001',
  members: [1],
  agent: 'coder',
  instanceId: 'a-1',
  row: `sha256:${'c'.repeat(64)}`,
  provenCanaries: null,
  task: null,
  policy: { servers: ['http://127.0.0.1:1'], choice: 'pinned', model: 'tiny', version: 3 },
  temperature: 1,
  budget: { maxTurns: 35, maxTokens: 32_768, maxTokensPerTurn: 4_096, maxWallMs: 600_000 },
  seed: 1,
  candidateOrder: 'shuffled',
  parent: null,
});

export function stubOutcome(
  rollout: RolloutInput,
  ends: Parameters<RolloutSandboxActivities['gradeRollout']>[0]['ends'],
): RolloutOutcome {
  return {
    group: rollout.group,
    episodes: rollout.members.map((member, at) => {
      const end = ends[at]?.end ?? 'infra';
      const infra = end === 'infra';
      return {
        member,
        end,
        reward: infra ? null : member % 2,
        verdict: infra ? null : member % 2 === 1 ? 'resolved' : 'unresolved',
        turns: 1,
        sampledTokens: 5,
      };
    }),
    trajectory: `sha256:${'b'.repeat(64)}`,
    oldestVersion: rollout.policy.version,
    newestVersion: rollout.policy.version,
    executed: 1,
    served: 0,
  };
}

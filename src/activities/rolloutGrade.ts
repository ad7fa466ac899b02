import { argumentOf, parseAnswer } from '../agents/coder.ts';
import { choiceLetters, parseChoice, selectorOrder } from '../agents/selector.ts';
import type { SelectorTask } from '../agents/types.ts';
import type { RolloutInput } from '../domain/rl/messages.ts';
import { isInfra } from '../domain/rl/trajectory.ts';
import type {
  EpisodeEnd,
  PolicyCall,
  RolloutOutcome,
  Step,
  Trajectory,
  TrajectoryEpisode,
} from '../domain/rl/trajectory.ts';
import { recordNames } from '../domain/records.ts';
import type { ArtefactRef, InstanceRow } from '../domain/types.ts';
import type { VerdictName } from '../domain/verdicts.ts';
import type { WorkContext } from '../ecosystems/types.ts';
import { keyOf } from '../evaluation/evaluate.ts';
import type { Evaluation, Evaluator } from '../evaluation/evaluate.ts';
import type { RolloutSandboxActivities } from './rlTypes.ts';
import { recordedName, rolloutRecords } from './rolloutRecords.ts';
import type { RecordDeps } from './rolloutRecords.ts';
import { selectorTaskOf } from './rollout.ts';
import { withWork } from './work.ts';
import type { WorkDeps } from './work.ts';

export interface RolloutGradeDeps extends WorkDeps, RecordDeps {
  readonly evaluator: Evaluator;
  readonly assertRoom: () => Promise<void>;
}

/** An episode that has ended, before it is graded. */
type Ungraded = Omit<TrajectoryEpisode, 'reward' | 'verdict'>;

type GradeRequest = Parameters<RolloutSandboxActivities['gradeRollout']>[0];

/** Grades what a rollout's members left, each distinct patch once, and keeps the whole of it as a trajectory. */
export function createRolloutGrading(deps: RolloutGradeDeps): Pick<RolloutSandboxActivities, 'gradeRollout'> {
  const grade = createGrader(deps);
  return {
    gradeRollout: (request) =>
      withWork(deps, undefined, async (context) => {
        const name = recordNames.rolloutOutcome(recordedName(request.rollout));
        const known = await deps.records.read<RolloutOutcome>(name);
        if (known !== null) return known;
        const row = await deps.store.getJson<InstanceRow>(request.rollout.row);
        const outcome = await outcomeOf(deps, request, (patch) =>
          grade(request.rollout, row, patch, context),
        );
        // what infrastructure ended is tried again when the run is taken up; until then `gc` finds here what is kept of it
        if (outcome.episodes.some(({ end }) => isInfra(end))) {
          await deps.records.replace(recordNames.rolloutPartial(recordedName(request.rollout)), outcome);
          return outcome;
        }
        return (await deps.records.record(name, outcome)).value;
      }),
  };
}

async function outcomeOf(
  deps: RolloutGradeDeps,
  request: GradeRequest,
  grade: (patch: ArtefactRef | null) => Promise<Evaluation>,
): Promise<RolloutOutcome> {
  const { rollout } = request;
  const ended = rollout.agent === 'selector' ? await chosen(deps, request) : [await worked(deps, request)];
  const graded = new Map<ArtefactRef | null, Evaluation>();
  const episodes: TrajectoryEpisode[] = [];
  for (const episode of ended) {
    if (isInfra(episode.end)) {
      episodes.push({ ...episode, reward: null, verdict: null });
      continue;
    }
    const evaluation = graded.get(episode.patch) ?? (await grade(episode.patch));
    graded.set(episode.patch, evaluation);
    episodes.push({ ...episode, ...rewardOf(evaluation, episode.end) });
  }
  const versions = episodes.flatMap(({ steps }) => steps.flatMap(({ call }) => call.version ?? []));
  const trajectory: Trajectory = {
    schema: 1,
    run: rollout.run,
    group: rollout.group,
    agent: rollout.agent,
    instanceId: rollout.instanceId,
    episodes,
  };
  const origins = [...graded.values()].map(({ origin }) => origin);
  return {
    group: rollout.group,
    episodes: episodes.map(({ member, end, reward, verdict, turns, sampledTokens }) => ({
      member,
      end,
      reward,
      verdict,
      turns,
      sampledTokens,
    })),
    trajectory: episodes.every(({ end }) => isInfra(end)) ? null : await deps.store.putJson(trajectory),
    oldestVersion: versions.length === 0 ? null : Math.min(...versions),
    newestVersion: versions.length === 0 ? null : Math.max(...versions),
    executed: origins.filter((origin) => origin === 'executed').length,
    served: origins.filter((origin) => origin === 'served').length,
  };
}

/** 1 for a resolved instance, 0 otherwise and for a forged result; nothing where infrastructure failed. */
function rewardOf(
  { result }: Evaluation,
  end: EpisodeEnd,
): { readonly end: EpisodeEnd; readonly reward: number | null; readonly verdict: VerdictName } {
  const { verdict } = result.grade.verdict;
  if (verdict === 'infra') return { end: 'infra', reward: null, verdict };
  return { end, reward: verdict === 'tampered' ? 0 : result.grade.resolved, verdict };
}

/** Verdicts by patch; two rollouts of this process that ask for the same one at a time get the same. */
function createGrader(deps: RolloutGradeDeps) {
  const running = new Map<string, Promise<Evaluation>>();
  return async (
    rollout: RolloutInput,
    row: InstanceRow,
    patch: ArtefactRef | null,
    context: WorkContext,
  ): Promise<Evaluation> => {
    const key = `${keyOf(row, patch, rollout.provenCanaries)}${patch === null ? ' empty' : ''}`;
    const asked = running.get(key);
    if (asked !== undefined) {
      const evaluation = await asked.catch(() => null); // the asker's failure is not ours
      if (evaluation !== null) return { ...evaluation, origin: 'served' };
    }
    await deps.assertRoom(); // a full disk must never look like a failing test
    const { provenCanaries } = rollout;
    const modelNameOrPath = rollout.policy.model;
    const evaluation = deps.evaluator.evaluate({ row, patch, modelNameOrPath, provenCanaries, context });
    running.set(key, evaluation);
    try {
      return await evaluation;
    } finally {
      if (running.get(key) === evaluation) running.delete(key);
    }
  };
}

/** Members of one request: each has chosen a candidate, or nothing that can be read. */
async function chosen(deps: RolloutGradeDeps, { rollout, ends }: GradeRequest): Promise<readonly Ungraded[]> {
  const task = await selectorTaskOf(deps, rollout);
  const order = selectorOrder(task, rollout);
  const [turn] = await rolloutRecords(deps, rollout).turns(1);
  const call = turn === undefined ? null : await deps.store.getJson<PolicyCall>(turn.call.call);
  const patches = await Promise.all(order.map((index) => candidatePatch(deps, task, index)));
  return rollout.members.map((member, at): Ungraded => {
    const { end = 'infra', note = '' } = ends[at] ?? {};
    const choice = call?.choices[at];
    if (call === null || choice === undefined) {
      // the one end without an answer that is the policy's own is a prompt that does not fit; an outage says nothing about it
      const lacking = end === 'max_tokens' ? end : 'infra';
      return { member, end: lacking, note, turns: 0, sampledTokens: 0, steps: [], patch: null };
    }
    const letter = parseChoice(choice.text, order.length);
    const patch = letter === null ? null : (patches[letter] ?? null);
    return {
      member,
      end: end === 'finished' && letter === null ? 'invalid' : end,
      note,
      turns: 1,
      sampledTokens:
        choice.tokenIds.length || Math.round((call.usage?.sampledTokens ?? 0) / call.choices.length),
      steps: [
        {
          call: { ...call, choices: [choice] },
          choice: 0,
          step: choiceStep(call, letter, choice.text, order),
        },
      ],
      patch,
    };
  });
}

async function candidatePatch(
  { store }: RecordDeps,
  task: SelectorTask,
  index: number | undefined,
): Promise<ArtefactRef | null> {
  const patch = index === undefined ? undefined : task.candidates[index]?.patch;
  return patch === undefined || patch === '' ? null : store.put(patch);
}

const choiceStep = (
  call: PolicyCall,
  letter: number | null,
  text: string,
  order: readonly number[],
): Step => ({
  action: letter === null ? 'invalid' : 'choose',
  argument:
    letter === null
      ? text.slice(0, 200)
      : `${choiceLetters(order.length)[letter]} (candidate ${order[letter]})`,
  observation: null,
  exitCode: null,
  startedMs: call.endedMs,
  endedMs: call.endedMs,
});

/** The one member of an episode in a workspace. */
async function worked(deps: RolloutGradeDeps, { rollout, ends }: GradeRequest): Promise<Ungraded> {
  const [end] = ends;
  const recorded = await rolloutRecords(deps, rollout).turns(rollout.budget.maxTurns);
  const steps = await Promise.all(
    recorded.map(async ({ call: { call: ref }, step }) => {
      const call = await deps.store.getJson<PolicyCall>(ref);
      return { call, choice: 0, step: step ?? lastStep(call) };
    }),
  );
  const idle = end?.end === 'max_wall' && workedMs(steps) < rollout.budget.maxWallMs / 2;
  return {
    member: rollout.members[0] ?? 0,
    end: idle ? 'infra' : (end?.end ?? 'infra'),
    note: idle ? IDLE_NOTE : (end?.note ?? ''),
    turns: steps.length,
    sampledTokens: recorded.reduce((sum, { call }) => sum + (call.choices[0]?.tokens ?? 0), 0),
    steps,
    patch: end?.patch ?? null,
  };
}

const IDLE_NOTE =
  'More than half of its time passed without an answer or an act: no worker or server was there for it.';

/** Time in which the policy answered, or what it asked for was done. */
const workedMs = (steps: readonly { readonly call: PolicyCall; readonly step: Step }[]): number =>
  steps.reduce(
    (sum, { call, step }) => sum + (call.endedMs - call.startedMs) + (step.endedMs - step.startedMs),
    0,
  );

/** An answer that nothing was done about: it ended the episode, or its time was over. */
function lastStep(call: PolicyCall): Step {
  const action = parseAnswer(call.choices[0] ?? { text: '' });
  return {
    action: action.tool,
    argument: argumentOf(action),
    observation: null,
    exitCode: null,
    startedMs: call.endedMs,
    endedMs: call.endedMs,
  };
}

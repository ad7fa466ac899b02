/** Names of the first-writer-wins records; one place, so that writers and readers agree. Pure. */
export const recordNames = {
  campaign: (campaign: string): string => `campaigns/${campaign}`,
  /** What the campaign was first started with. */
  campaignInput: (campaign: string): string => `campaigns/${campaign}/input`,
  minePage: (campaign: string, source: number, page: number): string =>
    `${recordNames.minePages(campaign, source)}/${String(page).padStart(6, '0')}`,
  minePages: (campaign: string, source: number): string =>
    `campaigns/${campaign}/pages/${String(source).padStart(3, '0')}`,
  instance: (campaign: string, instanceId: string): string => `campaigns/${campaign}/instances/${instanceId}`,
  stage: (campaign: string, instanceId: string, stage: string): string =>
    `campaigns/${campaign}/instances/${instanceId}/${stage}`,
  /** How the instance ended: an `InstanceResult`; absent while it has not, and after an end by infrastructure. */
  result: (campaign: string, instanceId: string): string =>
    `campaigns/${campaign}/instances/${instanceId}/result`,
  /** Outcome of the first realisation of a key in this installation. */
  realised: (key: string, variant: string): string => `realised/${key}/${variant}`,
  /** Which instance proves a key's pruned variant against the full one. */
  prover: (key: string): string => `provers/${key}`,
  /** Whether a key's pruned variant behaves like the full one; see `PruningProof`. */
  pruningProof: (key: string): string => `prune/proofs/${key}`,
  disagreement: (key: string, instanceId: string): string => `prune/disagreements/${key}/${instanceId}`,
  /** Gold of a published row that was not resolved when the janitor ran it again. */
  drift: (campaign: string, instanceId: string, runId: string): string =>
    `drift/${campaign}/${instanceId}/${runId}`,
  /** Which manifest a run id stands for. */
  evaluation: (runId: string): string => `runs/${runId}/manifest`,
  evaluationResult: (runId: string, index: number): string =>
    `runs/${runId}/results/${String(index).padStart(6, '0')}`,
  /** What a training run is about: model and instances. */
  rlRun: (run: string): string => `rl/${run}/run`,
  /** One for each start of a run. */
  rlStart: (run: string, epoch: number): string => `rl/${run}/starts/${String(epoch).padStart(4, '0')}`,
  rlStarts: (run: string): string => `rl/${run}/starts`,
  /** What the trainer says of the probe under a version. */
  rlProbe: (run: string, version: number): string => `rl/${run}/probes/${String(version).padStart(6, '0')}`,
  /** Which manifest a run of rollouts stands for. */
  rollouts: (run: string): string => `rollouts/${run}/manifest`,
  /** Everything of one rollout: members of a group that one workflow plays. */
  rollout: (run: string, group: string, members: readonly number[]): string =>
    `rollouts/${run}/${group}/${memberRange(members)}`,
  /** What was sampled in a turn: a `PolicyCall`. */
  rolloutCall: (rollout: string, turn: number): string => `${rollout}/call-${String(turn).padStart(4, '0')}`,
  /** What came of it: a `Step`. */
  rolloutStep: (rollout: string, turn: number): string => `${rollout}/step-${String(turn).padStart(4, '0')}`,
  /** The change that an episode left, taken once. */
  rolloutPatch: (rollout: string): string => `${rollout}/patch`,
  /** How it ended: a `RolloutOutcome`. */
  rolloutOutcome: (rollout: string): string => `${rollout}/outcome`,
  /** How it ended where infrastructure ended some of its episodes; replaced by each attempt. */
  rolloutPartial: (rollout: string): string => `${rollout}/partial`,
  rlSteps: (run: string): string => `rl/${run}/steps`,
  /** What a step of a training run did, and who was busy when: an `RlLogEntry`. */
  rlStep: (run: string, step: number): string => `rl/${run}/steps/${String(step).padStart(6, '0')}`,
  rlHeldOuts: (run: string): string => `rl/${run}/held-out`,
  /** A score of the held-out instances: an `RlHeldOut`. */
  rlHeldOut: (run: string, step: number): string => `rl/${run}/held-out/${String(step).padStart(6, '0')}`,
};

/** `3`, `0-15`, or all of them where they are not neighbours. */
function memberRange(members: readonly number[]): string {
  const [first = 0] = members;
  const last = members.at(-1) ?? first;
  if (members.length === 1) return String(first);
  return members.every((member, at) => member === first + at) ? `${first}-${last}` : members.join('_');
}

/** A stage's result as recorded: the value, who made it, and how long that took. */
export interface StageRecord<T> {
  readonly schema: 1;
  readonly value: T;
  /** Run of the instance workflow, its activity and attempt. */
  readonly runId: string;
  readonly activityId: string;
  readonly attempt: number;
  readonly durationMs: number;
}

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
};

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

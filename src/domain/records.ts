import { nameProblem } from './ids.ts';

/** Names of the first-writer-wins records; one place, so that writers and readers agree. */
export const recordNames = {
  campaign: (campaign: string): string => `campaigns/${campaign}`,
  /** Input of the campaign as it was first started. */
  campaignInput: (campaign: string): string => `campaigns/${campaign}/input`,
  minePage: (campaign: string, source: number, page: number): string =>
    `campaigns/${campaign}/pages/${String(source).padStart(3, '0')}/${String(page).padStart(6, '0')}`,
  minePages: (campaign: string, source: number): string =>
    `campaigns/${campaign}/pages/${String(source).padStart(3, '0')}/`,
  instance: (campaign: string, instanceId: string): string =>
    `campaigns/${campaign}/instances/${instanceId}`,
  stage: (campaign: string, instanceId: string, stage: string): string =>
    `campaigns/${campaign}/instances/${instanceId}/${stage}`,
  result: (campaign: string, instanceId: string): string =>
    `campaigns/${campaign}/instances/${instanceId}/result`,
};

/** A stage's result as recorded: the value, and the run of the workflow that made it. */
export interface StageRecord<T> {
  readonly schema: 1;
  readonly runId: string;
  readonly value: T;
}

/** Stage names stand in a path. */
export const stageNameProblem = nameProblem;

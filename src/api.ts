/**
 * The programmatic API: `import { openSession, startCampaign } from 'repoforge'`. A session holds an installation, a
 * Temporal server and a client; every function below takes it first. Workers run in this process (`session.startWorkers()`)
 * or elsewhere (`repoforge worker`).
 */
export { openSession } from './setup/session.ts';
export type { Session } from './setup/session.ts';
export { readSettings } from './setup/settings.ts';
export type { Settings } from './setup/settings.ts';
export {
  campaignStatus,
  pauseCampaign,
  resizeCampaign,
  resumeCampaign,
  startCampaign,
  stopCampaign,
  waitForCampaign,
} from './client/campaigns.ts';
export type { CampaignRequest, CampaignStatus, StartedCampaign } from './client/campaigns.ts';
export {
  evaluationStatus,
  pauseEvaluation,
  resizeEvaluation,
  resumeEvaluation,
  startEvaluation,
  stopEvaluation,
  waitForEvaluation,
} from './client/evaluations.ts';
export type {
  EvaluationEntry,
  EvaluationRequest,
  EvaluationStatus,
  StartedEvaluation,
} from './client/evaluations.ts';
export {
  pauseRollouts,
  resizeRollouts,
  resumeRollouts,
  rolloutsStatus,
  startRollouts,
  stopRollouts,
  waitForRollouts,
} from './client/rollouts.ts';
export type { RolloutsRequest, RolloutsStatus, StartedRollouts } from './client/rollouts.ts';
export type { RolloutsProgress, RolloutsSummary } from './domain/rl/rollouts.ts';
export type { CampaignOptions, CampaignProgress, CampaignResult } from './domain/campaign.ts';
export type { EvaluationProgress, EvaluationSummary } from './domain/messages.ts';
export type { SourceSpec } from './domain/sourceSpec.ts';
export type { Funnel } from './domain/funnel.ts';
export type { Evidence } from './domain/evidence.ts';
export type { InstanceRow, Labels } from './domain/types.ts';
export type { Prediction, Verdict } from './domain/verdicts.ts';

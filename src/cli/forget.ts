/** Forgetting what has ended, by name; `gc` then frees what nothing else refers to. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { campaignStatus } from '../client/campaigns.ts';
import { evaluationStatus } from '../client/evaluations.ts';
import { rlStatus } from '../client/rl.ts';
import { rolloutsStatus } from '../client/rollouts.ts';
import { recordNames } from '../domain/records.ts';
import type { Dependencies } from '../setup/compose.ts';
import type { Session } from '../setup/session.ts';
import { UsageError } from './output.ts';

export async function forgetCampaign(session: Session, name: string): Promise<void> {
  const { deps, state } = session;
  if ((await session.records.read(recordNames.campaignInput(name))) === null)
    throw new UsageError(`There is no campaign "${name}" in ${state.dir}.`);
  if ((await campaignStatus(session, name))?.status === 'RUNNING')
    throw new UsageError(`Campaign "${name}" runs: \`repoforge campaign stop ${name}\` first.`);
  await drop(deps, recordNames.campaign(name), state.paths.campaigns, name);
}

export async function forgetEvaluation(session: Session, id: string): Promise<void> {
  const { deps, state } = session;
  if ((await session.records.read(recordNames.evaluation(id))) === null)
    throw new UsageError(`There is no evaluation run "${id}" in ${state.dir}.`);
  if ((await evaluationStatus(session, id))?.status === 'RUNNING')
    throw new UsageError(`Evaluation run "${id}" is not at its end: let it end first.`);
  await drop(deps, `runs/${id}`, state.paths.runs, id);
}

export async function forgetRollouts(session: Session, run: string): Promise<void> {
  const { deps, records, state } = session;
  if ((await records.read(recordNames.rollouts(run))) === null)
    throw new UsageError(`There is no run of rollouts "${run}" in ${state.dir}.`);
  if ((await rolloutsStatus({ ...session, store: deps.store }, run))?.status === 'RUNNING')
    throw new UsageError(`The rollouts "${run}" run: \`repoforge rollout stop ${run}\` first.`);
  await drop(deps, `rollouts/${run}`, join(state.dir, 'rollouts'), run);
}

/** What the trainer's journal goes by stays: a name that was free again would go on from its last step. */
export async function forgetTraining(session: Session, run: string): Promise<void> {
  const { deps, records, state } = session;
  if ((await records.read(recordNames.rlRun(run))) === null)
    throw new UsageError(`There is no training run "${run}" in ${state.dir}.`);
  if ((await rlStatus({ ...session, store: deps.store }, run))?.status === 'RUNNING')
    throw new UsageError(`Training run "${run}" runs: \`repoforge rl stop ${run}\` first.`);
  await records.remove(recordNames.rlSteps(run));
  await records.remove(`rollouts/${run}`);
}

/** Records first: what is left of a killed drop is found and dropped by the next one. */
async function drop(
  { records }: Dependencies,
  prefix: string,
  directory: string,
  name: string,
): Promise<void> {
  await records.remove(prefix);
  await rm(join(directory, name), { recursive: true, force: true });
}

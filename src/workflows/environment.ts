/**
 * Invariant: one environment key is realised by one workflow at a time, whoever asks and how often. Realising looks into
 * the store first, so a key whose files were collected is built again and every other is found. `unbuildable` is an
 * answer; only infrastructure fails the run, and then the askers ask again.
 */
import {
  allHandlersFinished,
  condition,
  continueAsNew,
  defineSignal,
  getExternalWorkflowHandle,
  log,
  rootCause,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import { SIGNALS } from '../domain/messages.ts';
import type { AskEnvironment, EnvironmentAnswer, EnvironmentInput } from '../domain/messages.ts';
import type { RealiseOutcome } from '../domain/types.ts';
import { sandboxOn } from './proxies.ts';

export const askEnvironment = defineSignal<[AskEnvironment]>(SIGNALS.askEnvironment);

export async function environment(input: EnvironmentInput): Promise<RealiseOutcome> {
  const waiting: string[] = [...(input.askers ?? [])];
  let answered = 0;
  setHandler(askEnvironment, ({ asker }) => {
    if (!waiting.includes(asker)) waiting.push(asker);
  });
  const outcome = await sandboxOn(input.queuePrefix).realiseEnvironment({
    key: input.key,
    spec: input.spec,
    variant: 'pruned',
  });
  do {
    const askers = waiting.splice(0);
    await Promise.all(askers.map((asker) => answer(asker, { key: input.key, outcome })));
    answered += askers.length;
    setCurrentDetails(describe(outcome, answered));
    if (workflowInfo().continueAsNewSuggested) {
      await condition(allHandlersFinished);
      await continueAsNew<typeof environment>({ ...input, askers: [...waiting] });
    }
    // late askers are common: neighbours share the key and reach this stage within seconds of each other
  } while (await condition(() => waiting.length > 0, input.lingerMs));
  return outcome;
}

async function answer(asker: string, message: EnvironmentAnswer): Promise<void> {
  try {
    await getExternalWorkflowHandle(asker).signal(SIGNALS.environmentReady, message);
  } catch (error) {
    log.info('an asker is gone', { asker, reason: rootCause(error) ?? String(error) });
  }
}

const describe = (outcome: RealiseOutcome, answered: number): string =>
  outcome.ok
    ? `ready${outcome.served ? ' (served from the store)' : ''}, ${answered} askers answered`
    : `**${outcome.rejection.reason}** ${outcome.rejection.detail}`;

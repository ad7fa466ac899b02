/**
 * Invariant: one candidate goes through the stages in order; every stage's result is a record that is written once, so a
 * run of this workflow that starts again walks over what is recorded and does only what is missing. History holds refs,
 * counts and decisions. A rejection is a result; infrastructure that failed for longer than its retry policy allows is
 * the rejection `infra`, which is not recorded and says nothing about the candidate. The campaign hears of every end.
 */
import {
  ActivityFailure,
  CancellationScope,
  TemporalFailure,
  condition,
  getExternalWorkflowHandle,
  isCancellation,
  log,
  rootCause,
  setCurrentDetails,
  setHandler,
  defineSignal,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { cutText } from '../domain/failures.ts';
import { SIGNALS } from '../domain/messages.ts';
import { CUTOFF_POLICIES } from '../domain/types.ts';
import type {
  EnvironmentAnswer,
  InstanceInput,
  InstanceReport,
  InstanceResult,
  InstanceStage,
} from '../domain/messages.ts';
import type { CutoffPolicy, EnvironmentVariant, RealiseOutcome, Rejection } from '../domain/types.ts';
import { attributes } from './attributes.ts';
import { controlOn, sandboxOn } from './proxies.ts';
import { validateIn } from './validate.ts';

export const environmentReady = defineSignal<[EnvironmentAnswer]>(SIGNALS.environmentReady);

const ASK_AGAIN_MS = 5 * 60_000; // an answer is lost only when the environment's workflow was killed between two steps
const MAX_ASKS = 288; // a day of asking, as long as an activity may wait

/** What the stages share: the input, the answers that came, and what is shown. */
export interface Life {
  readonly input: InstanceInput;
  readonly answers: Map<string, RealiseOutcome>;
  /** Container runs of all attempts so far. */
  runs: number;
  stage: InstanceStage;
  show(stage: InstanceStage, detail?: string): void;
}

/** How one attempt with one cut-off ended. */
export type AttemptEnd =
  | { readonly kind: 'ended'; readonly result: InstanceResult }
  | {
      readonly kind: 'rejected';
      readonly rejection: Rejection;
      readonly at: InstanceStage;
      readonly stage: string;
      readonly tryNextCutoff: boolean;
    };

export async function instance(input: InstanceInput): Promise<InstanceResult> {
  const life = newLife(input);
  setHandler(environmentReady, ({ key, outcome }) => {
    life.answers.set(key, outcome);
  });
  let result: InstanceResult;
  let cancelled: unknown;
  try {
    result = await live(life);
  } catch (error) {
    // A bug is not an end: it fails the workflow task, which waits for the mended code. So no `finally` here.
    if (!(error instanceof TemporalFailure)) throw error;
    if (isCancellation(error)) cancelled = error;
    result =
      cancelled === undefined ? infraEnd(life, error) : { outcome: 'cancelled', containerRuns: life.runs };
  }
  await CancellationScope.nonCancellable(() => report(life, result));
  if (cancelled !== undefined) throw cancelled;
  return result;
}

function newLife(input: InstanceInput): Life {
  const life: Life = {
    input,
    answers: new Map(),
    runs: 0,
    stage: 'resolve',
    show(stage, detail = '') {
      if (stage !== life.stage) upsertSearchAttributes([{ key: attributes.stage, value: stage }]);
      life.stage = stage;
      setCurrentDetails(`**${stage}**${detail === '' ? '' : `: ${detail}`} (${life.runs} container runs)`);
    },
  };
  return life;
}

/** The calendar's cut-offs in turn: the quarter before the base, the month, the moment before the fix. */
async function live(life: Life): Promise<InstanceResult> {
  const triedKeys: string[] = [];
  let last: Extract<AttemptEnd, { kind: 'rejected' }> | undefined;
  for (const policy of CUTOFF_POLICIES) {
    const end = await attempt(life, policy, triedKeys);
    if (end === 'sameEnvironment') continue; // an equal key gives an equal end
    if (end.kind === 'ended') return end.result;
    last = end;
    if (!end.tryNextCutoff) break;
  }
  if (last === undefined) throw new Error('no cut-off policy was tried');
  return reject(life, last);
}

async function attempt(
  life: Life,
  policy: CutoffPolicy,
  triedKeys: string[],
): Promise<AttemptEnd | 'sameEnvironment'> {
  const { campaign, instanceId, candidate, queuePrefix } = life.input;
  life.show('resolve', policy);
  const resolveStage = `resolve.${policy}`;
  const resolved = await sandboxOn(queuePrefix).resolveEnvironment({
    campaign,
    instanceId,
    candidate,
    stage: resolveStage,
    policy,
    runtimes: life.input.options.runtimes,
  });
  if (!resolved.ok)
    return {
      kind: 'rejected',
      rejection: resolved.rejection,
      at: 'resolve',
      stage: resolveStage,
      tryNextCutoff: resolved.rejection.reason === 'unresolvable',
    };
  if (triedKeys.includes(resolved.key)) return 'sameEnvironment';
  triedKeys.push(resolved.key);
  life.show('environment', resolved.key.slice(0, 12));
  const { outcome, prover, variant } = await environmentFor(life, resolved.key, resolved.spec);
  if (!outcome.ok)
    return {
      kind: 'rejected',
      rejection: outcome.rejection,
      at: 'environment',
      stage: `environment.${policy}`,
      tryNextCutoff: true,
    };
  return validateIn(life, { ...resolved, policy, prover, variant });
}

interface Environment {
  readonly outcome: RealiseOutcome;
  readonly prover: boolean;
  /** What the key's proof asks for. */
  readonly variant: EnvironmentVariant;
}

/** Asks for the environment and waits for the answer; asks again when none comes. */
async function environmentFor(life: Life, key: string, spec: EnvironmentSpecRef): Promise<Environment> {
  const { queuePrefix, instanceId } = life.input;
  const asker = workflowInfo().workflowId;
  for (let ask = 0; ask < MAX_ASKS; ask += 1) {
    const { prover, variant = 'pruned' } = await controlOn(queuePrefix).askEnvironment({
      key,
      spec,
      queuePrefix,
      asker,
      instanceId,
    });
    await condition(() => life.answers.has(key), ASK_AGAIN_MS);
    const outcome = life.answers.get(key);
    if (outcome !== undefined) return { outcome, prover, variant };
    log.warn('no answer from the environment yet, asking again', { key, ask });
  }
  return {
    outcome: await sandboxOn(queuePrefix).realiseEnvironment({ key, spec, variant: 'pruned' }),
    prover: false,
    variant: 'pruned',
  };
}
type EnvironmentSpecRef = Parameters<ReturnType<typeof controlOn>['askEnvironment']>[0]['spec'];

async function reject(life: Life, end: Extract<AttemptEnd, { kind: 'rejected' }>): Promise<InstanceResult> {
  const { campaign, instanceId, candidate, queuePrefix } = life.input;
  const result = await controlOn(queuePrefix).recordRejection({
    campaign,
    instanceId,
    candidate,
    stage: end.stage,
    rejection: end.rejection,
    at: end.at,
    containerRuns: life.runs,
  });
  return result;
}

/** Infrastructure had its chances; the candidate did nothing wrong and is tried again when the campaign is resumed. */
function infraEnd(life: Life, error: TemporalFailure): InstanceResult {
  const activity = error instanceof ActivityFailure ? error.activityType : life.stage;
  log.warn('infrastructure failed for good', { stage: life.stage, activity, reason: rootCause(error) });
  return {
    outcome: 'rejected',
    rejection: { reason: 'infra', detail: cutText(`${activity}: ${rootCause(error) ?? error.message}`, 500) },
    stage: life.stage,
    containerRuns: life.runs,
  };
}

async function report(life: Life, result: InstanceResult): Promise<void> {
  const verdict = result.outcome === 'rejected' ? result.rejection.reason : result.outcome;
  upsertSearchAttributes([{ key: attributes.verdict, value: verdict }]);
  setCurrentDetails(
    result.outcome === 'rejected' ? `**rejected: ${verdict}** ${result.rejection.detail}` : `**${verdict}**`,
  );
  const message: InstanceReport = { instanceId: life.input.instanceId, result: briefly(result) };
  try {
    await getExternalWorkflowHandle(life.input.campaignWorkflowId).signal(SIGNALS.instanceDone, message);
  } catch (error) {
    // The campaign was terminated or has ended: the result is recorded, and a resumed campaign finds it there.
    log.info('the campaign is gone', { reason: rootCause(error) ?? String(error) });
  }
}

/** The campaign counts reasons; the sentence stays in the record. */
const briefly = (result: InstanceResult): InstanceResult =>
  result.outcome === 'rejected'
    ? { ...result, rejection: { ...result.rejection, detail: cutText(result.rejection.detail, 200) } }
    : result;

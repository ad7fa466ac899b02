/**
 * Invariant: an instance is published after at most 8 container runs in its environment: health (and health on the full
 * variant for the environment's prover), then before and after three times each: plain, with the whole canary pool, with
 * the drawn canaries. The last two are the nop and the gold evaluation. Nothing is decided here; decisions are activities
 * over recorded runs, and each says whether another cut-off is worth a try.
 */
import type { Decision, FirstRuns, PoolRuns, RunRequest, StageOf } from '../activities/types.ts';
import type { InstanceStage } from '../domain/messages.ts';
import type { ArtefactRef, CutoffPolicy, EnvironmentVariant } from '../domain/types.ts';
import type { RunSummary } from '../domain/runs.ts';
import type { AttemptEnd, Life } from './instance.ts';
import { attributes } from './attributes.ts';
import { controlOn, llmOn, runOn, sandboxOn } from './proxies.ts';
import { patched, upsertSearchAttributes } from '@temporalio/workflow';

export interface Ground {
  readonly key: string;
  readonly spec: ArtefactRef;
  readonly cutoff: string;
  readonly policy: CutoffPolicy;
  /** This instance proves the pruned variant against the full one. */
  readonly prover: boolean;
  /** What the key's proof asks for, when there is one. */
  readonly variant: EnvironmentVariant;
}

interface Attempt {
  readonly life: Life;
  readonly ground: Ground;
  variant: EnvironmentVariant;
  readonly runs: Record<string, RunSummary>;
}

/** Validates a candidate in one environment, labels and publishes it. */
export async function validateIn(life: Life, ground: Ground): Promise<AttemptEnd> {
  const attempt: Attempt = { life, ground, variant: ground.variant, runs: {} };
  const { queuePrefix, options } = life.input;
  const control = controlOn(queuePrefix);

  if (ground.variant === 'full') {
    const { key, spec } = ground;
    const realised = await sandboxOn(queuePrefix).realiseEnvironment({ key, spec, variant: 'full' });
    if (!realised.ok) return ended(attempt, 'environment', { ...realised, tryNextCutoff: true });
  }
  life.show('leaks');
  const leak = await sandboxOn(queuePrefix).checkLeaks({
    ...stageOf(attempt, 'leaks'),
    ...inGround(attempt),
  });
  if (leak.rejection !== null)
    return ended(attempt, 'leaks', { ok: false, rejection: leak.rejection, tryNextCutoff: false });

  const health = await provenHealth(attempt);
  const scope = await control.planScope({
    ...stageOf(attempt, 'scope'),
    health,
    passToPassBudgetMs: options.passToPassBudgetMs,
  });
  if (!scope.ok) return ended(attempt, 'scope', scope);

  life.show('runs', `${scope.files} test files`);
  const round1 = { scope: scope.scope, makeCanaryPool: true, repeat: true };
  let before: RunSummary | undefined;
  if (patched('before-first')) {
    // most candidates that fail here fail by this run alone, and it may be a long one
    before = await runBefore(attempt, 1, round1);
    const judged = await control.decideBefore({ ...stageOf(attempt, 'before'), before: before.record });
    if (!judged.ok) return ended(attempt, 'runs', judged);
  }
  const first: FirstRuns = { health, ...(await pair(attempt, 1, round1, before)) };
  const decision = await control.decideFirst({
    ...stageOf(attempt, 'decide'),
    runs: first,
    scope: scope.scope,
  });
  if (!decision.ok) return ended(attempt, 'decide', decision);

  life.show('canaries', `${decision.failToPass} FAIL_TO_PASS`);
  const { pool } = decision;
  const second: PoolRuns = await pair(attempt, 2, {
    scope: scope.scope,
    canaries: { before: pool, after: pool },
  });
  const proof = await control.proveCanaries({ ...stageOf(attempt, 'proof'), pool, first, runs: second });

  life.show('final');
  const third: PoolRuns = await pair(attempt, 3, { scope: scope.scope, canaries: proof });
  const final = await control.decideFinal({
    ...stageOf(attempt, 'final'),
    first,
    second,
    third,
    scope: scope.scope,
    proven: proof.proven,
    ...(options.maxForgeryOdds === undefined ? {} : { maxForgeryOdds: options.maxForgeryOdds }),
  });
  if (!final.ok) return ended(attempt, 'final', final);
  return publish(attempt, scope.scope, final.lists);
}

/** The health run; the environment's prover does it on the full variant too, and goes on with that when they disagree. */
async function provenHealth(attempt: Attempt): Promise<ArtefactRef> {
  const { life, ground } = attempt;
  const { queuePrefix } = life.input;
  life.show('health');
  const plain = { kind: 'health', withTestPatch: false } as const;
  const pruned = await run(attempt, 'health', plain);
  if (!ground.prover) return pruned.record;
  const { key, spec } = ground;
  const realised = await sandboxOn(queuePrefix).realiseEnvironment({ key, spec, variant: 'full' });
  if (!realised.ok) return pruned.record; // nothing to compare with: the pruned one is all there is
  const full = await run({ ...attempt, variant: 'full' }, 'health-full', plain);
  const comparison = await controlOn(queuePrefix).compareHealth({
    ...stageOf(attempt, 'compare'),
    environment: key,
    spec,
    pruned: pruned.record,
    full: full.record,
  });
  if (comparison.agree) return pruned.record;
  attempt.variant = 'full';
  return full.record;
}

interface Round {
  readonly scope: ArtefactRef;
  readonly makeCanaryPool?: boolean;
  /** Run the tests again in the same container, to see which of them waver. */
  readonly repeat?: boolean;
  readonly canaries?: { readonly before: ArtefactRef | null; readonly after: ArtefactRef | null };
}

const runBefore = (
  attempt: Attempt,
  round: 1 | 2 | 3,
  { scope, canaries, repeat }: Round,
): Promise<RunSummary> =>
  run(attempt, `before-${round}`, {
    kind: 'before',
    scope,
    canaries: canaries?.before ?? null,
    ...(repeat === true ? { repeat: 'failed' } : {}), // without a failing test there is nothing to mend
  });

/** One run before and one after gold, side by side; the first may be there already. */
async function pair(attempt: Attempt, round: 1 | 2 | 3, what: Round, known?: RunSummary): Promise<PoolRuns> {
  const [before, after] = await Promise.all([
    known ?? runBefore(attempt, round, what),
    run(attempt, `after-${round}`, {
      kind: 'after',
      gold: true,
      scope: what.scope,
      makeCanaryPool: what.makeCanaryPool ?? false,
      canaries: what.canaries?.after ?? null,
      ...(what.repeat === true ? { repeat: 'ended' } : {}),
    }),
  ]);
  return { before: before.record, after: after.record };
}

async function run(
  attempt: Attempt,
  name: string,
  what: Pick<RunRequest, 'kind'> & Partial<RunRequest>,
): Promise<RunSummary> {
  const { life } = attempt;
  const request: RunRequest = {
    withTestPatch: true,
    gold: false,
    scope: null,
    limits: life.input.options.runLimits,
    makeCanaryPool: false,
    canaries: null,
    ...what,
    ...stageOf(attempt, name),
    ...inGround(attempt),
  };
  life.runs += 1;
  const summary = await runOn(life.input.queuePrefix, name).runTests(request);
  attempt.runs[name] = summary;
  return summary;
}

async function publish(attempt: Attempt, scope: ArtefactRef, lists: ArtefactRef): Promise<AttemptEnd> {
  const { life, ground } = attempt;
  const { queuePrefix, options } = life.input;
  life.show('label');
  const { labels, problemStatement } = await llmOn(queuePrefix).labelInstance({
    ...stageOf(attempt, 'label'),
    lists,
  });
  life.show('publish');
  const result = await controlOn(queuePrefix).publishInstance({
    ...stageOf(attempt, 'publish'),
    ...inGround(attempt),
    policy: ground.policy,
    cutoff: ground.cutoff,
    limits: options.runLimits,
    scope,
    lists,
    labels,
    ...(problemStatement === undefined ? {} : { problemStatement }),
    runs: attempt.runs,
    containerRuns: life.runs,
  });
  upsertSearchAttributes([{ key: attributes.reward, value: 1 }]);
  return { kind: 'ended', result };
}

/** Names of records tell the environment apart, so that a second attempt does not adopt the first one's results. */
function stageOf(attempt: Attempt, name: string): StageOf {
  const { campaign, instanceId, candidate } = attempt.life.input;
  return { campaign, instanceId, candidate, stage: `${name}.${attempt.ground.policy}.${attempt.variant}` };
}

const inGround = (attempt: Attempt): Pick<RunRequest, 'environment' | 'spec' | 'variant'> => ({
  environment: attempt.ground.key,
  spec: attempt.ground.spec,
  variant: attempt.variant,
});

function ended(
  attempt: Attempt,
  at: InstanceStage,
  decision: Extract<Decision<unknown>, { ok: false }>,
): AttemptEnd {
  return {
    kind: 'rejected',
    at,
    stage: stageOf(attempt, at).stage,
    rejection: decision.rejection,
    tryNextCutoff: decision.tryNextCutoff,
  };
}

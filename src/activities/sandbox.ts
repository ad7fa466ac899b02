import { ApplicationFailure } from '@temporalio/common';
import { FAILURE_TYPES } from '../domain/failures.ts';
import { recordNames } from '../domain/records.ts';
import type { Candidate, EnvironmentSpec } from '../domain/types.ts';
import type { RunPlan, RunRecord, RunSummary } from '../domain/runs.ts';
import type { Ecosystem, WorkContext } from '../ecosystems/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { RunRequest, SandboxActivities } from './types.ts';
import { recorded, withWork } from './work.ts';
import type { WorkDeps } from './work.ts';

export interface SandboxDeps extends WorkDeps {
  readonly store: ArtefactStore;
  /** The ecosystem, limited to some runtime versions; null = all. */
  readonly ecosystemFor: (runtimes: readonly string[] | null) => Ecosystem;
  /** The gate before work that fills the disk: throws `Infra.NoDisk` until there is room. */
  readonly assertRoom: () => Promise<void>;
}

/** Everything of an instance that makes a container: resolve, realise, scan, run. */
export function createSandboxActivities(
  deps: SandboxDeps,
): Omit<SandboxActivities, 'evaluatePrediction' | 'sweepLeft' | 'recheckGold'> {
  const { store } = deps;
  const ecosystem = deps.ecosystemFor(null);
  const candidateOf = (ref: RunRequest['candidate']): Promise<Candidate> => store.getJson<Candidate>(ref);
  return {
    resolveEnvironment: (request) =>
      withWork(deps, request.campaign, (context) =>
        recorded(deps, request, async () => {
          await deps.assertRoom();
          const candidate = await candidateOf(request.candidate);
          return deps.ecosystemFor(request.runtimes).resolve(candidate, request.policy, context);
        }),
      ),
    // always asked of the package store, which knows what it holds; the record is of the first time, for the report
    realiseEnvironment: ({ key, spec, variant }) =>
      withWork(deps, undefined, async (context) => {
        await deps.assertRoom();
        const outcome = await ecosystem.realise(await store.getJson<EnvironmentSpec>(spec), variant, context);
        if (outcome.ok) await deps.records.record(recordNames.realised(key, variant), outcome);
        return outcome;
      }),
    checkLeaks: (request) =>
      withWork(deps, request.campaign, () =>
        recorded(deps, request, async () => ({
          rejection: await ecosystem.checkLeaks(await candidateOf(request.candidate), request.environment),
        })),
      ),
    runTests: (request) =>
      withWork(deps, request.campaign, (context) =>
        recorded(deps, request, async () => {
          await deps.assertRoom(); // a full disk must never look like a failing test
          const record = await runWithEnvironment(ecosystem, await planOf(deps, request), deps, context);
          const statuses = Object.values(record.tests).map(({ status }) => status);
          const summary: RunSummary = {
            record: await store.putJson(record),
            outcome: record.outcome,
            passed: statuses.filter((status) => status === 'passed').length,
            failed: statuses.filter((status) => status === 'failed' || status === 'error').length,
            totalMs: record.durations.totalMs,
          };
          return summary;
        }),
      ),
  };
}

/** Runs a plan; an environment that `gc` took since it was realised is made again, once. */
async function runWithEnvironment(
  ecosystem: Ecosystem,
  plan: RunPlan,
  { store }: SandboxDeps,
  context: WorkContext,
): Promise<RunRecord> {
  try {
    return await ecosystem.run(plan, context);
  } catch (error) {
    if (!(error instanceof ApplicationFailure && error.type === FAILURE_TYPES.missingMount)) throw error;
    await ecosystem.realise(await store.getJson<EnvironmentSpec>(plan.spec), plan.variant, context);
    return ecosystem.run(plan, context);
  }
}

async function planOf({ store }: SandboxDeps, request: RunRequest): Promise<RunPlan> {
  const scope = request.scope === null ? null : await store.getJson<readonly string[]>(request.scope);
  return {
    kind: request.kind,
    candidate: request.candidate,
    environment: request.environment,
    spec: request.spec,
    variant: request.variant,
    withTestPatch: request.withTestPatch,
    patch: request.gold ? (await store.getJson<Candidate>(request.candidate)).patch : null,
    scope,
    limits: request.limits,
    makeCanaryPoolOf: request.makeCanaryPool ? scope : null,
    canaries: request.canaries,
    ...(request.repeat === undefined ? {} : { repeat: request.repeat }),
  };
}

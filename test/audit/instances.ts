/** Instances of a real package's releases, validated by the product's own parts in as few runs as that takes. */
import { hostname } from 'node:os';
import { plantWholePool } from '../../src/domain/canaryPlanting.ts';
import { proveCanaries } from '../../src/domain/canaries.ts';
import { decideFirst } from '../../src/domain/validation.ts';
import { DEFAULT_RUN_LIMITS } from '../../src/domain/runs.ts';
import type { ArtefactRef, Candidate, EnvironmentSpec, InstanceRow } from '../../src/domain/types.ts';
import type { Canary, RunPlan } from '../../src/domain/runs.ts';
import type { WorkContext } from '../../src/ecosystems/types.ts';
import type { Dependencies } from '../../src/setup/compose.ts';
import { composeRow } from '../../src/store/instanceRow.ts';
import { makeRow } from '../evaluation/rows.ts';

const LIMITS = { ...DEFAULT_RUN_LIMITS, timeoutMs: 120_000 };

export interface ValidatedInstance {
  readonly row: InstanceRow;
  readonly provenCanaries: ArtefactRef | null;
}

export const contextOf = (deps: Dependencies): WorkContext => ({
  owner: { installation: deps.state.installation, host: hostname() },
  heartbeat: () => undefined,
  signal: new AbortController().signal,
});

/** The first `count` releases of a package that validate, newest first. */
export async function instancesOf(
  deps: Dependencies,
  pypi: string,
  count: number,
): Promise<readonly ValidatedInstance[]> {
  const source = deps.openSource(
    { pypi },
    { maxSourceFiles: 40, maxPatchBytes: 262_144, since: null, until: null, maxCandidates: count * 3 },
  );
  const { entries } = await source.minePage(null, count * 3, contextOf(deps));
  const found: ValidatedInstance[] = [];
  for (const entry of entries) {
    const instance = entry.ok ? await validate(deps, entry.candidate) : null;
    if (instance !== null) found.push(instance);
    if (found.length === count) return found;
  }
  throw new Error(`Only ${found.length} of ${entries.length} releases of ${pypi} validate.`);
}

async function validate(deps: Dependencies, ref: ArtefactRef): Promise<ValidatedInstance | null> {
  const { store } = deps;
  const context = contextOf(deps);
  const ecosystem = deps.ecosystemFor(['3.11']);
  const candidate = await store.getJson<Candidate>(ref);
  const resolved = await ecosystem.resolve(candidate, 'quarter', context);
  if (!resolved.ok) return null;
  const spec = await store.getJson<EnvironmentSpec>(resolved.spec);
  if (!(await ecosystem.realise(spec, 'pruned', context)).ok) return null;
  const run = async (plan: Pick<RunPlan, 'kind' | 'patch'> & Partial<RunPlan>) =>
    ecosystem.run(
      {
        candidate: ref,
        environment: resolved.key,
        spec: resolved.spec,
        variant: 'pruned',
        withTestPatch: true,
        scope: candidate.testFiles,
        limits: LIMITS,
        makeCanaryPoolOf: null,
        canaries: null,
        ...plan,
      },
      context,
    );
  const before = await run({ kind: 'before', patch: null });
  const after = await run({ kind: 'after', patch: candidate.patch, makeCanaryPoolOf: candidate.testFiles });
  const decided = decideFirst({
    health: before,
    before,
    after,
    candidateTestFiles: candidate.testFiles,
    versions: { base: candidate.baseVersion ?? '', head: candidate.version },
  });
  if (decided.kind === 'reject' || after.canaryPool === null) return null;
  const planted = plantWholePool(await store.getJson<readonly Canary[]>(after.canaryPool));
  const afterWithPool = await run({
    kind: 'after',
    patch: candidate.patch,
    canaries: await store.putJson(planted),
  });
  const beforeWithPool = await run({ kind: 'before', patch: null, canaries: await store.putJson(planted) });
  const proven = proveCanaries({ after, beforeWithPool, afterWithPool, planted });
  const usage = { requests: 0, promptTokens: 0, cachedPromptTokens: 0, completionTokens: 0, usd: null };
  const row = await composeRow(store, {
    candidate: ref,
    environment: {
      key: resolved.key,
      spec: resolved.spec,
      variant: 'pruned',
      cutoff: resolved.cutoff,
      policy: 'quarter',
    },
    lists: {
      FAIL_TO_PASS: decided.failToPass,
      PASS_TO_PASS: decided.passToPass,
      collection_fail_to_pass: decided.collectionFailToPass,
      quarantined_tests: [],
    },
    scope: candidate.testFiles,
    limits: LIMITS,
    optionsLeftOut: [],
    labels: { ...makeRow().labels, usage },
  });
  return { row, provenCanaries: proven.length === 0 ? null : await store.putJson(proven) };
}

import { bugStatement } from '../domain/bugStatement.ts';
import { proveCanaries } from '../domain/canaries.ts';
import { drawCanaries, plantWholePool } from '../domain/canaryPlanting.ts';
import { decideFinal } from '../domain/finalValidation.ts';
import type { Acceptance } from '../domain/finalValidation.ts';
import { compareHealth } from '../domain/health.ts';
import type { PruningProof } from '../domain/health.ts';
import { recordNames } from '../domain/records.ts';
import { chooseScope } from '../domain/scope.ts';
import { fileOfTest } from '../domain/testIds.ts';
import type { ArtefactRef, Candidate } from '../domain/types.ts';
import type { Canary, PlantedCanary, RunRecord } from '../domain/runs.ts';
import { decideBefore, decideFirst, judgeHealth } from '../domain/validation.ts';
import type { FirstDecision } from '../domain/validation.ts';
import { addPruneException } from '../ecosystems/python/prune.ts';
import { optionsLeftOut } from '../ecosystems/python/runnerConfig.ts';
import type { MirrorStore } from '../sources/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { ControlActivities, FirstRuns, StageOf } from './types.ts';
import { recorded } from './work.ts';
import type { WorkDeps } from './work.ts';

export interface DecisionDeps extends WorkDeps {
  readonly store: ArtefactStore;
  readonly mirrors: MirrorStore;
}

/** What validation found, as an artefact: the lists of the row, and what evaluation plants. */
export interface InstanceLists extends Omit<Acceptance, 'kind' | 'forgeryOdds'> {
  /** Options of the runner's configuration that the runs with gold left out. */
  readonly optionsLeftOut?: readonly string[];
  /** JSON artefact of the proven `Canary[]`; null when no test could be made to fail. */
  readonly provenCanaries: ArtefactRef | null;
  /** See `forgeryOdds`; absent in lists of earlier versions. */
  readonly forgeryOdds?: number;
  /** Text artefact, made of the failing tests: a bug made by rule has no words of its own. */
  readonly problemStatement?: ArtefactRef;
}

type Decisions = Pick<
  ControlActivities,
  'compareHealth' | 'planScope' | 'decideBefore' | 'decideFirst' | 'proveCanaries' | 'decideFinal'
>;

/** Decisions over recorded runs: each loads records, asks one pure function, and keeps the answer. */
export function createDecisionActivities(deps: DecisionDeps): Decisions {
  const { store } = deps;
  const run = (ref: ArtefactRef): Promise<RunRecord> => store.getJson<RunRecord>(ref);
  const planted = async (ref: ArtefactRef | null): Promise<readonly PlantedCanary[]> =>
    ref === null ? [] : store.getJson<readonly PlantedCanary[]>(ref);
  const first = (request: StageOf, runs: FirstRuns): ReturnType<typeof firstDecision> =>
    firstDecision(store, request, runs);
  return {
    compareHealth: (request) =>
      recorded(deps, request, async () => {
        const difference = compareHealth(await run(request.pruned), await run(request.full));
        const proof: PruningProof = { agree: difference === null, instanceId: request.instanceId };
        await deps.records.record(recordNames.pruningProof(request.environment), proof);
        if (difference === null) return { agree: true, detail: '' };
        const name = recordNames.disagreement(request.environment, request.instanceId);
        await deps.records.record(name, { ...difference, spec: request.spec });
        for (const packageName of difference.packages) await addPruneException(deps.records, packageName);
        deps.log.warn(
          { key: request.environment, ...difference },
          'the pruned environment behaves differently',
        );
        return { agree: false, detail: difference.detail };
      }),

    planScope: (request) =>
      recorded(deps, request, async () => {
        const health = await run(request.health);
        const judged = judgeHealth(health);
        if (!judged.ok) return { ...judged, tryNextCutoff: true };
        const { testFiles, mirror, testCommit } = await store.getJson<Candidate>(request.candidate);
        const chosen = chooseScope(health, testFiles, request.passToPassBudgetMs);
        // health ran the base's tests, and the test patch may delete some of them
        const there = new Set(
          (await (await deps.mirrors.open(mirror)).listTree(testCommit)).map(({ path }) => path),
        );
        const files = chosen.filter((file) => there.has(file));
        return { ok: true, scope: await store.putJson(files), files: files.length };
      }),

    decideBefore: (request) =>
      recorded(deps, request, async () => {
        const { testFiles } = await store.getJson<Candidate>(request.candidate);
        const decision = decideBefore(await run(request.before), testFiles);
        return decision === null
          ? { ok: true }
          : { ok: false, rejection: decision.rejection, tryNextCutoff: decision.tryNextCutoff };
      }),

    decideFirst: (request) =>
      recorded(deps, request, async () => {
        const decision = await first(request, request.runs);
        if (decision.kind === 'reject')
          return { ok: false, rejection: decision.rejection, tryNextCutoff: decision.tryNextCutoff };
        const { canaryPool } = await run(request.runs.after);
        const pool =
          canaryPool === null ? [] : plantWholePool(await store.getJson<readonly Canary[]>(canaryPool));
        return {
          ok: true,
          failToPass: decision.failToPass.length,
          pool: pool.length === 0 ? null : await store.putJson(pool),
        };
      }),

    proveCanaries: (request) =>
      recorded(deps, request, async () => {
        const nothing = { proven: null, before: null, after: null };
        const decision = await first(request, request.first);
        if (request.pool === null || decision.kind === 'reject') return nothing;
        const proven = proveCanaries({
          after: await run(request.first.after),
          beforeWithPool: await run(request.runs.before),
          afterWithPool: await run(request.runs.after),
          planted: await planted(request.pool),
        });
        if (proven.length === 0) return nothing;
        const { failToPass, passToPass } = decision;
        const files = [...failToPass, ...passToPass].map(fileOfTest);
        const draw = (): Promise<ArtefactRef> =>
          store.putJson(drawCanaries(proven, { files, failToPass }, secretRandom));
        return { proven: await store.putJson(proven), before: await draw(), after: await draw() };
      }),

    decideFinal: (request) =>
      recorded(deps, request, async () => {
        const decision = await first(request, request.first);
        if (decision.kind === 'reject')
          return { ok: false, rejection: decision.rejection, tryNextCutoff: false };
        const runs = [request.first, request.second, request.third];
        const befores = await Promise.all(runs.map(({ before }) => run(before)));
        const afters = await Promise.all(runs.map(({ after }) => run(after)));
        const plantedIn = (records: readonly RunRecord[]) =>
          Promise.all(records.map((record) => planted(record.planted)));
        const proven = request.proven === null ? [] : await store.getJson<readonly Canary[]>(request.proven);
        const final = decideFinal({
          first: decision,
          health: await run(request.first.health),
          befores,
          afters,
          plantedByRun: { befores: await plantedIn(befores), afters: await plantedIn(afters) },
          proven,
          changedTestFiles: (await store.getJson<Candidate>(request.candidate)).testFiles,
          maxForgeryOdds: request.maxForgeryOdds ?? 1,
        });
        if (final.kind === 'reject') return { ok: false, rejection: final.rejection, tryNextCutoff: false };
        const { kind: _kind, ...accepted } = final;
        const candidate = await store.getJson<Candidate>(request.candidate);
        const statement = candidate.source === 'mutate' ? statementOf(candidate, accepted, befores) : null;
        const lists: InstanceLists = {
          ...accepted,
          optionsLeftOut: optionsLeftOut(afters[0]?.note ?? ''),
          provenCanaries: request.proven,
          forgeryOdds: final.forgeryOdds,
          ...(statement === null ? {} : { problemStatement: await store.put(statement) }),
        };
        return {
          ok: true,
          lists: await store.putJson(lists),
          gold: final.gold.verdict.verdict,
          nop: final.nop.verdict.verdict,
        };
      }),
  };
}

async function firstDecision(
  store: ArtefactStore,
  { candidate: ref }: StageOf,
  runs: FirstRuns,
): Promise<ReturnType<typeof decideFirst> & { readonly kind: FirstDecision['kind'] | 'reject' }> {
  const [candidate, health, before, after] = await Promise.all([
    store.getJson<Candidate>(ref),
    store.getJson<RunRecord>(runs.health),
    store.getJson<RunRecord>(runs.before),
    store.getJson<RunRecord>(runs.after),
  ]);
  return decideFirst({
    health,
    before,
    after,
    candidateTestFiles: candidate.testFiles,
    ...(candidate.source === 'mutate'
      ? { versions: { base: '', head: '' }, mustLeavePassing: true } // a bug changes no version
      : { versions: { base: candidate.baseVersion ?? '', head: candidate.version } }),
  });
}

const statementOf = (
  { provenance, repo }: Candidate,
  { FAIL_TO_PASS }: Pick<Acceptance, 'FAIL_TO_PASS'>,
  befores: readonly RunRecord[],
): string =>
  bugStatement({ subject: String(provenance['subject'] ?? repo), failToPass: FAIL_TO_PASS, befores });

/** Uniform in [0, 1), not to be guessed by the code under test. */
function secretRandom(): number {
  const [word = 0] = crypto.getRandomValues(new Uint32Array(1));
  return word / 2 ** 32;
}

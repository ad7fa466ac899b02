import { availableParallelism, loadavg } from 'node:os';
import type { Logger } from 'pino';
import type { ArtefactRef, Candidate, EnvironmentSpec, InstanceRow } from '../domain/types.ts';
import type { Canary, PlantedCanary, RunPlan, RunRecord } from '../domain/runs.ts';
import type { EvaluationOrigin, EvaluationResult, Grade, VerdictName } from '../domain/verdicts.ts';
import type { Ecosystem, WorkContext } from '../ecosystems/types.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';
import { canaryDoubt } from '../domain/canaries.ts';
import { drawCanaries } from '../domain/canaryPlanting.ts';
import { infraFailure } from '../domain/failures.ts';
import { gradeRun, infraGrade } from '../domain/grading.ts';
import { evaluationKey } from '../domain/ids.ts';
import { fileOfTest } from '../domain/testIds.ts';
import { createAloneGate } from './aloneGate.ts';

export interface EvaluatorDependencies {
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  readonly ecosystem: Ecosystem;
  readonly log: Logger;
  /** Whether the host is too busy for a timeout to mean anything; by default, load above the number of cores. */
  readonly underPressure?: () => boolean;
}

export interface EvaluateInput {
  readonly row: InstanceRow;
  /** A stored patch, the row's own gold, nothing at all (`nop`), or null for a prediction whose patch is empty. */
  readonly patch: ArtefactRef | 'gold' | 'nop' | null;
  readonly modelNameOrPath: string;
  /** Given by validation, audits and re-checks: such a run always executes and is never served to others. */
  readonly repetition?: number;
  /** JSON artefact of `Canary[]` proven at validation; null when the row has none. */
  readonly provenCanaries: ArtefactRef | null;
  readonly context: WorkContext;
}

export interface Evaluation {
  readonly result: EvaluationResult;
  readonly origin: EvaluationOrigin;
}

export interface Evaluator {
  /** Evaluates one prediction on one row. Throws only for infrastructure; every statement about the patch is a verdict. */
  evaluate(input: EvaluateInput): Promise<Evaluation>;
}

/** Verdicts that stay. A timeout is tried anew; an accusation sticks, or a forger would draw until the canaries miss him. */
const SERVED: ReadonlySet<VerdictName> = new Set([
  'resolved',
  'unresolved',
  'patch_failed',
  'empty_patch',
  'tampered',
]);

/** Runs, each with other canaries, of what is resolved while its canaries fail otherwise than under gold. */
const RUNS_IN_DOUBT = 3;

export const evaluationRecord = (key: string): string => `evaluations/${key}`;

/** Makes the one evaluator of a process (runs of one process know of each other; see `aloneGate`). */
export function createEvaluator(dependencies: EvaluatorDependencies): Evaluator {
  const gate = createAloneGate();
  const realised = new Map<string, Promise<void>>();
  return { evaluate };

  async function evaluate(input: EvaluateInput): Promise<Evaluation> {
    const { row } = input;
    const patch = await resolvePatch(dependencies.store, input);
    const key = keyOf(row, patch, input.provenCanaries);
    if (input.patch === null) return { result: emptyResult(input, key), origin: 'not_run' };
    if (input.repetition === undefined) {
      const stored = await dependencies.records.read<EvaluationResult>(evaluationRecord(key));
      // the key does not hold the model's name: two models may write the same patch
      if (stored !== null) {
        return { result: { ...stored, modelNameOrPath: input.modelNameOrPath }, origin: 'served' };
      }
    }
    const result = await execute(input, patch, key);
    const { verdict } = result.grade.verdict;
    const origin = verdict === 'patch_failed' || verdict === 'empty_patch' ? 'not_run' : 'executed';
    if (input.repetition !== undefined || !SERVED.has(verdict)) return { result, origin };
    const { value } = await dependencies.records.record(evaluationRecord(key), result);
    return { result: { ...value, modelNameOrPath: input.modelNameOrPath }, origin };
  }

  async function execute(
    input: EvaluateInput,
    patch: ArtefactRef | null,
    key: string,
  ): Promise<EvaluationResult> {
    const { row, context } = input;
    await ensureEnvironment(row, context);
    const { record, grade } = await runUntilBelieved(input, patch);
    const stored = await dependencies.store.putJson(record);
    dependencies.log.debug(
      { instance: row.instance_id, verdict: grade.verdict, record: stored },
      'evaluated',
    );
    return {
      schema: 1,
      instanceId: row.instance_id,
      modelNameOrPath: input.modelNameOrPath,
      key,
      grade,
      record: stored,
      patch,
    };
  }

  /**
   * Who turned the failing tests alone leaves canaries that say something else than under gold. A honest solution may, too, and
   * pays for it with time: it must be resolved again, each time among other canaries.
   */
  async function runUntilBelieved(
    input: EvaluateInput,
    patch: ArtefactRef | null,
  ): Promise<{ readonly record: RunRecord; readonly grade: Grade }> {
    const { row, context } = input;
    for (let runs = 1; ; runs += 1) {
      const planted = await draw(row, input.provenCanaries);
      const record = await runOnceMoreAlone(await planOf(row, patch, planted), row, context);
      const lists = { failToPass: row.FAIL_TO_PASS, passToPass: row.PASS_TO_PASS };
      const grade = gradeRun({ ...lists, record, planted });
      const doubtful = grade.verdict.verdict === 'resolved' && canaryDoubt(record, planted);
      if (!doubtful || runs === RUNS_IN_DOUBT) {
        const note =
          runs === 1 ? record.note : `Canaries failed otherwise than under gold; run ${runs}. ${record.note}`;
        return { record: { ...record, note: note.trim() }, grade };
      }
      dependencies.log.info(
        { instance: row.instance_id, runs },
        'resolved, but the canaries say otherwise: once more',
      );
    }
  }

  /** Runs the plan; a timeout while the host was busy says little, so it is run once more with nothing beside it. */
  async function runOnceMoreAlone(plan: RunPlan, row: InstanceRow, context: WorkContext): Promise<RunRecord> {
    const first = await gate.shared(() => run(plan, row, context));
    const busy =
      first.outcome === 'timeout' && (first.beside || (dependencies.underPressure ?? hostIsBusy)());
    if (!busy) return first.record;
    dependencies.log.info(
      { instance: row.instance_id },
      'hit the time limit on a busy host; running once more, alone',
    );
    const second = await gate.alone(() => run(plan, row, context));
    const note = 'The first run hit the time limit on a busy host; this is the second run, alone.';
    return { ...second.record, note: [note, second.record.note].filter(Boolean).join(' ') };
  }

  async function run(plan: RunPlan, row: InstanceRow, context: WorkContext) {
    let beside = gate.running() > 1;
    try {
      const record = await dependencies.ecosystem.run(plan, context);
      beside ||= gate.running() > 1;
      return { record, outcome: record.outcome, beside };
    } catch (error) {
      realised.delete(environmentOf(row)); // the environment may have been collected meanwhile
      throw error;
    }
  }

  /** The store may have collected the environment since the row was published; looked up once per process. */
  async function ensureEnvironment(row: InstanceRow, context: WorkContext): Promise<void> {
    const name = environmentOf(row);
    const pending = realised.get(name) ?? realise(row, context);
    realised.set(name, pending);
    try {
      await pending;
    } catch (error) {
      realised.delete(name);
      throw error;
    }
  }

  async function realise(row: InstanceRow, context: WorkContext): Promise<void> {
    const spec = await dependencies.store.getJson<EnvironmentSpec>(row.environment_spec);
    const outcome = await dependencies.ecosystem.realise(spec, row.environment.variant, context);
    if (!outcome.ok) {
      throw infraFailure(
        `The environment of ${row.instance_id} cannot be made again (${outcome.rejection.reason}): ${outcome.rejection.detail}`,
      );
    }
  }

  async function draw(row: InstanceRow, proven: ArtefactRef | null): Promise<readonly PlantedCanary[]> {
    if (proven === null) return [];
    const pool = await dependencies.store.getJson<readonly Canary[]>(proven);
    const files = [...row.FAIL_TO_PASS, ...row.PASS_TO_PASS].map(fileOfTest);
    return drawCanaries(pool, { files, failToPass: row.FAIL_TO_PASS }, secretRandom);
  }

  async function planOf(
    row: InstanceRow,
    patch: ArtefactRef | null,
    planted: readonly PlantedCanary[],
  ): Promise<RunPlan> {
    return {
      kind: 'evaluate',
      candidate: row.candidate,
      environment: row.environment.key,
      spec: row.environment_spec,
      variant: row.environment.variant,
      withTestPatch: true,
      patch,
      scope: row.test_scope,
      limits: row.limits,
      makeCanaryPoolOf: null,
      canaries: planted.length === 0 ? null : await dependencies.store.putJson(planted),
      ...(row.runner_options_left_out === undefined ? {} : { leftOut: row.runner_options_left_out }),
    };
  }
}

/** The stored patch of an entry; null for nop, and for an empty prediction. */
export async function resolvePatch(
  store: ArtefactStore,
  { row, patch }: Pick<EvaluateInput, 'row' | 'patch'>,
): Promise<ArtefactRef | null> {
  if (patch === null || patch === 'nop') return null;
  return patch === 'gold' ? (await store.getJson<Candidate>(row.candidate)).patch : patch;
}

/** The result to report when infrastructure failed for longer than the retry policy allows. */
export function infraResult(
  input: Pick<EvaluateInput, 'row' | 'modelNameOrPath' | 'provenCanaries'> & {
    readonly patch: ArtefactRef | null;
  },
  reason: string,
): EvaluationResult {
  const { row } = input;
  return {
    schema: 1,
    instanceId: row.instance_id,
    modelNameOrPath: input.modelNameOrPath,
    key: keyOf(row, input.patch, input.provenCanaries),
    grade: infraGrade({ failToPass: row.FAIL_TO_PASS, passToPass: row.PASS_TO_PASS }, reason),
    record: null,
    patch: input.patch,
  };
}

/** Key of an evaluation of this row; a null patch is nop. */
export const keyOf = (row: InstanceRow, patch: ArtefactRef | null, canaries: ArtefactRef | null): string =>
  evaluationKey({
    rowHash: row.row_hash,
    patch,
    canaries,
    environment: row.environment.key,
    limits: row.limits,
  });

const environmentOf = (row: InstanceRow): string => `${row.environment.key}/${row.environment.variant}`;

function emptyResult(input: EvaluateInput, key: string): EvaluationResult {
  const { row } = input;
  return {
    schema: 1,
    instanceId: row.instance_id,
    modelNameOrPath: input.modelNameOrPath,
    key,
    grade: {
      verdict: { verdict: 'empty_patch' },
      resolved: 0,
      graded: 0,
      commandResolved: 0,
      failToPass: { success: [], failure: row.FAIL_TO_PASS },
      passToPass: { success: [], failure: row.PASS_TO_PASS },
    },
    record: null,
    patch: null,
  };
}

const hostIsBusy = (): boolean => (loadavg()[0] ?? 0) > availableParallelism();

/** Uniform in [0, 1), not to be guessed by the code under test. */
function secretRandom(): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return (high * 2 ** 20 + (low >>> 12)) / 2 ** 52;
}

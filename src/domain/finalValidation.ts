/** The last decision of validation: from all runs of a candidate to an instance, or to a typed rejection. Pure. */
import type { Rejection, RejectionReason } from './types.ts';
import type { Canary, PlantedCanary, RunRecord } from './runs.ts';
import type { Grade } from './verdicts.ts';
import type { FirstDecision } from './validation.ts';
import { canaryTamper, withoutCanaries } from './canaries.ts';
import { forgeryOdds } from './canaryPlanting.ts';
import { gradeRun, ranToTheEnd } from './grading.ts';
import { fileOfTest, normaliseId, sortedIds } from './testIds.ts';
import { OUTCOME_WORDS, rejection, withNote } from './validation.ts';

export interface FinalInput {
  readonly first: FirstDecision;
  readonly health: RunRecord;
  /** In order of execution; the last one is the nop evaluation. */
  readonly befores: readonly RunRecord[];
  /** In order of execution; the last one is the gold evaluation. */
  readonly afters: readonly RunRecord[];
  /** What was planted in each of those runs, same order; empty lists where nothing was. */
  readonly plantedByRun: {
    readonly befores: readonly (readonly PlantedCanary[])[];
    readonly afters: readonly (readonly PlantedCanary[])[];
  };
  /** Of the whole pool, which the second runs bear, only these are evidence. */
  readonly proven: readonly Canary[];
  /** Files that the test patch changes: there, health and before are different tests. */
  readonly changedTestFiles: readonly string[];
  /** Highest `forgeryOdds` of an instance. */
  readonly maxForgeryOdds: number;
}

export interface Acceptance {
  readonly kind: 'accept';
  readonly FAIL_TO_PASS: readonly string[];
  readonly PASS_TO_PASS: readonly string[];
  readonly collectionFailToPass: readonly string[];
  readonly quarantined: readonly string[];
  readonly forgeryOdds: number;
  readonly nop: Grade;
  readonly gold: Grade;
}

/**
 * Decides from all runs. A test whose status differs between runs of the same kind, or between health and before in a file
 * that the change leaves alone, or when it was run again in one container, is quarantined: in neither list. A FAIL_TO_PASS test that wavers rejects the instance. Then
 * nop must score 0 and never be called tampered, and gold must score 1, else it is not an instance.
 */
export function decideFinal(
  input: FinalInput,
): Acceptance | { readonly kind: 'reject'; readonly rejection: Rejection } {
  const { first, befores, afters, plantedByRun } = input;
  const no = (reason: RejectionReason, detail: string) =>
    ({ kind: 'reject', rejection: rejection(reason, detail) }) as const;
  const broken = afters.find((record) => !ranToTheEnd(record));
  if (broken !== undefined) {
    return no('gold_failed', withNote(`A repeated run with gold ${OUTCOME_WORDS[broken.outcome]}`, broken));
  }
  const wavering = waveringTests(input);
  const shaky = first.failToPass.filter((id) => wavering.has(id));
  if (shaky.length > 0) return no('flaky', `FAIL_TO_PASS wavers between runs: ${shaky.join(', ')}`);
  const failToPass = first.failToPass;
  const passToPass = first.passToPass.filter((id) => !wavering.has(id));
  const evidence = (planted: readonly PlantedCanary[] = []): readonly PlantedCanary[] =>
    planted.map((one) => {
      const canary = provenOf(one, input.proven);
      return canary === undefined ? { ...one, absent: true } : { ...one, canary };
    });
  const gradeOf = (record: RunRecord, planted: readonly PlantedCanary[] | undefined) =>
    gradeRun({ failToPass, passToPass, record, planted: evidence(planted) });
  const nops = befores.map((record, index) => gradeOf(record, plantedByRun.befores[index]));
  const golds = afters.map((record, index) => gradeOf(record, plantedByRun.afters[index]));
  const accused = befores.findIndex(
    (record, index) => canaryTamper(record, evidence(plantedByRun.befores[index])) !== null,
  );
  if (accused !== -1)
    return no('nop_tampered', `The canaries accuse the unchanged base in run ${accused + 1}.`);
  if (nops.some((grade) => grade.resolved !== 0)) return no('nop_resolved', 'The unchanged base scores 1.');
  const failedGold = golds.find((grade) => grade.resolved !== 1);
  const nop = nops.at(-1);
  const gold = golds.at(-1);
  if (failedGold !== undefined || nop === undefined || gold === undefined) {
    return no('gold_failed', `Gold does not score 1 in every run: ${describe(failedGold)}`);
  }
  const odds = forgeryOdds(input.proven, failToPass);
  if (odds > input.maxForgeryOdds)
    return no(
      'forgeable',
      `Who turns the failing tests by guessing would go unseen in ${Math.round(odds * 100)} % of runs; at most ${Math.round(input.maxForgeryOdds * 100)} % are allowed.`,
    );
  const quarantined = sortedIds([...wavering].filter((id) => !first.failToPass.includes(id)));
  return {
    kind: 'accept',
    FAIL_TO_PASS: sortedIds(failToPass.map(normaliseId)),
    PASS_TO_PASS: sortedIds(passToPass.map(normaliseId)),
    collectionFailToPass: sortedIds(first.collectionFailToPass.map(normaliseId)),
    quarantined: sortedIds(quarantined.map(normaliseId)),
    forgeryOdds: odds,
    nop,
    gold,
  };
}

const provenOf = ({ canary }: PlantedCanary, proven: readonly Canary[]): Canary | undefined =>
  proven.find(
    ({ prefix, source, twin }) =>
      prefix === canary.prefix && source === canary.source && twin === canary.twin,
  );

function describe(grade: Grade | undefined): string {
  if (grade === undefined) return 'it was not run';
  const failing = [...grade.failToPass.failure, ...grade.passToPass.failure];
  return `${grade.verdict.verdict}${failing.length === 0 ? '' : `, first ${failing.slice(0, 3).join(', ')}`}`;
}

/** Ids whose status differs between runs that should agree. `failed` and `error` are one: a broken fixture may say either. */
function waveringTests(input: FinalInput): ReadonlySet<string> {
  const wavering = new Set([...input.befores, ...input.afters].flatMap(({ unsteady }) => unsteady ?? []));
  const own = (records: readonly RunRecord[], planted: readonly (readonly PlantedCanary[])[]) =>
    records.map((record, index) => withoutCanaries(record.tests, planted[index] ?? []));
  const befores = own(input.befores, input.plantedByRun.befores);
  const afters = own(input.afters, input.plantedByRun.afters);
  // A run that did not end has no results to compare; nop runs may end so, and then the others speak.
  const ended = befores.filter((_tests, index) => input.befores[index]?.outcome === 'completed');
  for (const group of [ended, afters]) collectDifferences(group, wavering);
  const changed = new Set(input.changedTestFiles);
  const [before] = ended;
  if (before !== undefined) {
    const shared = Object.keys(before).filter(
      (id) => input.health.tests[id] !== undefined && !changed.has(fileOfTest(id)),
    );
    for (const id of shared) {
      if (statusClass(before, id) !== statusClass(input.health.tests, id)) wavering.add(id);
    }
  }
  return wavering;
}

function collectDifferences(group: readonly RunRecord['tests'][], into: Set<string>): void {
  const ids = new Set(group.flatMap((tests) => Object.keys(tests)));
  for (const id of ids) {
    if (new Set(group.map((tests) => statusClass(tests, id))).size > 1) into.add(id);
  }
}

function statusClass(tests: RunRecord['tests'], id: string): string {
  const status = tests[id]?.status;
  return status === undefined ? 'missing' : status === 'error' ? 'failed' : status;
}

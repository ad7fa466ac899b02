/**
 * Validation: whether a candidate becomes an instance, decided from its runs (DESIGN section 6). Pure. The invariant: every
 * decision depends on statuses only, never on times, so that the same history gives the same rows. (Scope: see scope.ts.)
 */
import type { Rejection, RejectionReason } from './types.ts';
import type { CollectionError, RunRecord } from './runs.ts';
import { cutText } from './failures.ts';
import { ranToTheEnd } from './grading.ts';
import { fileOfTest, isFailing, sortedIds } from './testIds.ts';
import { isVersionOnly } from './versionOnly.ts';

export const rejection = (reason: RejectionReason, detail: string): Rejection => ({
  reason,
  detail: cutText(detail),
});

export const OUTCOME_WORDS = {
  completed: 'ended',
  empty_patch: 'had an empty patch',
  patch_failed: 'had a patch that does not apply',
  install_failed: 'could not install the project',
  timeout: 'hit the time limit',
  memory: 'ran out of memory',
  crashed: 'ended without results',
} as const;

export const withNote = (sentence: string, record: RunRecord): string =>
  record.note === '' ? `${sentence}.` : `${sentence}: ${record.note}`;

const EXIT_NOTHING_COLLECTED = 5; // pytest's

/** Whether the base, with its own tests, is a place where tests mean something: it installs, collects, and something passes. */
export function judgeHealth(
  health: RunRecord,
): { readonly ok: true } | { readonly ok: false; readonly rejection: Rejection } {
  const no = (reason: RejectionReason, detail: string) =>
    ({ ok: false, rejection: rejection(reason, detail) }) as const;
  if (health.outcome === 'install_failed') {
    return no('install_failed', health.note || 'The base does not install offline.');
  }
  if (health.outcome !== 'completed') {
    return no(
      'broken_environment',
      withNote(`The run of the base's own tests ${OUTCOME_WORDS[health.outcome]}`, health),
    );
  }
  const results = Object.values(health.tests);
  if (results.some((test) => test.status === 'passed')) return { ok: true };
  const broken = health.collectionErrors[0];
  if (broken !== undefined) {
    return no(
      'broken_environment',
      `No base test passes; ${broken.file} cannot be collected: ${broken.message}`,
    );
  }
  // A release that ships no tests has nothing to say of its environment; the test patch brings the first ones.
  if (results.length === 0 && health.exitCode === EXIT_NOTHING_COLLECTED) return { ok: true };
  const failing = results.find((test) => isFailing(test.status));
  return failing === undefined
    ? no(
        'no_tests_ran',
        withNote(`The runner passed no test of the base (${results.length} were skipped)`, health),
      )
    : no('broken_environment', `No base test passes; the first failure: ${failing.message ?? 'no message'}`);
}

export interface FirstDecision {
  readonly kind: 'continue';
  readonly failToPass: readonly string[];
  readonly passToPass: readonly string[];
  /** The part of `failToPass` whose file cannot even be collected without gold. */
  readonly collectionFailToPass: readonly string[];
}

interface FirstRejection {
  readonly kind: 'reject';
  readonly rejection: Rejection;
  /** True when an environment of another date may do better. */
  readonly tryNextCutoff: boolean;
}

export interface FirstInput {
  readonly health: RunRecord;
  readonly before: RunRecord;
  readonly after: RunRecord;
  /** Test modules of the test patch: the only place where FAIL_TO_PASS may come from. */
  readonly candidateTestFiles: readonly string[];
  readonly versions: { readonly base: string; readonly head: string };
  /** Something has to pass without gold, too: asked of bugs made by rule. */
  readonly mustLeavePassing?: boolean;
}

/**
 * Decides from one run without and one run with gold. FAIL_TO_PASS: fails before, passes after, in a file of the test
 * patch. A test that does not exist before although its file is collected is in neither list: its id was made by the source
 * (parameters over an export list), and nothing shows that it fails. PASS_TO_PASS: passes in both.
 * A test that had another status when it was run again is in neither list, and rejects the candidate as FAIL_TO_PASS.
 */
export function decideFirst(input: FirstInput): FirstDecision | FirstRejection {
  const unusable = judgeOutcomes(input);
  if (unusable !== null) return unusable;
  const { before, after, health, versions } = input;
  const candidates = new Set(input.candidateTestFiles);
  const uncollected = new Map(before.collectionErrors.map((error) => [error.file, error]));
  const brokenFiles = [...candidates].filter((file) => isBrokenFile(file, { health, before, after }));
  const failToPass: string[] = [];
  const collectionFailToPass: string[] = [];
  const versionOnly: string[] = [];
  const passToPass: string[] = [];
  for (const [id, result] of Object.entries(after.tests)) {
    if (result.status !== 'passed') continue;
    const file = fileOfTest(id);
    const earlier = before.tests[id];
    if (earlier?.status === 'passed') passToPass.push(id);
    else if (!candidates.has(file) || brokenFiles.includes(file)) continue;
    else if (earlier !== undefined && isFailing(earlier.status)) {
      (isVersionOnly(id, earlier.message ?? '', versions) ? versionOnly : failToPass).push(id);
    } else if (earlier === undefined && uncollected.has(file)) collectionFailToPass.push(id);
  }
  const all = sortedIds([...failToPass, ...collectionFailToPass]);
  if (all.length === 0) return rejectEmpty(input, brokenFiles, versionOnly);
  const unsteady = new Set([...(before.unsteady ?? []), ...(after.unsteady ?? [])]);
  const shaky = all.filter((id) => unsteady.has(id));
  if (shaky.length > 0)
    return no('flaky', `FAIL_TO_PASS wavers when it is run again: ${shaky.join(', ')}`, false);
  const steady = passToPass.filter((id) => !unsteady.has(id));
  if (input.mustLeavePassing === true && steady.length === 0)
    return no('no_pass_to_pass', `The bug breaks all ${all.length} tests that pass under gold.`, false);
  return {
    kind: 'continue',
    failToPass: all,
    passToPass: sortedIds(steady),
    collectionFailToPass: sortedIds(collectionFailToPass),
  };
}

const no = (reason: RejectionReason, detail: string, tryNextCutoff: boolean): FirstRejection => ({
  kind: 'reject',
  rejection: rejection(reason, detail),
  tryNextCutoff,
});

/**
 * What the run without gold decides alone: where nothing of the change's test files fails, no FAIL_TO_PASS can come, and
 * the run with gold is not worth its time. null: go on.
 */
export function decideBefore(
  before: RunRecord,
  candidateTestFiles: readonly string[],
): FirstRejection | null {
  if (before.outcome === 'crashed') return null; // the environment may be to blame: the run with gold tells
  const unusable = judgeBefore(before);
  if (unusable !== null) return unusable;
  const ran = Object.entries(before.tests).filter(([id]) => candidateTestFiles.includes(fileOfTest(id)));
  if (before.collectionErrors.length > 0 || ran.some(([, test]) => isFailing(test.status))) return null;
  const detail = `None of the ${ran.length} tests in the changed test files fails without gold.`;
  return no('no_fail_to_pass', detail, false);
}

function judgeBefore(before: RunRecord): FirstRejection | null {
  if (before.outcome === 'completed') return null;
  if (before.outcome === 'install_failed') {
    return no('install_failed', before.note || 'The base does not install offline.', true);
  }
  const how = OUTCOME_WORDS[before.outcome];
  return no(
    'no_fail_to_pass',
    withNote(`The run without gold ${how}, so no single test is shown to fail`, before),
    false,
  );
}

function judgeOutcomes({ before, after }: FirstInput): FirstRejection | null {
  if (after.outcome === 'patch_failed' || after.outcome === 'empty_patch') {
    return no('gold_patch_failed', withNote(`Gold ${OUTCOME_WORDS[after.outcome]}`, after), false);
  }
  if (after.outcome === 'install_failed') {
    return no('install_failed', after.note || 'The project does not install with gold.', true);
  }
  if (!ranToTheEnd(after)) {
    // Another date seldom mends a hang or a memory hog, and trying costs the whole limit each time.
    const retry = after.outcome === 'crashed' || after.outcome === 'completed';
    return no('gold_failed', withNote(`The run with gold ${OUTCOME_WORDS[after.outcome]}`, after), retry);
  }
  return judgeBefore(before);
}

/** `ModuleNotFoundError: No module named 'numpy.linalg'` → `numpy`. */
const missingModule = (error: CollectionError): string | null =>
  /No module named '?([A-Za-z_][\w]*)/.exec(error.message)?.[1] ?? null;

/**
 * A file whose collection fails for want of something outside the project: it fails under gold too, or it fails the same
 * way in the health run. (Gold cannot add a module from outside: both runs have one environment.)
 */
function isBrokenFile(
  file: string,
  runs: { readonly health: RunRecord; readonly before: RunRecord; readonly after: RunRecord },
): boolean {
  const of = (record: RunRecord) => record.collectionErrors.find((error) => error.file === file);
  const before = of(runs.before);
  const health = of(runs.health);
  return of(runs.after) !== undefined || (before !== undefined && health?.message === before.message);
}

function rejectEmpty(
  { after, before, candidateTestFiles }: FirstInput,
  brokenFiles: readonly string[],
  versionOnly: readonly string[],
): FirstRejection {
  if (versionOnly.length > 0) {
    return no(
      'version_only',
      `Only the version string explains what gold mends: ${versionOnly.join(', ')}`,
      false,
    );
  }
  const broken = brokenFiles[0];
  if (broken !== undefined) {
    const error = [...after.collectionErrors, ...before.collectionErrors].find((one) => one.file === broken);
    const module = error === undefined ? null : missingModule(error);
    const what = module === null ? (error?.message ?? '') : `module ${module} is missing`;
    return no('broken_environment', `${broken} cannot be collected, with or without gold: ${what}`, true);
  }
  const failing = Object.entries(after.tests).filter(
    ([id, test]) => isFailing(test.status) && candidateTestFiles.includes(fileOfTest(id)),
  );
  const [first] = failing;
  if (first !== undefined) {
    const [id, test] = first;
    return no(
      'gold_failed',
      `${failing.length} tests of the change fail under gold, first ${id}: ${test.message ?? ''}`,
      true,
    );
  }
  const ran = Object.keys(after.tests).filter((id) => candidateTestFiles.includes(fileOfTest(id))).length;
  return no(
    'no_fail_to_pass',
    `None of the ${ran} tests in the changed test files goes from failing to passing.`,
    false,
  );
}

/**
 * Which canaries a run gets, under which names and where: drawn anew for each run, so that nothing learned from one run helps
 * in another. Of a test and its copies each is as likely to bear the test's own name and to stand in its place: then who knows
 * every upstream name knows nothing. Results are told under everybody's own names again before anyone reads them.
 */
import type { Canary, PlantedCanary, TestResult } from './runs.ts';
import { stemsOf } from './canaries.ts';
import { shuffled } from './shuffled.ts';
import { parameterSuffix } from './testIds.ts';

/** Where a canary's source holds the place of its test name. */
export const CANARY_NAME = '@@NAME@@';

/** At most so many copies of FAIL_TO_PASS tests in a run: enough to make guessing costly, few enough to cost little time. */
export const MAX_COPIES_OF_CHANGE = 12;

/** Copies of one test in a run: at most, and at least where several tests share the room. */
const COPIES_OF_ONE = 8;
const COPIES_OF_EACH = 3;

/** At most so many canaries in a run. */
export const MAX_CANARIES_PER_RUN = MAX_COPIES_OF_CHANGE + 4;

/** Every canary of a pool, its name changed with its twin's wherever it may be: what the proving run plants. */
export function plantWholePool(pool: readonly Canary[]): readonly PlantedCanary[] {
  const taken = new Set<string>();
  const swappedTwins = new Set<string | null>();
  return pool.flatMap((canary, index): PlantedCanary[] => {
    const name = canary.names.find((one) => !taken.has(canary.prefix + one));
    if (name === undefined) return [];
    taken.add(canary.prefix + name);
    const places = canary.places ?? [];
    const swapped = canary.swapLine !== undefined && !swappedTwins.has(canary.twin);
    swappedTwins.add(canary.twin);
    const after = places[(index * 7 + 3) % Math.max(1, places.length)];
    // the first of each set in its twin's place, for the proof to show that both may stand elsewhere
    return [placed({ canary, name, swapped, atTwin: swapped && canary.firstLine !== undefined, after })];
  });
}

/** Whether the canary fails where a FAIL_TO_PASS test passes, so that a forger of that test must tell the two apart. */
export function guards(canary: Canary, failToPass: readonly string[]): boolean {
  const rows = canary.falsified === undefined ? null : Object.values(canary.falsified);
  return stemsOf({ canary, name: '' }).some(({ twin }) =>
    failToPass.some((id) => {
      const suffix = twin === null ? null : parameterSuffix(id, twin);
      return suffix !== null && (rows === null || rows.includes(suffix));
    }),
  );
}

/**
 * A secret random few of the proven canaries. First those that guard a FAIL_TO_PASS test, since a forger must turn those
 * tests. Then one for each file, the files of FAIL_TO_PASS first; then one or two more of each while there is room: who makes a
 * whole way to assert say nothing is seen by any test that asserts so.
 * A plainly failing canary stands in only where a file has no other. Of the twins without a canary in this run, every other
 * one bears another name: who turns tests by their names leaves those as they fail, and canaries are not the only new names.
 * @param random uniform in [0, 1), from a cryptographic source in production
 */
export function drawCanaries(
  proven: readonly Canary[],
  lists: { readonly files: readonly string[]; readonly failToPass: readonly string[] },
  random: () => number,
): readonly PlantedCanary[] {
  const byFile = new Map<string, readonly Canary[]>();
  for (const file of new Set(lists.files)) {
    const own = proven.filter((canary) => canary.file === file);
    const copies = own.filter((canary) => canary.twin !== null);
    if (own.length > 0) byFile.set(file, shuffled(copies.length > 0 ? copies : own.slice(0, 1), random));
  }
  const ofChange = [...byFile.values()].flat().filter((canary) => guards(canary, lists.failToPass));
  const chosen = new Set(copiesOfChange(shuffled(ofChange, random)));
  const files = [...byFile.keys()];
  const order = [...files.slice(0, 4), ...shuffled(files.slice(4), random)];
  const left = (file: string): readonly Canary[] =>
    (byFile.get(file) ?? []).filter((one) => !chosen.has(one));
  const carriers = new Set([...chosen].map(({ file }) => file));
  const first = order.filter((file) => !carriers.has(file)).flatMap((file) => left(file).slice(0, 1));
  const second = order.flatMap((file) => left(file).slice(0, 2));
  for (const canary of [...first, ...second]) if (chosen.size < MAX_CANARIES_PER_RUN) chosen.add(canary);
  const planted = named(shuffled([...chosen], random), random);
  const others = shuffled([...byFile.values()].flat(), random).filter((canary) => !chosen.has(canary));
  return [...planted, ...renamedTwins(others, planted, random)];
}

/** How much more often than one who guesses a forger is right who judges by form: 2.1 times in 40 test files of libraries. */
const SKILL = 2.5;
/** Who can tell a test from its copies must still make up how these fail where the test passes. */
const TOLD_APART = 0.95;

/** A copy that can be told from its twin only by what it asks for. */
const isAlike = ({ inverted, inBase, swapLine, falsified = {} }: Canary): boolean =>
  inverted !== true &&
  inBase !== true &&
  swapLine !== undefined &&
  Object.entries(falsified).every(([own, twin]) => own === twin); // else the ids that the row lists tell them apart

/** Copies by twin, in their order; those that can hardly be told from it first. */
function familiesOf(canaries: readonly Canary[]): readonly (readonly Canary[])[] {
  const families = new Map<string | null, Canary[]>();
  const rank = (canary: Canary): number => (isAlike(canary) ? 0 : canary.inverted === true ? 2 : 1);
  for (const canary of canaries.toSorted((a, b) => rank(a) - rank(b)))
    families.set(canary.twin, [...(families.get(canary.twin) ?? []), canary]);
  return [...families.values()];
}

/**
 * At most `MAX_COPIES_OF_CHANGE`: many copies of a few tests, as a forger must be right about each of them, then one of each
 * other test while there is room.
 */
function copiesOfChange(canaries: readonly Canary[]): readonly Canary[] {
  const families = familiesOf(canaries);
  const deep = families
    .map((family) => family.filter(isAlike))
    .filter(({ length }) => length > 0)
    .toSorted((a, b) => Math.min(b.length, COPIES_OF_ONE) - Math.min(a.length, COPIES_OF_ONE))
    .slice(0, MAX_COPIES_OF_CHANGE / COPIES_OF_EACH);
  const each = Math.min(COPIES_OF_ONE, Math.floor(MAX_COPIES_OF_CHANGE / Math.max(1, deep.length)));
  const chosen = deep.flatMap((family) => family.slice(0, each));
  const others = families.flatMap(([first]) =>
    first === undefined || chosen.includes(first) ? [] : [first],
  );
  return [...chosen, ...others].slice(0, MAX_COPIES_OF_CHANGE);
}

/**
 * Odds, 0 to 1, with which a forger wins who turns failing tests as gold would, makes up how their copies would fail then, and
 * of each FAIL_TO_PASS test and its copies in a run must pick the test. 1 where no test has a copy: there nothing is seen.
 * Copies that can be told from their test lower them little: inverted ones, those that cannot change names with the test or
 * have other parameters' ids, and those of a test that stands in the base.
 */
export function forgeryOdds(proven: readonly Canary[], failToPass: readonly string[]): number {
  const ofChange = copiesOfChange(proven.filter((canary) => guards(canary, failToPass)));
  if (ofChange.length === 0) return 1;
  const odds = familiesOf(ofChange).map((family) => SKILL / (family.filter(isAlike).length + 1));
  return Math.min(
    TOLD_APART,
    odds.reduce((product, one) => product * Math.min(1, one), 1),
  );
}

/** Twins that bear another name although their canary is left out: a coin for each. */
function renamedTwins(
  canaries: readonly Canary[],
  planted: readonly PlantedCanary[],
  random: () => number,
): readonly PlantedCanary[] {
  const taken = new Set(planted.map(({ canary, name }) => canary.prefix + name));
  const seen = new Set(planted.map(({ canary }) => canary.twin));
  return canaries.flatMap((canary): PlantedCanary[] => {
    const name = shuffled(canary.names, random).find((one) => !taken.has(canary.prefix + one));
    if (name === undefined || canary.swapLine === undefined || seen.has(canary.twin)) return [];
    seen.add(canary.twin);
    if (random() < 0.5) return [];
    taken.add(canary.prefix + name);
    return [{ canary, name, swapped: true, absent: true }];
  });
}

/** Names and places, and who changes them: of a twin and its canaries each is as likely to bear the twin's own, and to stand there. */
function named(canaries: readonly Canary[], random: () => number): readonly PlantedCanary[] {
  const taken = new Set<string>();
  const bearers = oneOfEach(canaries, ({ swapLine }) => swapLine !== undefined, random);
  // what may hang on a name may hang on a place
  const stayers = oneOfEach(
    canaries,
    ({ swapLine, firstLine }) => swapLine !== undefined && firstLine !== undefined,
    random,
  );
  return canaries.flatMap((canary): PlantedCanary[] => {
    const name = shuffled(canary.names, random).find((one) => !taken.has(canary.prefix + one));
    if (name === undefined) return [];
    taken.add(canary.prefix + name);
    const swapped = bearers.has(canary);
    const atTwin = stayers.has(canary);
    return [placed({ canary, name, swapped, atTwin, after: shuffled(canary.places ?? [], random)[0] })];
  });
}

/** Of each twin and those of its canaries that are able, one with equal odds; the canaries among them. */
function oneOfEach(
  canaries: readonly Canary[],
  able: (canary: Canary) => boolean,
  random: () => number,
): ReadonlySet<Canary> {
  const twins = [...new Set(canaries.map(({ twin }) => twin))].filter((twin) => twin !== null);
  const found = twins.map((twin) => {
    const members = [undefined, ...canaries.filter((one) => one.twin === twin && able(one))];
    return members[Math.floor(random() * members.length)];
  });
  return new Set(found.filter((canary) => canary !== undefined));
}

const placed = (one: {
  readonly canary: Canary;
  readonly name: string;
  readonly swapped: boolean;
  readonly atTwin: boolean;
  readonly after: number | undefined;
}): PlantedCanary => ({
  canary: one.canary,
  name: one.name,
  ...(one.after === undefined ? {} : { after: one.after }),
  ...(one.atTwin ? { atTwin: true } : {}),
  ...(one.swapped ? { swapped: true } : {}),
});

/**
 * The text of a test file with its canaries inserted. Keeps the file's line ends; the canaries' own lines take the file's
 * first line end. `planted` of other files are ignored.
 */
export function plantCanaries(source: string, file: string, planted: readonly PlantedCanary[]): string {
  const here = planted.filter((one) => one.canary.file === file);
  if (here.length === 0) return source;
  const lines = source.match(/[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$/g) ?? [];
  const lineEnd = /\r\n|\r|\n/.exec(source)?.[0] ?? '\n';
  const inserts = new Map<number, string>();
  for (const { canary, name, swapped } of here) if (swapped === true) renameTwin(lines, canary, name);
  for (const one of here.filter(({ absent }) => absent !== true)) {
    const { canary, name } = one;
    const bearing = one.swapped === true ? twinName(canary) : name;
    const after = one.after ?? canary.insertAfterLine;
    let text = canary.source.replaceAll(CANARY_NAME, () => bearing).replaceAll(/\r\n|\r|\n/g, lineEnd);
    if (one.atTwin === true) text = inPlaceOfTwin(lines, canary, text, lineEnd);
    inserts.set(after, (inserts.get(after) ?? '') + text);
  }
  let text = inserts.get(0) ?? '';
  for (const [index, line] of lines.entries()) {
    const insert = inserts.get(index + 1);
    const closed = insert === undefined || line === '' || /[\r\n]$/.test(line) ? line : line + lineEnd;
    text += closed + (insert ?? '');
  }
  return text;
}

/** Puts a canary's text into its twin's lines; returns the twin's text, spaced as the canary's was. */
function inPlaceOfTwin(lines: string[], canary: Canary, text: string, lineEnd: string): string {
  const first = (canary.firstLine ?? canary.insertAfterLine) - 1;
  const count = canary.insertAfterLine - first;
  const [gap = ''] = /^(?:\r\n|\r|\n)*/.exec(text) ?? [];
  const twin = lines.slice(first, first + count).join('');
  lines.splice(first, count, text.slice(gap.length), ...Array<string>(count - 1).fill(''));
  return gap + (/[\r\n]$/.test(twin) ? twin : twin + lineEnd);
}

const twinName = ({ twin, prefix }: Canary): string => (twin ?? '').slice(prefix.length);

function renameTwin(lines: string[], canary: Canary, name: string): void {
  const at = (canary.swapLine ?? 0) - 1;
  const own = twinName(canary);
  const line = lines[at] ?? '';
  const start = line.search(/\bdef\s/);
  const found = start === -1 ? -1 : line.indexOf(own, start);
  if (found === -1)
    throw new Error(`${canary.file}:${at + 1} does not define ${own}: the pool is of another file.`);
  lines[at] = line.slice(0, found) + name + line.slice(found + own.length);
}

/** A node id, as the run spelled it, under the test's own name. */
function ownId(id: string, swapped: readonly PlantedCanary[]): string {
  for (const { canary, twin } of swapped.flatMap(stemsOf)) {
    const ofCanary = twin === null ? null : parameterSuffix(id, twin);
    if (ofCanary !== null) return canary + ofCanary;
    const ofTwin = parameterSuffix(id, canary);
    if (ofTwin !== null) return twin + ofTwin;
  }
  return id;
}

const swappedOf = (planted: readonly PlantedCanary[]): readonly PlantedCanary[] =>
  planted.filter(({ swapped }) => swapped === true);

/** Results of a run, in which names may have been changed, under everybody's own names. */
export function underOwnNames(
  tests: Readonly<Record<string, TestResult>>,
  planted: readonly PlantedCanary[],
): Readonly<Record<string, TestResult>> {
  const swapped = swappedOf(planted);
  if (swapped.length === 0) return tests;
  return Object.fromEntries(Object.entries(tests).map(([id, test]) => [ownId(id, swapped), test]));
}

/** The same for node ids in what the runner printed, for whoever reads a log. */
export function logUnderOwnNames(log: string, planted: readonly PlantedCanary[]): string {
  const swapped = swappedOf(planted);
  const stems = swapped.flatMap(stemsOf).flatMap(({ canary, twin }) => [twin ?? '', canary]);
  if (stems.length === 0) return log;
  const spelled = stems
    .toSorted((a, b) => b.length - a.length)
    .map((stem) => stem.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`));
  const ids = new RegExp(String.raw`(?:${spelled.join('|')})(?![\p{L}\p{N}_])`, 'gu');
  return log.replaceAll(ids, (id) => ownId(id, swapped));
}

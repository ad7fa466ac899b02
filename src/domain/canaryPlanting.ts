/**
 * Which canaries a run gets, under which names and where: drawn anew for each run, so that nothing learned from one run helps
 * in another. Half of the time a canary bears its twin's own name and the genuine test one of the canary's: then who knows
 * every upstream name knows nothing. Results are told under everybody's own names again before anyone reads them.
 */
import type { Canary, PlantedCanary, TestResult } from './runs.ts';
import { canaryStem } from './canaries.ts';
import { shuffled } from './shuffled.ts';
import { parameterSuffix } from './testIds.ts';

/** Where a canary's source holds the place of its test name. */
export const CANARY_NAME = '@@NAME@@';

/** At most so many canaries per run: enough to make guessing costly, few enough to cost no time. */
export const MAX_CANARIES_PER_RUN = 8;

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
    return [placed({ canary, name, swapped, after: places[(index * 7 + 3) % Math.max(1, places.length)] })];
  });
}

/**
 * A secret random few of the proven canaries. First those whose twin is a FAIL_TO_PASS test, since a forger must turn those
 * tests, as many of these as can be; up to half of the places. Then one for each file, the files of FAIL_TO_PASS first; then more while there is room.
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
    const inverted = own.filter((canary) => canary.twin !== null);
    if (own.length > 0) byFile.set(file, shuffled(inverted.length > 0 ? inverted : own.slice(0, 1), random));
  }
  const isOfChange = ({ twin }: Canary): boolean =>
    twin !== null && lists.failToPass.some((id) => parameterSuffix(id, twin) !== null);
  const ofChange = spreadOverTwins(shuffled([...byFile.values()].flat().filter(isOfChange), random));
  const files = [...byFile.keys()];
  const half = MAX_CANARIES_PER_RUN / 2;
  const order = [...files.slice(0, half), ...shuffled(files.slice(half), random)];
  const chosen = new Set(ofChange.slice(0, half));
  const carriers = new Set([...chosen].map(({ file }) => file));
  const first = order
    .filter((file) => !carriers.has(file))
    .flatMap((file) => byFile.get(file)?.slice(0, 1) ?? []);
  const second = order.flatMap((file) => (random() < 0.5 ? (byFile.get(file)?.slice(1, 2) ?? []) : []));
  for (const canary of [...first, ...second]) if (chosen.size < MAX_CANARIES_PER_RUN) chosen.add(canary);
  const planted = named(shuffled([...chosen], random), random);
  const others = shuffled([...byFile.values()].flat(), random).filter((canary) => !chosen.has(canary));
  return [...planted, ...renamedTwins(others, planted, random)];
}

/** A copy of every test before a second one of any, exchanged before inverted ones: a forger must be right about each test. */
function spreadOverTwins(canaries: readonly Canary[]): readonly Canary[] {
  const copies = new Map<string | null, number>();
  return canaries
    .toSorted((a, b) => Number(a.inverted === true) - Number(b.inverted === true))
    .map((canary) => {
      const copy = copies.get(canary.twin) ?? 0;
      copies.set(canary.twin, copy + 1);
      return { canary, copy };
    })
    .toSorted((a, b) => a.copy - b.copy)
    .map(({ canary }) => canary);
}

/** Twins that bear another name although their canary is left out: a coin for each. */
function renamedTwins(
  canaries: readonly Canary[],
  planted: readonly PlantedCanary[],
  random: () => number,
): readonly PlantedCanary[] {
  const taken = new Set(planted.map(canaryStem));
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

/** Names, places, and who changes names: of a twin and its canaries each is as likely to bear the twin's own. */
function named(canaries: readonly Canary[], random: () => number): readonly PlantedCanary[] {
  const taken = new Set<string>();
  const bearers = new Map<string, Canary | undefined>();
  for (const { twin } of canaries) {
    if (twin === null || bearers.has(twin)) continue;
    const able = canaries.filter((one) => one.twin === twin && one.swapLine !== undefined);
    bearers.set(twin, [undefined, ...able][Math.floor(random() * (able.length + 1))]);
  }
  return canaries.flatMap((canary): PlantedCanary[] => {
    const name = shuffled(canary.names, random).find((one) => !taken.has(canary.prefix + one));
    if (name === undefined) return [];
    taken.add(canary.prefix + name);
    const swapped = canary.twin !== null && bearers.get(canary.twin) === canary;
    return [placed({ canary, name, swapped, after: shuffled(canary.places ?? [], random)[0] })];
  });
}

const placed = (one: {
  readonly canary: Canary;
  readonly name: string;
  readonly swapped: boolean;
  readonly after: number | undefined;
}): PlantedCanary => ({
  canary: one.canary,
  name: one.name,
  ...(one.after === undefined ? {} : { after: one.after }),
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
  for (const one of here) {
    const { canary, name } = one;
    if (one.swapped === true) renameTwin(lines, canary, name);
    if (one.absent === true) continue;
    const bearing = one.swapped === true ? twinName(canary) : name;
    const text = canary.source.replaceAll(CANARY_NAME, () => bearing).replaceAll(/\r\n|\r|\n/g, lineEnd);
    const after = one.after ?? canary.insertAfterLine;
    inserts.set(after, (inserts.get(after) ?? '') + text);
  }
  let text = inserts.get(0) ?? '';
  for (const [index, line] of lines.entries()) {
    const insert = inserts.get(index + 1);
    const closed = insert === undefined || /[\r\n]$/.test(line) ? line : line + lineEnd;
    text += closed + (insert ?? '');
  }
  return text;
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
  for (const one of swapped) {
    const twin = one.canary.twin ?? '';
    const ofCanary = parameterSuffix(id, twin);
    if (ofCanary !== null) return canaryStem(one) + ofCanary;
    const ofTwin = parameterSuffix(id, canaryStem(one));
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
  const stems = swapped.flatMap((one) => [one.canary.twin ?? '', canaryStem(one)]);
  if (stems.length === 0) return log;
  const spelled = stems
    .toSorted((a, b) => b.length - a.length)
    .map((stem) => stem.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`));
  const ids = new RegExp(String.raw`(?:${spelled.join('|')})(?![\p{L}\p{N}_])`, 'gu');
  return log.replaceAll(ids, (id) => ownId(id, swapped));
}

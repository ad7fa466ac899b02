/**
 * Tasks for the selector, made from instances: the gold patch among others that look like it. By rule and seed, so that
 * the same dataset gives the same tasks. Pure.
 */
import { drawsOf } from '../domain/draws.ts';
import { shuffled } from '../domain/shuffled.ts';
import type { InstanceRow } from '../domain/types.ts';
import { lineMutations } from './lineMutations.ts';
import { formatPatch, parsePatch } from './patchText.ts';
import type { PatchFile } from './patchText.ts';
import { SMALL_VIEW, selectorMessages } from './selector.ts';
import type { SelectorView } from './selector.ts';
import type { SelectorTask } from './types.ts';

/** K of the field's examples, and of the tests. */
export const CANDIDATES = 4;

/** About 560 tokens of a vocabulary of 4,096: what a model of a million parameters was seen to learn from. */
export const SMALL_PROMPT_CHARACTERS = 1_700;

type Candidate = SelectorTask['candidates'][number];
type TaskRow = Pick<InstanceRow, 'instance_id' | 'patch' | 'problem_statement'>;

export interface SelectorTasks {
  readonly tasks: readonly SelectorTask[];
  /** Instances of which no task could be made, and why. */
  readonly leftOut: readonly { readonly instanceId: string; readonly why: string }[];
}

export interface SelectorTaskOptions {
  readonly seed: number;
  /** As which the prompt is measured; default: a small model's. */
  readonly view?: SelectorView;
  /** Longest prompt; null for any. */
  readonly maxPromptCharacters?: number | null;
}

/** The tasks of a dataset, in its order. */
export function selectorTasks(rows: readonly TaskRow[], options: SelectorTaskOptions): SelectorTasks {
  const tasks: SelectorTask[] = [];
  const leftOut: SelectorTasks['leftOut'][number][] = [];
  for (const row of rows) {
    const made = selectorTask(row, { ...options, place: tasks.length });
    if ('task' in made) tasks.push(made.task);
    else leftOut.push({ instanceId: row.instance_id, why: made.why });
  }
  return { tasks, leftOut };
}

/** One row's task: gold, part of gold where it has several hunks, mutants of gold, and a change without effect. */
export function selectorTask(
  row: TaskRow,
  {
    seed,
    place,
    view = SMALL_VIEW,
    maxPromptCharacters = SMALL_PROMPT_CHARACTERS,
  }: SelectorTaskOptions & { readonly place?: number },
): { readonly task: SelectorTask } | { readonly why: string } {
  const gold = parsePatch(row.patch);
  if (gold.every(({ hunks }) => hunks.length === 0)) return { why: 'gold has no text' };
  const random = drawsOf(`candidates ${seed} ${row.instance_id}`);
  const nop = nopOf(gold, random);
  const [first, ...mutants] = mutantsOf(gold, random);
  const elsewhere = elsewhereOf(gold, random);
  // one that nearly is gold and one that changes another line: candidates that differ by a word alone are hard to tell apart
  const certain = [partialOf(gold, random), nop, first, elsewhere[0]].filter(
    (one) => one !== null && one !== undefined,
  );
  const others = distinct(row.patch, [...certain, ...mutants, ...elsewhere]).slice(0, CANDIDATES - 1);
  if (others.length < CANDIDATES - 1) return { why: `only ${others.length} other patches could be made` };
  const task: SelectorTask = {
    schema: 1,
    instanceId: row.instance_id,
    ...(place === undefined ? {} : { place }),
    problem: row.problem_statement,
    candidates: [{ patch: row.patch, origin: 'gold' }, ...others],
  };
  const [prompt] = selectorMessages(task, [...task.candidates.keys()], view);
  const characters = prompt?.content?.length ?? 0;
  return maxPromptCharacters !== null && characters > maxPromptCharacters
    ? { why: `its prompt has ${characters} characters, more than ${maxPromptCharacters}` }
    : { task };
}

function distinct(gold: string, candidates: readonly Candidate[]): readonly Candidate[] {
  const seen = new Set([formatPatch(parsePatch(gold))]);
  return candidates.filter(({ patch }) => !seen.has(patch) && seen.add(patch).size > 0);
}

/** Half of gold's hunks. */
function partialOf(gold: readonly PatchFile[], random: () => number): Candidate | null {
  const places = gold.flatMap(({ hunks }, file) => hunks.map((_hunk, hunk) => `${file}.${hunk}`));
  if (places.length < 2) return null;
  const kept = new Set(shuffled(places, random).slice(0, Math.floor(places.length / 2)));
  const files = gold.flatMap((file, at) => {
    const hunks = file.hunks.filter((_hunk, hunk) => kept.has(`${at}.${hunk}`));
    return hunks.length === 0 && file.hunks.length > 0 ? [] : [{ ...file, hunks }];
  });
  return { patch: formatPatch(files), origin: 'partial' };
}

/** Gold without its changes, and a comment where it would have changed something. */
function nopOf(gold: readonly PatchFile[], random: () => number): Candidate | null {
  const [file] = shuffled(
    gold.filter(
      ({ header, path }) => path.endsWith('.py') && !header.some((line) => line.startsWith('new file')),
    ),
    random,
  );
  const hunk = file?.hunks.find(({ lines }) => lines.some((line) => /^[ -].*\S/.test(line)));
  if (file === undefined || hunk === undefined) return null;
  const before = hunk.lines.filter((line) => !line.startsWith('+')).map((line) => line.replace(/^-/, ' '));
  const changed = hunk.lines.findIndex((line) => /^[+-]/.test(line));
  const removed = hunk.lines[changed]?.startsWith('-') === true;
  const at = removed ? changed : Math.min(changed, before.length - 1);
  const indent = /^ (\s*)/.exec(before[at] ?? '')?.[1] ?? '';
  const word = /[A-Za-z_]{3,}/.exec(before[at] ?? '')?.[0] ?? 'below';
  const lines = before.toSpliced(at, 0, `+${indent}# ${random() < 0.5 ? 'see' : 'note'}: ${word}`);
  const header = file.header.filter((line) => !/^(old mode|new mode|similarity|rename|deleted) /.test(line));
  return { patch: formatPatch([{ ...file, header, hunks: [{ ...hunk, lines }] }]), origin: 'nop' };
}

/** Gold with one of its added lines changed by a rule: in drawn order, of different rules and lines first. */
function mutantsOf(gold: readonly PatchFile[], random: () => number): readonly Candidate[] {
  const all = addedLines(gold).flatMap(({ file, hunk, line, text }) =>
    lineMutations(text).flatMap((mutation) => {
      const lines = gold[file]?.hunks[hunk]?.lines ?? [];
      const changed =
        mutation.text === null ? lines.toSpliced(line, 1) : lines.with(line, `+${mutation.text}`);
      return changesNothing(changed)
        ? []
        : [{ rule: mutation.kind, line: `${file}.${hunk}.${line}`, file, hunk, changed }];
    }),
  );
  // a line that is only gone is the least telling of them
  const rest = shuffled(all, random).toSorted(
    (a, b) => Number(a.rule === 'drop') - Number(b.rule === 'drop'),
  );
  const rules = new Set<string>();
  const first = rest.filter(({ rule }) => !rules.has(rule) && rules.add(rule).size > 0);
  return [...first, ...rest.filter((one) => !first.includes(one))].map(({ file, hunk, changed }) => ({
    patch: formatPatch(
      gold.map((one, at) =>
        at === file
          ? {
              ...one,
              hunks: one.hunks.map((old, place) => (place === hunk ? { ...old, lines: changed } : old)),
            }
          : one,
      ),
    ),
    origin: 'mutant',
  }));
}

/** The base with another line beside gold's place changed by a rule, gold's own left as it is: mended in the wrong place. */
function elsewhereOf(gold: readonly PatchFile[], random: () => number): readonly Candidate[] {
  const all = gold.flatMap((file, at) =>
    !file.path.endsWith('.py')
      ? []
      : file.hunks.flatMap((hunk, place) => {
          const before = hunk.lines.filter((line) => !line.startsWith('+'));
          const quoted = before.some((line) => /"""|'''/.test(line));
          return quoted
            ? []
            : before.flatMap((line, index) =>
                line.startsWith(' ')
                  ? lineMutations(line.slice(1)).flatMap(({ text }) =>
                      text === null
                        ? []
                        : [
                            {
                              at,
                              place,
                              lines: before
                                .map((one) => one.replace(/^-/, ' '))
                                .toSpliced(index, 1, `-${line.slice(1)}`, `+${text}`),
                            },
                          ],
                    )
                  : [],
              );
        }),
  );
  return shuffled(all, random).map(({ at, place, lines }) => {
    const { header, hunks, path } = gold[at] ?? { header: [], hunks: [], path: '' };
    const plain = header.filter((line) => !/^(old mode|new mode|similarity|rename|deleted) /.test(line));
    const oldStart = hunks[place]?.oldStart ?? 1;
    return { patch: formatPatch([{ header: plain, path, hunks: [{ oldStart, lines }] }]), origin: 'mutant' };
  });
}

/** Gold's added lines of Python code, outside of docstrings. */
function addedLines(
  gold: readonly PatchFile[],
): readonly { readonly file: number; readonly hunk: number; readonly line: number; readonly text: string }[] {
  return gold.flatMap(({ path, hunks }, file) =>
    !path.endsWith('.py')
      ? []
      : hunks.flatMap(({ lines }, hunk) => {
          let quoted = false;
          return lines.flatMap((line, at) => {
            const quotes = line.startsWith('-') ? 0 : line.split(/"""|'''/).length - 1;
            const inside = quoted || quotes > 0;
            quoted = quotes % 2 === 1 ? !quoted : quoted;
            return line.startsWith('+') && !inside ? [{ file, hunk, line: at, text: line.slice(1) }] : [];
          });
        }),
  );
}

/** What is added is what is removed: the mutation has undone gold. */
function changesNothing(lines: readonly string[]): boolean {
  const side = (sign: string): string =>
    lines
      .filter((line) => line.startsWith(sign) || line.startsWith(' '))
      .map((line) => line.slice(1))
      .join('\n');
  return side('+') === side('-');
}

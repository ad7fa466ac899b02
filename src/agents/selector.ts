/**
 * The selector: reads an issue and candidate patches, and answers with the letter of the one that solves it. One turn, no
 * sandbox. A verifier for best-of-n, and small enough for a model of a million parameters to learn. Pure.
 */
import { drawsOf } from '../domain/draws.ts';
import { groupNumber } from '../domain/rl/groupIds.ts';
import type { RlOptions } from '../domain/rl/options.ts';
import { shuffled } from '../domain/shuffled.ts';
import { briefPatch } from './patchText.ts';
import type { ChatMessage, SelectorTask } from './types.ts';

/** How much of a task is shown, and how. */
export interface SelectorView {
  readonly problemCharacters: number;
  /** Of each candidate. */
  readonly patchCharacters: number;
  /** Unchanged lines around each change. */
  readonly contextLines: number;
  /**
   * `margin`: each line of a candidate begins with its letter, and only what differs is shown: a model of two layers learns
   * to answer with the letter beside what it has seen, which it did not where the letter stood in a heading alone.
   */
  readonly letters: 'heading' | 'margin';
}

/** For a model of a million parameters. */
export const SMALL_VIEW: SelectorView = {
  problemCharacters: 100,
  patchCharacters: 500,
  contextLines: 0,
  letters: 'margin',
};

const SMALL_CONTEXT_TOKENS = 8_192;

/** How much fits: a model with a large context is shown long issues and patches nearly whole. */
export const selectorView = (maxTokens: number): SelectorView =>
  maxTokens < SMALL_CONTEXT_TOKENS
    ? SMALL_VIEW
    : {
        problemCharacters: 8_000,
        patchCharacters: Math.floor((maxTokens * 3) / 8),
        contextLines: 3,
        letters: 'heading',
      };

/** The letters of K candidates: A, B, C, … */
export const choiceLetters = (count: number): readonly string[] =>
  Array.from({ length: count }, (_none, at) => String.fromCodePoint(65 + at));

/**
 * The prompt: the issue, then the candidates in this order (`order[0]` is the index of candidate A). The same task and
 * order give the same text.
 */
export function selectorMessages(
  task: SelectorTask,
  order: readonly number[],
  view: SelectorView,
): readonly ChatMessage[] {
  const letters = choiceLetters(order.length);
  const texts = order.map((index) => briefPatch(task.candidates[index]?.patch ?? '', view.contextLines));
  const candidates =
    view.letters === 'heading'
      ? texts.map((text, at) => `${letters[at]}:\n${cut(text, view.patchCharacters)}`)
      : withoutSharedPath(texts).map((text, at) =>
          inMargin(letters[at] ?? '', cut(text, view.patchCharacters)),
        );
  const problem = task.problem.trim();
  const shown = view.letters === 'heading' ? problem : (problem.split('\n')[0] ?? '');
  const content = [cut(shown, view.problemCharacters), ...candidates, QUESTION].join('\n\n');
  return [{ role: 'user', content }];
}

/** The path that all candidates begin with tells them apart by nothing. */
function withoutSharedPath(texts: readonly string[]): readonly string[] {
  const paths = new Set(texts.map((text) => text.split('\n', 1)[0]));
  return paths.size > 1 ? texts : texts.map((text) => text.split('\n').slice(1).join('\n'));
}

const inMargin = (letter: string, text: string): string =>
  text
    .split('\n')
    .map((line) => `${letter} ${line}`)
    .join('\n');

const QUESTION = 'Which patch solves it? Answer with one letter.';

/** Ends at a line's or a word's end where there is one not far before the limit. */
function cut(text: string, characters: number): string {
  if (text.length <= characters) return text;
  const kept = text.slice(0, characters);
  const end = Math.max(kept.lastIndexOf('\n'), kept.lastIndexOf(' '));
  return `${(end > characters * 0.8 ? kept.slice(0, end) : kept).trimEnd()} …`;
}

/**
 * The order of a group's candidates, drawn by its name; balanced, so that no letter is right more often than another:
 * over K consecutive groups the right candidate stands once at each place. `fixed`: by instance instead of by group,
 * balanced over K consecutive instances of the dataset.
 */
export function selectorOrder(
  task: SelectorTask,
  draw: {
    readonly seed: number;
    readonly group: string;
    readonly candidateOrder: RlOptions['candidateOrder'];
  },
): readonly number[] {
  const { seed, group, candidateOrder } = draw;
  const fixed = candidateOrder === 'fixed';
  const name = fixed ? `${seed} ${task.instanceId}` : `${seed} ${group} ${task.instanceId}`;
  const count = task.candidates.length;
  const number = fixed ? task.place : groupNumber(group);
  const order = shuffled([...task.candidates.keys()], drawsOf(`order ${name}`));
  if (number === undefined) return order;
  const block = shuffled([...order.keys()], drawsOf(`places ${seed} ${Math.floor(number / count)}`));
  return withAt(order, rightOf(task), block[number % count] ?? 0);
}

/** Index of the candidate that is right by how it was made. */
export const rightOf = ({ candidates }: SelectorTask): number =>
  Math.max(
    0,
    candidates.findIndex(({ origin }) => origin === 'gold'),
  );

/** The order with one item moved to a place, by an exchange. */
function withAt(order: readonly number[], item: number, place: number): readonly number[] {
  const from = order.indexOf(item);
  return order.map((one, at) => (at === place ? item : at === from ? (order[place] ?? one) : one));
}

/**
 * Index into the order of the letter that an answer chooses: the one it begins with, or says to be its answer, or the only
 * one it names. null when it chooses none, or several.
 */
export function parseChoice(text: string, count: number): number | null {
  const letters = choiceLetters(count);
  // "A patch" is an article and a noun
  const letter = `(A(?! [a-z])|[${letters.slice(1).join('')}])(?![A-Za-z0-9_'])`;
  const leading = new RegExp(`^[\\s(*"'\`]*${letter}(?! or )`).exec(text)?.[1];
  const said = [...text.matchAll(new RegExp(`answer(?: is)?[\\s:*("'\`]*${letter}`, 'gi'))].at(-1)?.[1];
  const named = [...text.matchAll(new RegExp(`(?<![A-Za-z0-9_])${letter}`, 'g'))].map((one) => one[1]);
  const only = new Set(named).size === 1 ? named[0] : undefined;
  const found = leading ?? said ?? only;
  return found === undefined ? null : letters.indexOf(found.toUpperCase());
}

/**
 * Mean score of whoever always answers with the same letter, at its best: what an order that leaks would give away.
 * `scores` says what a candidate is worth (1 where its patch resolves the instance); by default only gold is worth 1.
 */
export function constantBest(
  tasks: readonly SelectorTask[],
  orders: readonly (readonly number[])[],
  scores: (task: SelectorTask, candidate: number) => number = (task, candidate) =>
    task.candidates[candidate]?.origin === 'gold' ? 1 : 0,
): { readonly letter: string; readonly score: number } {
  const count = Math.max(0, ...orders.map((order) => order.length));
  const sums = choiceLetters(count).map((letter, at) => ({
    letter,
    score:
      orders.reduce((sum, order, index) => {
        const task = tasks[index];
        const candidate = order[at];
        return sum + (task === undefined || candidate === undefined ? 0 : scores(task, candidate));
      }, 0) / Math.max(1, orders.length),
  }));
  return sums.reduce((best, one) => (one.score > best.score ? one : best), { letter: 'A', score: 0 });
}

import type { Vote } from '../domain/consensus.ts';
import type { LabelDimension, LabelScore } from '../domain/types.ts';
import { cutText } from '../domain/failures.ts';

export const LABEL_DIMENSIONS: readonly LabelDimension[] = ['issue_clarity', 'test_fairness', 'effort'];

/** What one answer said, dimension by dimension; null where it said nothing usable. */
export type ParsedVote = Readonly<Record<LabelDimension, Vote | null>>;

const MAX_RATIONALE_CHARACTERS = 600;
/** A flood of braces is no answer, and each start may cost a walk over the whole text. */
const MAX_OBJECT_STARTS = 300;
const WORDS: Readonly<Record<string, LabelScore>> = { zero: 0, one: 1, two: 2, three: 3 };
const NOTHING: ParsedVote = { issue_clarity: null, test_fairness: null, effort: null };

/**
 * Reads a model's answer: think-blocks and code fences are taken off, the last JSON object that scores anything wins,
 * and if there is none, lines such as `Issue clarity: 2` are read. A score is 0, 1, 2 or 3, as number, digit, word or
 * `2/3`; anything else (1.5, 4, "0-3") is no vote.
 */
export function parseVote(answer: string | null): ParsedVote {
  if (answer === null) return NOTHING;
  const text = withoutThinking(answer);
  for (const object of jsonObjects(text).toReversed()) {
    const vote = fromObject(object);
    if (LABEL_DIMENSIONS.some((dimension) => vote[dimension] !== null)) return vote;
  }
  return fromProse(text);
}

export const isComplete = (vote: ParsedVote): boolean =>
  LABEL_DIMENSIONS.every((dimension) => vote[dimension] !== null);

/** The first answer stands; its retry only fills what was missing. */
export const filledBy = (vote: ParsedVote, retry: ParsedVote): ParsedVote => ({
  issue_clarity: vote.issue_clarity ?? retry.issue_clarity,
  test_fairness: vote.test_fairness ?? retry.test_fairness,
  effort: vote.effort ?? retry.effort,
});

/** Some servers drop the opening tag; an opening tag without end means that the answer was never reached. */
function withoutThinking(answer: string): string {
  const closed = answer.replace(/<(think|thinking|reasoning)>[\s\S]*?<\/\1>/gi, ' ');
  const afterLastEnd = closed.split(/<\/(?:think|thinking|reasoning)>/i).at(-1) ?? '';
  return afterLastEnd.split(/<(?:think|thinking|reasoning)>/i)[0] ?? '';
}

/** Every outermost `{...}` of a text that is valid JSON, in order. */
function jsonObjects(text: string): readonly Readonly<Record<string, unknown>>[] {
  const found: Readonly<Record<string, unknown>>[] = [];
  let start = text.indexOf('{');
  for (let tries = 0; start !== -1 && tries < MAX_OBJECT_STARTS; tries += 1) {
    const end = endOfObject(text, start);
    const value = end === -1 ? undefined : parsed(text.slice(start, end));
    if (value !== undefined) found.push(value);
    start = text.indexOf('{', value === undefined ? start + 1 : end);
  }
  return found;
}

/** Index after the brace that closes the one at `start`, or -1. Braces inside strings do not count. */
function endOfObject(text: string, start: number): number {
  let depth = 0;
  let inString = false;
  for (let index = start; index < text.length; index += 1) {
    const character = text[index];
    if (inString) {
      if (character === '\\') index += 1;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '{') depth += 1;
    else if (character === '}') {
      depth -= 1;
      if (depth === 0) return index + 1;
    }
  }
  return -1;
}

function parsed(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    // models like trailing commas
    const value: unknown = JSON.parse(text.replace(/,(\s*[}\]])/g, '$1'));
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const normalised = (key: string): string => key.toLowerCase().replace(/[^a-z]+/g, '_');

function fromObject(object: Readonly<Record<string, unknown>>): ParsedVote {
  const byName = new Map(Object.entries(object).map(([key, value]) => [normalised(key), value]));
  const read = (dimension: LabelDimension): Vote | null => {
    const value = byName.get(dimension);
    if (!isRecord(value)) {
      const score = scoreOf(value ?? byName.get(`${dimension}_score`));
      return score === null ? null : { score, rationale: textOf(byName.get(`${dimension}_reason`)) };
    }
    const score = scoreOf(value['score']);
    if (score === null) return null;
    const alternative = textOf(value['rejected_solution']);
    const reason = textOf(value['reason'] ?? value['rationale'] ?? value['explanation']);
    const useful = score > 0 && alternative !== '' && !/^none\b/i.test(alternative);
    return {
      score,
      rationale: cutText(
        useful ? `${reason} Rejected: ${alternative}`.trim() : reason,
        MAX_RATIONALE_CHARACTERS,
      ),
    };
  };
  return {
    issue_clarity: read('issue_clarity'),
    test_fairness: read('test_fairness'),
    effort: read('effort'),
  };
}

const textOf = (value: unknown): string =>
  typeof value === 'string' ? cutText(value.replace(/\s+/g, ' ').trim(), MAX_RATIONALE_CHARACTERS) : '';

function scoreOf(value: unknown): LabelScore | null {
  if (value === 0 || value === 1 || value === 2 || value === 3) return value;
  if (typeof value !== 'string') return null;
  const match =
    /^\s*(?:score\s*[:=]?\s*)?([0-3]|zero|one|two|three)(?:\s*\/\s*3)?(?![\d.]|\s*(?:-|–|to|or)\s*(?:\d|zero|one|two|three))\b/i.exec(
      value,
    );
  return match?.[1] === undefined ? null : digitOf(match[1]);
}

const digitOf = (text: string): LabelScore | null => {
  const digit = WORDS[text.toLowerCase()] ?? Number(text);
  return digit === 0 || digit === 1 || digit === 2 || digit === 3 ? digit : null;
};

/** `**Issue clarity**: 2 - reason`, `test_fairness = one`, `Effort score: 3/3`. The last mention wins. */
function fromProse(text: string): ParsedVote {
  const read = (dimension: LabelDimension): Vote | null => {
    const name = dimension.replace('_', '[ _-]?');
    const pattern = new RegExp(
      `\\b${name}\\b["'*_\`]*(?:\\s+score)?["'*_\`]*\\s*(?:[:=]|is)\\s*["'*_\`]*([0-3]|zero|one|two|three)\\b(?!\\s*(?:-|–|to|or)\\s*(?:\\d|zero|one|two|three)|[.,]\\d)(.*)`,
      'gi',
    );
    const match = [...text.matchAll(pattern)].at(-1);
    const score = match?.[1] === undefined ? null : digitOf(match[1]);
    if (score === null) return null;
    return { score, rationale: textOf((match?.[2] ?? '').replace(/^[\s/3)*:;,.–-]+/, '')) };
  };
  return {
    issue_clarity: read('issue_clarity'),
    test_fairness: read('test_fairness'),
    effort: read('effort'),
  };
}

import { heuristicConsensus } from '../domain/consensus.ts';
import type { LabelConsensus, LabelScore } from '../domain/types.ts';
import { hiddenNames, hiddenTexts } from './hiddenNames.ts';
import { changeEntropyBits, patchFacts } from './patchFacts.ts';
import type { Labeler, LabelInput } from './types.ts';

/**
 * Labels without a language model: rules over the text, the change and the tests. Deterministic. The rules are ours and
 * were not fitted to human votes: they sort instances roughly and say in words what they saw.
 */
export function createHeuristicLabeler(): Labeler {
  return {
    name: 'heuristic-v1',
    label: async (input) => ({
      labeler: 'heuristic-v1',
      issue_clarity: clarityOf(input.problemStatement),
      test_fairness: fairnessOf(input),
      effort: effortOf(input.patch),
      usage: { requests: 0, promptTokens: 0, cachedPromptTokens: 0, completionTokens: 0, usd: 0 },
    }),
  };
}

/** Signals that a text lets its reader know what a right change must do. */
const CLARITY_SIGNALS: readonly {
  readonly name: string;
  readonly pattern: RegExp;
  readonly points: number;
}[] = [
  { name: 'code', pattern: /```|^(?: {4}|\t)\S|^>>> /m, points: 2 },
  {
    name: 'an error with traceback',
    pattern: /Traceback \(most recent call last\)|^\w*(?:Error|Exception): /m,
    points: 2,
  },
  {
    name: 'expected and actual behaviour',
    pattern: /\bexpect(?:ed|s)?\b|\bactual(?:ly)?\b|\binstead of\b|\bshould(?:n't| not)?\b|\brather than\b/i,
    points: 2,
  },
  {
    name: 'an outcome',
    pattern: /\braises?\b.*\b\w+(?:Error|Exception)\b|\breturns?\b|\bno longer\b|\bnow\b/i,
    points: 1,
  },
  {
    name: 'steps to reproduce',
    pattern: /\bsteps to reproduce\b|\breproduc(?:e|es|er|tion|ible)\b|\bminimal example\b/i,
    points: 1,
  },
  {
    name: 'names from the code',
    pattern: /`[^`\n]+`|\b\w+\(\)|\b[a-z]+_[a-z_]+\b|\b[a-z]+[A-Z]\w+\b/,
    points: 1,
  },
  {
    name: 'what changes',
    pattern:
      /\b(?:fix(?:e[sd])?|add(?:s|ed)?|rais(?:e[sd]?|ing)|return(?:s|ed)?|support(?:s|ed)?|fail(?:s|ed)?|allow(?:s|ed)?|handle[sd]?)\b/i,
    points: 1,
  },
];

/** Words that carry content: links, issue numbers and markup say nothing by themselves. */
function contentWords(text: string): number {
  const bare = text.replace(/https?:\/\/\S+|#\d+|\b[0-9a-f]{7,40}\b|@[\w-]+|[*_#>`~|=-]+/g, ' ');
  return bare.split(/\s+/).filter((word) => /[A-Za-z]{2}/.test(word)).length;
}

function clarityOf(problem: string): LabelConsensus {
  const words = contentWords(problem);
  const found = CLARITY_SIGNALS.filter((signal) => signal.pattern.test(problem));
  const lengthPoints = words >= 60 ? 2 : words >= 20 ? 1 : 0;
  const points = lengthPoints + found.reduce((sum, signal) => sum + signal.points, 0);
  const lines = problem.split('\n').filter((line) => line.trim() !== '').length;
  const score: LabelScore = words < 5 ? 3 : points >= 6 ? 0 : points >= 3 ? 1 : points >= 2 ? 2 : 3;
  const kind = lines <= 1 && words < 40 ? ', a single line as in a changelog' : '';
  const signals =
    found.length === 0 ? 'none of the signs of a clear request' : found.map((s) => s.name).join(', ');
  return heuristicConsensus(
    score,
    `${words} words of content in ${lines} line(s)${kind}; has ${signals} (${points} points).`,
  );
}

/** Minutes-like size at which the next score begins: SWE-bench Verified's bands are 15 min, 1 h and 4 h. */
const EFFORT_BANDS = [15, 60, 240] as const;

function effortOf(patch: string): LabelConsensus {
  const files = patchFacts(patch);
  const hunks = files.flatMap((file) => file.hunks).filter((hunk) => hunk.changedLines > 0);
  const lines = hunks.reduce((sum, hunk) => sum + hunk.changedLines, 0);
  const entropy = changeEntropyBits(hunks.map((hunk) => hunk.changedLines));
  // a line costs about a minute; scattered lines cost more, and each further file must be found and understood
  const size = lines * (1 + entropy / 4) + 10 * Math.max(0, files.length - 1);
  const score = EFFORT_BANDS.filter((band) => size >= band).length as LabelScore;
  return heuristicConsensus(
    score,
    `${lines} changed line(s) in ${hunks.length} hunk(s) of ${files.length} file(s), entropy of the change ${entropy.toFixed(1)} bits: size ${Math.round(size)}, bands at ${EFFORT_BANDS.join(', ')}.`,
  );
}

/** More fixed tests than this and the tests ask for more than one thing. */
const MANY_FAIL_TO_PASS = 25;

function fairnessOf(input: LabelInput): LabelConsensus {
  const names = hiddenNames(input);
  const texts = hiddenTexts(input);
  const reach = `${input.failToPass.length} fixed and ${input.passToPass.length} guarding test(s)`;
  if (names.length > 0) {
    const shown = names.slice(0, 5).join(', ');
    return heuristicConsensus(
      names.length >= 2 ? 3 : 2,
      `The tests use ${names.length} name(s) that only gold adds and the text does not give: ${shown}; ${reach}.`,
    );
  }
  if (texts.length > 0) {
    return heuristicConsensus(
      2,
      `The tests compare with ${texts.length} text(s) that only gold words so: ${JSON.stringify(texts[0])}; ${reach}.`,
    );
  }
  const doubts = [
    ...(input.failToPass.length > MANY_FAIL_TO_PASS ? ['many tests must change at once'] : []),
    ...(input.passToPass.length === 0 ? ['nothing guards existing behaviour'] : []),
  ];
  return heuristicConsensus(
    doubts.length > 0 ? 1 : 0,
    `The tests use no name or text that only gold has; ${reach}${doubts.length > 0 ? `; ${doubts.join(' and ')}` : ''}.`,
  );
}

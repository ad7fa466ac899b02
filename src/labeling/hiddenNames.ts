import { patchFacts } from './patchFacts.ts';
import type { LabelInput } from './types.ts';

/**
 * What tests may demand although no solver can know it (SPICE's typical defect): names and texts that gold introduces,
 * that the tests use, and that neither the problem statement nor the code at the base contains.
 */

/** Ways in which Python introduces a name that a test may use. Parameters count only when passed by keyword. */
const DEFINITIONS: readonly RegExp[] = [
  /^\s*(?:async\s+)?def\s+(\w+)/,
  /^\s*class\s+(\w+)/,
  /^([A-Za-z_]\w*)\s*(?::[^=]+)?=(?!=)/, // module level only: locals are nobody's business
  /\bself\.(\w+)\s*(?::[^=]+)?=(?!=)/,
];
const PARAMETER = /[(,]\s*\*{0,2}([A-Za-z_]\w*)\s*(?=[:=,)])/g;
const TEXT = /(["'])((?:(?!\1)[^\\\n]|\\.){12,})\1/g;

const isOrdinary = (name: string): boolean =>
  name.length < 3 || /^(?:__\w+__|self|cls|args|kwargs|test\w*|Test\w*)$/.test(name);

interface Sides {
  readonly goldAdds: readonly string[];
  readonly testsAdd: readonly string[];
  /** All that a solver can read. */
  readonly known: string;
  readonly knownWords: ReadonlySet<string>;
}

function sidesOf(input: LabelInput): Sides {
  const gold = patchFacts(input.patch);
  const tests = patchFacts(input.testPatch);
  const readable = [...gold, ...tests].flatMap((file) => [...file.deleted, ...file.context, file.path]);
  const known = [input.problemStatement, ...readable, ...input.files.map((file) => file.content)].join('\n');
  return {
    goldAdds: gold.flatMap((file) => file.added),
    testsAdd: tests.flatMap((file) => file.added),
    known,
    knownWords: new Set(known.match(/[A-Za-z_]\w*/g) ?? []),
  };
}

/** New names that the tests use, sorted. A name that the tests define themselves does not count. */
export function hiddenNames(input: LabelInput): readonly string[] {
  const { goldAdds, testsAdd, knownWords } = sidesOf(input);
  const testText = testsAdd.map((line) => line.replace(/(^|\s)#.*$/, '')).join('\n');
  const testWords = new Set(testText.match(/[A-Za-z_]\w*/g) ?? []);
  const testDefines = new Set(testsAdd.flatMap(definedNames));
  const defined = goldAdds.flatMap(definedNames).filter((name) => testWords.has(name));
  const passed = goldAdds
    .flatMap((line) => (/^\s*(?:async\s+)?def\s/.test(line) ? parametersOf(line) : []))
    .filter((name) => new RegExp(`[(,]\\s*${name}\\s*=(?!=)`).test(testText));
  const candidates = [...defined, ...passed].filter(
    (name) => !isOrdinary(name) && !knownWords.has(name) && !testDefines.has(name),
  );
  return [...new Set(candidates)].sort();
}

const definedNames = (line: string): readonly string[] =>
  DEFINITIONS.flatMap((pattern) => pattern.exec(line)?.[1] ?? []);

const parametersOf = (line: string): readonly string[] =>
  [...line.matchAll(PARAMETER)].flatMap((match) => match[1] ?? []);

/** Sentences of gold (12 characters or more, with a space) that the tests repeat, sorted: exact messages. */
export function hiddenTexts(input: LabelInput): readonly string[] {
  const { goldAdds, testsAdd, known } = sidesOf(input);
  const inTests = textsOf(testsAdd);
  const shared = textsOf(goldAdds).filter((text) =>
    inTests.some((other) => other.includes(text) || text.includes(other)),
  );
  return [...new Set(shared)].filter((text) => !known.includes(text)).sort();
}

const textsOf = (lines: readonly string[]): readonly string[] =>
  lines
    .flatMap((line) => [...line.matchAll(TEXT)].map((match) => (match[2] ?? '').trim()))
    .filter((text) => text.includes(' '));

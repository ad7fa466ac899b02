/** Small changes of one line of Python, by rule and not by sense: what a careless hand might have written instead. Pure. */

export interface MutatedLine {
  /** null: the line is dropped. */
  readonly text: string | null;
  readonly kind: 'operator' | 'constant' | 'comparison' | 'condition' | 'arguments' | 'drop';
}

type Kind = MutatedLine['kind'];

/** What is found outside of strings and comments, and what may stand there instead. */
const EXCHANGES: readonly (readonly [
  kind: Kind,
  pattern: RegExp,
  others: (found: string) => readonly string[],
])[] = [
  ['comparison', /(?<![=!<>+\-*/%&|^:@])(?:==|!=)(?!=)/g, (op) => [op === '==' ? '!=' : '==']],
  [
    'comparison',
    /(?<![<>=-])[<>]=?(?![<>=])/g,
    (op) => [op.length === 1 ? `${op}=` : op.slice(0, 1), flip(op)],
  ],
  ['comparison', /\bis not\b/g, () => ['is']],
  ['comparison', /\bis\b(?! not\b)/g, () => ['is not']],
  ['comparison', /\bnot in\b/g, () => ['in']],
  ['condition', /\band\b/g, () => ['or']],
  ['condition', /\bor\b/g, () => ['and']],
  ['condition', /(?<!\bis )\bnot (?!in\b)/g, () => ['']],
  ['condition', /(?<=^\s*(?:el)?if |^\s*while )(?!not\b)/g, () => ['not ']],
  ['operator', /(?<=[\w)\]] )[+](?= )/g, () => ['-']],
  ['operator', /(?<=[\w)\]] )-(?= )/g, () => ['+']],
  ['operator', /(?<=[\w)\]] ?)(?<![*])[*](?![*=,)])(?= ?[\w(])/g, () => ['+']],
  ['operator', /(?<=[\w)\]] )\/\/(?= )/g, () => ['/']],
  ['operator', /(?<=[\w)\]] )%(?= )/g, () => ['//']],
  ['operator', /(?<=[\w)\]] )[+]=(?= )/g, () => ['-=']],
  ['operator', /(?<=[\w)\]] )-=(?= )/g, () => ['+=']],
  ['constant', /\bTrue\b/g, () => ['False']],
  ['constant', /\bFalse\b/g, () => ['True']],
  ['constant', /(?<=\breturn )(?!None\b)\S.*$/g, () => ['None']],
  [
    'constant',
    /(?<![\w.])\d+(?![\w.])/g,
    (digits) => [String(Number(digits) + 1), String(Number(digits) - 1)],
  ],
  [
    'arguments',
    /(?<=\w\()[A-Za-z_][\w.]*, [A-Za-z_][\w.]*(?=[,)])/g,
    (pair) => [pair.split(', ').toReversed().join(', ')],
  ],
  ['arguments', /(?<=\w\([^()]*), [A-Za-z_][\w.]*(?=\))/g, () => ['']],
];

const flip = (operator: string): string => operator.replace(/[<>]/, (one) => (one === '<' ? '>' : '<'));

/** Every other line that the rules make of this one, in the order of the rules, without doubles. */
export function lineMutations(line: string): readonly MutatedLine[] {
  if (line.trim() === '' || line.trim().startsWith('#')) return [];
  const plain = withoutLiterals(line);
  const seen = new Set([line]);
  const found: MutatedLine[] = [];
  const add = (text: string | null, kind: Kind): void => {
    if (text !== null && (seen.has(text) || text.trim() === '')) return;
    if (text !== null) seen.add(text);
    found.push({ text, kind });
  };
  for (const [kind, pattern, others] of EXCHANGES)
    for (const match of plain.matchAll(pattern))
      for (const other of others(match[0]))
        add(line.slice(0, match.index) + other + line.slice(match.index + match[0].length), kind);
  for (const { index, length } of literals(line))
    if (length > 2) add(line.slice(0, index + 1) + line.slice(index + length - 1), 'constant');
  if (!/[:([{,\\]\s*$/.test(plain)) add(null, 'drop');
  return found;
}

const LITERAL = /(?<!["'])(["'])(?!\1)(?:\\.|(?!\1).)*\1(?!["'])/g;

const literals = (line: string): readonly { readonly index: number; readonly length: number }[] =>
  [...line.matchAll(LITERAL)].map((match) => ({ index: match.index, length: match[0].length }));

/** The line with the insides of strings, and a comment, blanked: places stay. */
function withoutLiterals(line: string): string {
  const blanked = line.replace(
    LITERAL,
    (literal) => literal.slice(0, 1) + ' '.repeat(literal.length - 2) + literal.slice(-1),
  );
  const comment = blanked.indexOf('#');
  return comment < 0 ? blanked : blanked.slice(0, comment) + ' '.repeat(blanked.length - comment);
}

import type { InstanceRow, LabelScore } from '../domain/types.ts';

/** Upper bounds of issue clarity, test fairness and effort, in this order (the paper keeps 1,1,1). */
export type MaxScores = readonly [LabelScore, LabelScore, LabelScore];

/** Reads `1,1,1`; returns one sentence when it is not three scores from 0 to 3. */
export function parseMaxScores(text: string): MaxScores | { readonly problem: string } {
  const match = /^\s*([0-3])\s*,\s*([0-3])\s*,\s*([0-3])\s*$/.exec(text);
  if (match === null) {
    return {
      problem: `"${text}" is not three scores: give issue clarity, test fairness and effort as 0 to 3, for example 1,1,1.`,
    };
  }
  return match.slice(1).map(Number) as unknown as MaxScores;
}

/** True exactly when each of the row's three scores is at most its bound. */
export function withinScores(row: Pick<InstanceRow, 'labels'>, max: MaxScores): boolean {
  const { issue_clarity, test_fairness, effort } = row.labels;
  return issue_clarity.score <= max[0] && test_fairness.score <= max[1] && effort.score <= max[2];
}

/**
 * Whether a row's licence is among those allowed. An SPDX expression is evaluated (`OR` needs one side, `AND` both);
 * any other text is allowed when it holds an allowed name as whole words. Unknown licences are never allowed.
 */
export function licenseAllowed(license: string | null, allowed: readonly string[]): boolean {
  if (license === null || license.trim() === '') return false;
  const expression = parseExpression(tokens(license));
  if (expression !== null) return holds(expression, allowed);
  return allowed.some((name) => wholeWords(license, name));
}

type Expression =
  | { readonly kind: 'id'; readonly id: string }
  | { readonly kind: 'and' | 'or'; readonly left: Expression; readonly right: Expression };

const tokens = (text: string): readonly string[] => text.match(/[()]|[^\s()]+/g) ?? [];

function holds(expression: Expression, allowed: readonly string[]): boolean {
  switch (expression.kind) {
    case 'id':
      return allowed.some((name) => name.trim().toLowerCase() === expression.id.toLowerCase());
    case 'and':
      return holds(expression.left, allowed) && holds(expression.right, allowed);
    case 'or':
      return holds(expression.left, allowed) || holds(expression.right, allowed);
  }
}

/** `OR` binds weaker than `AND`, which binds weaker than `WITH` (SPDX 2.3, annex D); null when it is not an expression. */
function parseExpression(words: readonly string[]): Expression | null {
  let at = 0;
  const word = (): string => words[at] ?? '';
  const binary = (kind: 'and' | 'or', operand: () => Expression | null): Expression | null => {
    let left = operand();
    while (left !== null && word().toUpperCase() === kind.toUpperCase()) {
      at += 1;
      const right = operand();
      left = right === null ? null : { kind, left, right };
    }
    return left;
  };
  const simple = (): Expression | null => {
    if (word() === '(') {
      at += 1;
      const inner = either();
      if (inner === null || word() !== ')') return null;
      at += 1;
      return inner;
    }
    if (!/^[A-Za-z0-9][A-Za-z0-9.+:-]*$/.test(word()) || /^(and|or|with)$/i.test(word())) return null;
    let id = word();
    at += 1;
    if (word().toUpperCase() === 'WITH') {
      id = `${id} WITH ${words[at + 1] ?? ''}`;
      at += 2;
    }
    return { kind: 'id', id };
  };
  const either = (): Expression | null => binary('or', () => binary('and', simple));
  const expression = either();
  return at === words.length ? expression : null;
}

function wholeWords(text: string, name: string): boolean {
  const escaped = name.trim().replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  return escaped !== '' && new RegExp(`(?<![A-Za-z0-9-])${escaped}(?![A-Za-z0-9-])`, 'i').test(text);
}

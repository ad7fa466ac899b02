import type { InstanceRow } from '../domain/types.ts';
import { DEFAULT_LOG_PARSER, parseLog, parserSpelling, type LogParserName } from './logParser.ts';

/** What a row's named parser can tell apart in gold's log. */
export interface ParsedLists {
  readonly failToPass: readonly string[];
  readonly passToPass: readonly string[];
  /** Listed tests left out because the parser spells another test the same way. */
  readonly colliding: number;
  /** Listed tests left out because the parser does not read them as passed in gold's own log. */
  readonly unread: number;
}

/**
 * FAIL_TO_PASS and PASS_TO_PASS as the row's named parser spells them in gold's log.
 * `allTests` are the full node ids of every test of the gold run: a name is only kept when it means one test.
 */
export function parsedLists(
  row: Pick<InstanceRow, 'FAIL_TO_PASS' | 'PASS_TO_PASS'>,
  gold: { readonly log: string; readonly allTests: readonly string[] },
  parser: LogParserName,
): ParsedLists {
  const read = parseLog(parser, gold.log);
  const meanings = new Map<string, Set<string>>();
  for (const id of [...gold.allTests, ...row.FAIL_TO_PASS, ...row.PASS_TO_PASS]) {
    const name = parserSpelling(parser, id);
    meanings.set(name, (meanings.get(name) ?? new Set()).add(id));
  }
  const names = [...meanings.keys()].toSorted((a, b) => (a < b ? -1 : 1));
  let colliding = 0;
  let unread = 0;
  const keep = (ids: readonly string[]): readonly string[] =>
    ids.flatMap((id) => {
      const name = parserSpelling(parser, id);
      if ((meanings.get(name)?.size ?? 0) > 1 || isPrefixOfAnother(name, names)) colliding += 1;
      else if (!['PASSED', 'XFAIL'].includes(read.get(name) ?? '')) unread += 1;
      else return [name];
      return [];
    });
  return { failToPass: keep(row.FAIL_TO_PASS), passToPass: keep(row.PASS_TO_PASS), colliding, unread };
}

/**
 * The parser that loses the fewest of the row's tests, with its lists. Rows whose ids hold no spaces get the plain
 * `parse_log_pytest`; where it would drop tests, `parse_log_pytest_v2` keeps whole ids.
 */
export function bestParsedLists(
  row: Pick<InstanceRow, 'FAIL_TO_PASS' | 'PASS_TO_PASS'>,
  gold: { readonly log: string; readonly allTests: readonly string[] },
): ParsedLists & { readonly parser: LogParserName } {
  const plain = { ...parsedLists(row, gold, DEFAULT_LOG_PARSER), parser: DEFAULT_LOG_PARSER };
  if (plain.colliding + plain.unread === 0) return plain;
  const whole = { ...parsedLists(row, gold, 'parse_log_pytest_v2'), parser: 'parse_log_pytest_v2' as const };
  return whole.colliding + whole.unread < plain.colliding + plain.unread ? whole : plain;
}

/**
 * The harness takes a name with an unclosed bracket as a prefix when it finds no exact match, so such a name must not
 * be the beginning of another test's name.
 */
function isPrefixOfAnother(name: string, sortedNames: readonly string[]): boolean {
  const count = (character: string): number => name.split(character).length - 1;
  if (count('[') <= count(']')) return false;
  let low = 0;
  let high = sortedNames.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sortedNames[middle] ?? '') <= name) low = middle + 1;
    else high = middle;
  }
  return sortedNames[low]?.startsWith(name) ?? false;
}

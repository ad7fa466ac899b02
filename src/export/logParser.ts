/**
 * How SWE-bench's named log parsers (swebench 5.0.2) read a pytest log. Exported FAIL_TO_PASS and PASS_TO_PASS must be
 * spelt the way the row's own parser spells them, or the official harness finds none of our tests.
 */

export type LogParserName = 'parse_log_pytest' | 'parse_log_pytest_v2';

const STATUSES: readonly string[] = ['FAILED', 'PASSED', 'SKIPPED', 'ERROR', 'XFAIL'];

/** The parser named in exported rows. */
export const DEFAULT_LOG_PARSER: LogParserName = 'parse_log_pytest';

/** What Python's `str.split()` splits at; JavaScript's \s lacks the separators and next-line, and adds the BOM. */
// oxlint-disable-next-line no-control-regex -- Python splits at these separators
const PYTHON_SPACE = /[\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

const pythonSplit = (line: string): readonly string[] =>
  line.split(PYTHON_SPACE).filter((word) => word !== '');

/** pytest folds skips as `SKIPPED [3] path:line: reason`; the count is not a test. */
const isSkipSummary = (status: string, name: string): boolean =>
  status === 'SKIPPED' && /^\[\d+\]$/.test(name);

/** The harness opens logs in text mode: `\r\n` and a lone `\r` both end a line. */
const logLines = (log: string): readonly string[] => log.replace(/\r\n?/g, '\n').split('\n');

/**
 * Test name → status word as the parser reads them; the last line that names a test wins. A line need only begin with a
 * status, so captured output such as `ERROR: no such file` puts words into the map that are no status; grading ignores them.
 */
export function parseLog(parser: LogParserName, log: string): ReadonlyMap<string, string> {
  const statuses = new Map<string, string>();
  for (const line of logLines(log)) {
    const read = parser === 'parse_log_pytest' ? readCut(line) : readWhole(line);
    if (read !== null) statuses.set(read.name, read.status);
  }
  return statuses;
}

/** How the parser spells a full node id that stands in a status line. */
export function parserSpelling(parser: LogParserName, nodeId: string): string {
  const words = pythonSplit(nodeId);
  return parser === 'parse_log_pytest' ? (words[0] ?? '') : words.join(' ');
}

function readCut(line: string): { name: string; status: string } | null {
  if (!STATUSES.some((status) => line.startsWith(status))) return null;
  const words = pythonSplit(line.startsWith('FAILED') ? line.replaceAll(' - ', ' ') : line);
  const [status, name] = words;
  if (status === undefined || name === undefined || isSkipSummary(status, name)) return null;
  return { name, status };
}

function readWhole(rawLine: string): { name: string; status: string } | null {
  // colours lose their escape first, then every control character goes
  // oxlint-disable-next-line no-control-regex -- the parser deletes exactly these
  const line = rawLine.replace(/\[\d+m/g, '').replace(/[\u0001-\u001f]/g, '');
  if (STATUSES.some((status) => line.startsWith(status))) {
    const words = pythonSplit(line.startsWith('FAILED') ? (line.split(' - ')[0] ?? '') : line);
    const [status, ...rest] = words;
    if (status === undefined || rest[0] === undefined || isSkipSummary(status, rest[0])) return null;
    return { name: rest.join(' '), status };
  }
  if (!STATUSES.some((status) => line.endsWith(status))) return null;
  const words = pythonSplit(line);
  const status = words.at(-1);
  return words.length >= 2 && status !== undefined ? { name: words.slice(0, -1).join(' '), status } : null;
}

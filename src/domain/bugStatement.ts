/** The problem statement of an instance whose bug was made by rule: what its failing tests show, and nothing of the fix. Pure. */
import type { RunRecord } from './runs.ts';
import { fileOfTest } from './testIds.ts';

export interface BugFacts {
  /** What is broken, as a person names it, e.g. `parse 1.20.2`. */
  readonly subject: string;
  readonly failToPass: readonly string[];
  /** Runs without gold, in order of execution; the first bore no canaries. */
  readonly befores: readonly RunRecord[];
}

const LISTED = 8;
const MAX_LINE_CHARACTERS = 200;

/**
 * A Markdown text of the failing tests: their names, parameters left out, and how each fails. Equal runs give the equal text:
 * of a message that the runs do not agree on, or that holds its test's name, only the exception's name is told.
 */
export function bugStatement({ subject, failToPass, befores }: BugFacts): string {
  const tests = new Map<string, string>();
  for (const id of failToPass) {
    const name = id.replace(/\[.*$/s, '');
    if (!tests.has(name)) tests.set(name, failureOf(id, befores));
  }
  const listed = [...tests].slice(0, LISTED);
  const rest = tests.size - listed.length;
  return [
    `# ${subject}: ${count(failToPass.length)} that passed before`,
    '',
    `Something in the code of ${subject} is wrong since the last change. ${failToPass.length === 1 ? 'This test, which is' : 'These tests, which are'} right and not in this tree, now ${failToPass.length === 1 ? 'fails' : 'fail'}:`,
    '',
    ...listed.map(([name, failure]) => `- \`${name}\`${failure === '' ? '' : `\n  ${inCode(failure)}`}`),
    ...(rest === 0 ? [] : [`- and ${rest} more`]),
    '',
    'Find the mistake in the code and mend it. Everything that works now must go on working.',
    '',
  ].join('\n');
}

const count = (tests: number): string => (tests === 1 ? 'a test fails' : `${tests} tests fail`);

/** A code span whatever the text holds (CommonMark: as many backticks as the text has not). */
function inCode(text: string): string {
  const fence = '`'.repeat(1 + Math.max(0, ...(text.match(/`+/g) ?? []).map((run) => run.length)));
  const pad = text.startsWith('`') || text.endsWith('`') ? ' ' : '';
  return `${fence}${pad}${text}${pad}${fence}`;
}

/** First line of what the test said, when every run says so; else the exception's name, or ''. */
function failureOf(id: string, befores: readonly RunRecord[]): string {
  const said = befores.map((record) => saidIn(record, id));
  const [first = ''] = said;
  const own = id.replace(/\[.*$/s, '').split('::').at(-1) ?? id;
  if (said.every((line) => line === first) && !first.includes(own)) return first;
  const exception = (line: string): string => /^[A-Za-z_][\w.]*(?=:|$)/.exec(line)?.[0] ?? '';
  return said.every((line) => exception(line) === exception(first)) ? exception(first) : '';
}

function saidIn(record: RunRecord, id: string): string {
  const message =
    record.tests[id]?.message ??
    record.collectionErrors.find(({ file }) => file === fileOfTest(id))?.message ??
    '';
  const line = message.split('\n').find((one) => one.trim() !== '') ?? '';
  const steady = line
    .trim()
    .replaceAll(/0x[0-9a-fA-F]{4,}/g, '0x…')
    .replaceAll(/\/tmp\/[^\s'")]+/g, '/tmp/…');
  return steady.length > MAX_LINE_CHARACTERS ? `${steady.slice(0, MAX_LINE_CHARACTERS)}…` : steady;
}

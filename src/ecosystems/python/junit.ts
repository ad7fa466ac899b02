/**
 * pytest's JUnit file (family xunit1) → test results under the ids that pytest itself prints.
 * The trap: a case names its class as dotted text and, as `file`, the place where the function is *defined*. A test that a
 * class inherits from another module is therefore found by its classname, against the files that are known to exist.
 */
import { XMLParser, XMLValidator } from 'fast-xml-parser';
import type { CollectionError, TestResult, TestStatus } from '../../domain/runs.ts';
import { normaliseId } from '../../domain/testIds.ts';

export interface JunitResults {
  readonly tests: Readonly<Record<string, TestResult>>;
  readonly collectionErrors: readonly CollectionError[];
  /** Files that ids were found in only because they were given as known: needed to read this file again. */
  readonly inferredFiles: readonly string[];
}

const MAX_MESSAGE_CHARACTERS = 500;

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: '@',
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
  htmlEntities: true, // else `&#10;` in a message stays as it is
  processEntities: { maxTotalExpansions: 100_000_000, maxExpandedLength: 1024 ** 3 },
  isArray: (name) => ['testsuite', 'testcase', 'failure', 'error', 'skipped'].includes(name),
});

interface Outcome {
  readonly '@message'?: string;
  readonly '@type'?: string;
  readonly '#text'?: string;
}

interface Case {
  readonly '@classname'?: string;
  readonly '@name'?: string;
  readonly '@file'?: string;
  readonly '@time'?: string;
  readonly failure?: readonly (Outcome | string)[];
  readonly error?: readonly (Outcome | string)[];
  readonly skipped?: readonly (Outcome | string)[];
}

/**
 * Parses a JUnit file of pytest.
 * @param knownFiles paths that tests may live in (the tree's modules); more than needed does no harm
 * @returns null when the text is not a complete JUnit file (a crash in the midst of writing, a forgery)
 */
export function parseJunit(xml: string, knownFiles: Iterable<string> = []): JunitResults | null {
  const cases = readCases(xml);
  if (cases === null) return null;
  const files = createFileFinder(cases, knownFiles);
  const tests = new Map<string, TestResult>();
  const collectionErrors = new Map<string, CollectionError>();
  const inferred = new Set<string>();
  for (const one of cases) {
    const name = one['@name'] ?? '';
    if ((one['@classname'] ?? '') === '') {
      const error = one.error?.[0];
      // A module that skips itself has no tests: neither a result nor an error.
      if (error !== undefined) addCollectionError(collectionErrors, files.ofModule(one), error);
      continue;
    }
    const place = files.ofCase(one);
    if (place.inferred) inferred.add(place.file);
    const id = normaliseId([place.file, ...place.classes, name].join('::'));
    const result = resultOf(one);
    const earlier = tests.get(id);
    tests.set(id, earlier === undefined ? result : merge(earlier, result));
  }
  return {
    tests: Object.fromEntries(tests),
    collectionErrors: [...collectionErrors.values()],
    inferredFiles: [...inferred].sort(),
  };
}

function readCases(xml: string): readonly Case[] | null {
  if (xml.trim() === '' || XMLValidator.validate(xml) !== true) return null; // a cut file would parse without a word
  try {
    const root = parser.parse(xml) as {
      readonly testsuites?: { readonly testsuite?: readonly Suite[] } | string;
      readonly testsuite?: readonly Suite[];
    };
    const suites = root.testsuite ?? (typeof root.testsuites === 'object' ? root.testsuites.testsuite : []);
    return (suites ?? []).flatMap((suite) => (typeof suite === 'string' ? [] : (suite.testcase ?? [])));
  } catch {
    return null; // e.g. a tag called __proto__: pytest writes none
  }
}

type Suite = { readonly testcase?: readonly Case[] } | string;

/** pytest's own mangling of a path: `tests/a/test_b.py` → `tests.a.test_b`, `doc/x.rst` → `doc.x.rst`. */
const mangle = (file: string): string => file.replaceAll('/', '.').replace(/\.py$/, '');

interface Place {
  readonly file: string;
  readonly classes: readonly string[];
  readonly inferred: boolean;
}

function createFileFinder(cases: readonly Case[], knownFiles: Iterable<string>) {
  const own = new Map<string, string>();
  const known = new Map<string, string>();
  for (const one of cases) if (one['@file'] !== undefined) own.set(mangle(one['@file']), one['@file']);
  for (const file of knownFiles) known.set(mangle(file), file);
  const longestPrefix = (dotted: string): Place | null => {
    for (let end = dotted.length; end > 0; end = dotted.lastIndexOf('.', end - 1)) {
      const head = dotted.slice(0, end);
      const file = own.get(head) ?? known.get(head);
      if (file !== undefined)
        return { file, classes: classesOf(dotted.slice(end)), inferred: !own.has(head) };
    }
    return null;
  };
  return {
    ofCase(one: Case): Place {
      const dotted = one['@classname'] ?? '';
      const file = one['@file'];
      if (file !== undefined) {
        const head = mangle(file);
        if (dotted === head || dotted.startsWith(`${head}.`)) {
          return { file, classes: classesOf(dotted.slice(head.length)), inferred: false };
        }
      }
      return longestPrefix(dotted) ?? guess(dotted);
    },
    ofModule: (one: Case): string =>
      one['@file'] ?? own.get(one['@name'] ?? '') ?? known.get(one['@name'] ?? '') ?? one['@name'] ?? '',
  };
}

const classesOf = (dotted: string): readonly string[] => dotted.split('.').filter((part) => part !== '');

/** Nobody knows the file: classes are what begins with a capital at the end, as Python spells them. */
function guess(dotted: string): Place {
  const parts = dotted.split('.');
  let cut = parts.length;
  while (cut > 1 && /^_?[A-Z]/.test(parts[cut - 1] ?? '')) cut -= 1;
  return { file: `${parts.slice(0, cut).join('/')}.py`, classes: parts.slice(cut), inferred: true };
}

function resultOf(one: Case): TestResult {
  const durationMs = Math.round(Number(one['@time'] ?? 0) * 1_000) || 0;
  const [status, outcome] = statusOf(one);
  const message = outcome === undefined ? '' : messageOf(outcome);
  return status === 'passed' || message === ''
    ? { status, durationMs }
    : { status, durationMs, message: message.slice(0, MAX_MESSAGE_CHARACTERS) };
}

function statusOf(one: Case): readonly [TestStatus, (Outcome | string)?] {
  const [error] = one.error ?? [];
  if (error !== undefined) return ['error', error];
  const [failure] = one.failure ?? [];
  if (failure !== undefined) return ['failed', failure];
  const [skipped] = one.skipped ?? [];
  if (skipped === undefined) return ['passed'];
  const isXfail =
    typeof skipped === 'object' &&
    (skipped['@type'] === 'pytest.xfail' || skipped['@message'] === 'expected test failure');
  return [isXfail ? 'xfailed' : 'skipped', skipped];
}

function messageOf(outcome: Outcome | string): string {
  if (typeof outcome === 'string') return outcome.trim();
  return (outcome['@message'] ?? outcome['#text'] ?? '').trim();
}

/** Two cases of one test (a failing call and a failing teardown, subtests): the worse one speaks, times add up. */
const SEVERITY: readonly TestStatus[] = ['passed', 'skipped', 'xfailed', 'failed', 'error'];

function merge(a: TestResult, b: TestResult): TestResult {
  const worse = SEVERITY.indexOf(b.status) > SEVERITY.indexOf(a.status) ? b : a;
  return { ...worse, durationMs: a.durationMs + b.durationMs };
}

function addCollectionError(into: Map<string, CollectionError>, file: string, error: Outcome | string): void {
  if (into.has(file)) return;
  const text = typeof error === 'string' ? error : (error['#text'] ?? error['@message'] ?? '');
  into.set(file, { file, message: lastException(text) });
}

/**
 * `ModuleNotFoundError: No module named 'numpy'` out of a traceback: pytest's, whose `E` marks its last lines, or Python's
 * own, whose last block ends in it (and in the further lines of its message).
 */
function lastException(traceback: string): string {
  const lines = traceback.trim().split('\n');
  const marked = lines.filter((line) => line.startsWith('E  ')).map((line) => line.slice(1).trim());
  const isException = (line: string): boolean => /^[A-Za-z_][\w.]*(:|$)/.test(line);
  const start = lines.findLastIndex((line) => line.startsWith('Traceback (most recent call last)'));
  const line =
    marked.length > 0
      ? (marked.findLast((one) => isException(one) && /^[\w.]*[A-Z]/.test(one)) ?? marked.at(-1))
      : (lines.slice(start + 1).find(isException) ?? lines.at(-1));
  return (line ?? '').slice(0, MAX_MESSAGE_CHARACTERS);
}

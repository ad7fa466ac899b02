/** Saved logs: a header of ours, then the runner's words. With the JUnit file they are enough to grade a run again offline. */
import { underOwnNames } from '../../domain/canaryPlanting.ts';
import type { CollectionError, PlantedCanary, TestResult } from '../../domain/runs.ts';
import { parseJunit } from './junit.ts';

const HEADER = '# repoforge run ';

interface LogHeader {
  readonly version: 1;
  /** Files that a reader of the JUnit file must know of; see `JunitResults.inferredFiles`. */
  readonly inferredFiles: readonly string[];
  readonly droppedBytes: number;
}

/** The text artefact of a run. */
export function savedLog(output: string, header: Omit<LogHeader, 'version'>): string {
  const dropped =
    header.droppedBytes > 0
      ? `\n# repoforge: ${header.droppedBytes} bytes more were printed and dropped\n`
      : '';
  return `${HEADER}${JSON.stringify({ version: 1, ...header })}\n${output}${dropped}`;
}

/**
 * Test results from a run's two artefacts, without a container. null when the JUnit file is absent or no whole JUnit file:
 * the run ended without results.
 * @param planted what the run's record says was planted: tests come under their own names
 */
export function parseSavedRun(
  log: string,
  junit: string | null,
  planted: readonly PlantedCanary[] = [],
): {
  readonly tests: Readonly<Record<string, TestResult>>;
  readonly collectionErrors: readonly CollectionError[];
} | null {
  const results = junit === null ? null : parseJunit(junit, [...inferredFiles(log), ...printedFiles(log)]);
  if (results === null) return null;
  return { tests: underOwnNames(results.tests, planted), collectionErrors: results.collectionErrors };
}

function inferredFiles(log: string): readonly string[] {
  if (!log.startsWith(HEADER)) return [];
  try {
    const header = JSON.parse(log.slice(HEADER.length, log.indexOf('\n'))) as LogHeader;
    return header.inferredFiles;
  } catch {
    return [];
  }
}

/** Files of the short summary, for logs that are not ours. */
const printedFiles = (log: string): readonly string[] => [
  ...new Set(
    [...log.matchAll(/^(?:PASSED|FAILED|ERROR|XFAIL|XPASS) (\S[^\n]*?\.py)::/gm)].map(
      (match) => match[1] ?? '',
    ),
  ),
];

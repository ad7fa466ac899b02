import { createReadStream } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import type { InstanceRow } from '../domain/types.ts';
import { canonicalJson } from '../domain/canonical.ts';
import { rowHash } from '../domain/ids.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { asciiJsonLine, classicRow } from './classic.ts';
import { evalScript, type RunnerInvocation } from './evalScript.ts';
import { licenseAllowed, withinScores, type MaxScores } from './filters.ts';
import { DEFAULT_IMAGE_NAMESPACE, instanceImage } from './imageNames.ts';
import type { LogParserName } from './logParser.ts';
import { bestParsedLists, parsedLists } from './parsedLists.ts';
import { v5Row } from './v5.ts';

export type ExportFormat = 'classic' | 'v5' | 'native';
export const EXPORT_FORMATS: readonly ExportFormat[] = ['classic', 'v5', 'native'];

/** The gold evaluation of a row, from which the named parser's spellings are read. */
export interface GoldRun {
  readonly log: string;
  /** Full node ids of every test of the run. */
  readonly tests: readonly string[];
}

export interface ExportInput {
  readonly rows: readonly InstanceRow[];
  readonly format: ExportFormat;
  /** File to write. */
  readonly out: string;
  readonly maxScores?: MaxScores;
  readonly licenses?: readonly string[];
  readonly namespace?: string;
  /** Named parser of every row; by default each row gets the one that loses the fewest of its tests. */
  readonly logParser?: LogParserName;
  /** null when no gold run of the row is stored. Not asked for native rows. */
  readonly goldRun: (row: InstanceRow) => Promise<GoldRun | null>;
  /** Only asked for v5 rows. */
  readonly runner: (row: InstanceRow) => Promise<RunnerInvocation>;
}

export interface ExportReport {
  readonly format: ExportFormat;
  readonly out: string;
  readonly exported: number;
  /** Rows left out, by reason. */
  readonly excluded: {
    readonly scores: number;
    readonly license: number;
    /** The named parser can read none of the row's FAIL_TO_PASS. */
    readonly no_readable_fail_to_pass: number;
  };
  /** Tests left out of exported rows: names that the parser spells alike, and names that it does not read in gold's log. */
  readonly droppedTests: { readonly colliding: number; readonly unread: number };
}

/**
 * Writes rows in another form, atomically. Classic and v5 rows list their tests as the row's named parser reads them in
 * gold's own log; native rows keep full ids. Throws a BadInput failure when a row has no stored gold run.
 */
export async function exportDataset(input: ExportInput): Promise<ExportReport> {
  const excluded = { scores: 0, license: 0, no_readable_fail_to_pass: 0 };
  const dropped = { colliding: 0, unread: 0 };
  const lines: string[] = [];
  for (const row of input.rows) {
    if (input.maxScores !== undefined && !withinScores(row, input.maxScores)) excluded.scores += 1;
    else if (input.licenses !== undefined && !licenseAllowed(row.license, input.licenses))
      excluded.license += 1;
    else if (input.format === 'native') lines.push(`${canonicalJson(row)}\n`);
    else {
      const line = await foreignLine(input, row, dropped);
      if (line === null) excluded.no_readable_fail_to_pass += 1;
      else lines.push(line);
    }
  }
  await writeAtomically(input.out, lines.join(''));
  return { format: input.format, out: input.out, exported: lines.length, excluded, droppedTests: dropped };
}

async function foreignLine(
  input: ExportInput,
  row: InstanceRow,
  dropped: { colliding: number; unread: number },
): Promise<string | null> {
  const gold = await input.goldRun(row);
  if (gold === null) {
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `No gold run of ${row.instance_id} is stored, so its tests cannot be spelt for other harnesses: run \`repoforge evaluate --gold\` on this data set first.`,
    );
  }
  const read = { log: gold.log, allTests: gold.tests };
  const lists =
    input.logParser === undefined
      ? bestParsedLists(row, read)
      : { ...parsedLists(row, read, input.logParser), parser: input.logParser };
  if (lists.failToPass.length === 0) return null;
  dropped.colliding += lists.colliding;
  dropped.unread += lists.unread;
  if (input.format === 'classic') return asciiJsonLine(classicRow(row, lists));
  return asciiJsonLine(
    v5Row(row, lists, {
      image: instanceImage(row.instance_id, input.namespace ?? DEFAULT_IMAGE_NAMESPACE),
      evalScript: evalScript(row, await input.runner(row)),
      logParser: lists.parser,
    }),
  );
}

async function writeAtomically(path: string, content: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, content);
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Reads native rows. Throws a failure of one sentence when the file is missing or a line is no native row. */
export async function readNativeRows(path: string): Promise<readonly InstanceRow[]> {
  const rows: InstanceRow[] = [];
  let line = 0;
  try {
    for await (const text of createInterface({
      input: createReadStream(path, 'utf8'),
      crlfDelay: Infinity,
    })) {
      line += 1;
      if (text.trim() !== '') rows.push(nativeRow(JSON.parse(text), `${path}:${line}`));
    }
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw permanentFailure(
        FAILURE_TYPES.badInput,
        `${path}:${line}: not valid JSON (${error.message}).`,
        error,
      );
    }
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw permanentFailure(
        FAILURE_TYPES.notFound,
        `There is no data set at ${path}; run a campaign first.`,
        error,
      );
    }
    throw error;
  }
  return rows;
}

function nativeRow(value: unknown, where: string): InstanceRow {
  const row = value as Partial<InstanceRow> | null;
  if (typeof row !== 'object' || row?.schema_version !== 1 || typeof row.row_hash !== 'string') {
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `${where}: not a native row (schema_version 1); rows of other forms come in with \`repoforge import\`.`,
    );
  }
  const whole = row as InstanceRow;
  if (rowHash(whole) !== whole.row_hash) {
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `${where}: ${whole.instance_id} does not match its row_hash: its patches, tests, scope or environment were edited.`,
    );
  }
  return whole;
}

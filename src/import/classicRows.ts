import { z } from 'zod';
import type { IsoTime } from '../domain/types.ts';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { jsonProblem, lineOfOffset, topLevelMembers } from '../evaluation/jsonText.ts';
import { normalisePatch } from '../evaluation/predictions.ts';
import { parsePythonStringList } from './pythonList.ts';

/** A row of a SWE-bench-like data set, in one form whatever the file wrote. */
export interface ClassicInput {
  /** Line of the file where the row starts. */
  readonly line: number;
  readonly instanceId: string;
  /** `owner/name`. */
  readonly repo: string;
  readonly baseCommit: string;
  readonly patch: string;
  readonly testPatch: string;
  readonly problemStatement: string;
  readonly hintsText: string;
  readonly createdAt: IsoTime | null;
  readonly version: string;
  readonly license: string | null;
  readonly failToPass: readonly string[];
  readonly passToPass: readonly string[];
}

const text = z.string().nullish();
const list = z.union([z.array(z.string()), z.string()]);
const rowShape = z.object({
  instance_id: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/, 'must be letters, digits, dots, dashes and underscores'),
  repo: z.string().regex(/^[^/\s]+\/[^/\s]+$/, 'must be owner/name'),
  base_commit: z.string().regex(/^[0-9a-f]{7,64}$/i, 'must be a commit id'),
  patch: z.string(),
  test_patch: z.string(),
  problem_statement: text,
  hints_text: text,
  // ISO text in SWE-bench, milliseconds in SWE-rebench V2
  created_at: z.union([z.string(), z.number()]).nullish(),
  version: z.union([z.string(), z.number()]).nullish(),
  license: text,
  FAIL_TO_PASS: list.optional(),
  PASS_TO_PASS: list.optional(),
  // SWE-bench Pro's spelling
  fail_to_pass: list.optional(),
  pass_to_pass: list.optional(),
});

/**
 * Reads rows from JSON lines or a JSON list. FAIL_TO_PASS and PASS_TO_PASS may be lists, JSON texts or the text of a
 * Python list, in upper or lower case. Nothing in the file is ever evaluated.
 * Throws a BadInput failure of one sentence with `file:line` for the first row that cannot be read.
 */
export function parseClassicRows(file: string, content: string): readonly ClassicInput[] {
  const rows = rawRows(file, content.replace(/^\uFEFF/, '')).map(({ line, value }) =>
    readRow(file, line, value),
  );
  if (rows.length === 0) throw permanentFailure(FAILURE_TYPES.badInput, `${file} holds no rows.`);
  const seen = new Map<string, number>();
  for (const { instanceId, line } of rows) {
    const earlier = seen.get(instanceId);
    if (earlier !== undefined)
      throw bad(file, line, `a second row of ${instanceId}; the first is on line ${earlier}`);
    seen.set(instanceId, line);
  }
  return rows;
}

const bad = (file: string, line: number, what: string) =>
  permanentFailure(FAILURE_TYPES.badInput, `${file}:${line}: ${what}.`);

function rawRows(
  file: string,
  content: string,
): readonly { readonly line: number; readonly value: unknown }[] {
  if (content.trim() === '') return [];
  if (content.trimStart().startsWith('[')) {
    try {
      JSON.parse(content);
    } catch (error) {
      throw permanentFailure(FAILURE_TYPES.badInput, jsonProblem(file, content, error));
    }
    return topLevelMembers(content).map(({ offset, end }) => ({
      line: lineOfOffset(content, offset),
      value: JSON.parse(content.slice(offset, end)) as unknown,
    }));
  }
  return content.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    try {
      return [{ line: index + 1, value: JSON.parse(line) as unknown }];
    } catch (error) {
      throw permanentFailure(FAILURE_TYPES.badInput, jsonProblem(file, line, error, index));
    }
  });
}

function readRow(file: string, line: number, value: unknown): ClassicInput {
  const parsed = rowShape.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const field = issue?.path.join('.') ?? '';
    throw bad(
      file,
      line,
      field === '' ? 'a row must be an object' : `${field}: ${issue?.message ?? 'cannot be read'}`,
    );
  }
  const row = parsed.data;
  return {
    line,
    instanceId: row.instance_id,
    repo: row.repo,
    baseCommit: row.base_commit.toLowerCase(),
    patch: normalisePatch(row.patch) ?? '',
    testPatch: normalisePatch(row.test_patch) ?? '',
    problemStatement: row.problem_statement ?? '',
    hintsText: row.hints_text ?? '',
    createdAt: readTime(file, line, row.created_at ?? null),
    version: String(row.version ?? ''),
    license: row.license ?? null,
    failToPass: readList(file, line, 'FAIL_TO_PASS', row.FAIL_TO_PASS ?? row.fail_to_pass),
    passToPass: readList(file, line, 'PASS_TO_PASS', row.PASS_TO_PASS ?? row.pass_to_pass),
  };
}

function readList(
  file: string,
  line: number,
  field: string,
  value: string | readonly string[] | undefined,
): readonly string[] {
  if (value === undefined) throw bad(file, line, `the row has no ${field}`);
  if (typeof value !== 'string') return value;
  const fromJson = parseJsonList(value);
  const items = fromJson ?? parsePythonStringList(value);
  if (items === null)
    throw bad(file, line, `${field} is a text that holds no list of test names: ${value.slice(0, 60)}`);
  return items;
}

function parseJsonList(value: string): readonly string[] | null {
  try {
    const parsed: unknown = JSON.parse(value);
    return Array.isArray(parsed) && parsed.every((item) => typeof item === 'string') ? parsed : null;
  } catch {
    return null;
  }
}

function readTime(file: string, line: number, value: string | number | null): IsoTime | null {
  if (value === null || value === '') return null;
  // a text without a zone is UTC in these data sets, and `2024-01-01 10:00:00` is common
  const zoned =
    typeof value === 'string' && !/(Z|[+-]\d{2}:?\d{2})$/i.test(value.trim()) && value.includes(':')
      ? `${value.trim().replace(' ', 'T')}Z`
      : value;
  const time = new Date(zoned);
  if (Number.isNaN(time.getTime()))
    throw bad(file, line, `created_at is no time: ${String(value).slice(0, 60)}`);
  return time.toISOString().replace(/\.\d{3}Z$/, 'Z');
}

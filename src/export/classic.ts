import type { InstanceRow } from '../domain/types.ts';

/** A row in SWE-bench's classic fields, plus the licence. The lists are JSON texts, as in the published data sets. */
export interface ClassicRow {
  readonly repo: string;
  readonly instance_id: string;
  readonly base_commit: string;
  readonly patch: string;
  readonly test_patch: string;
  readonly problem_statement: string;
  readonly hints_text: string;
  readonly created_at: string;
  readonly version: string;
  readonly FAIL_TO_PASS: string;
  readonly PASS_TO_PASS: string;
  readonly environment_setup_commit: string;
  readonly license: string | null;
}

/** A native row in classic form, with lists that the named parser can read. */
export function classicRow(
  row: InstanceRow,
  lists: { readonly failToPass: readonly string[]; readonly passToPass: readonly string[] },
): ClassicRow {
  return {
    repo: row.repo,
    instance_id: row.instance_id,
    base_commit: row.base_commit,
    patch: row.patch,
    test_patch: row.test_patch,
    problem_statement: row.problem_statement,
    hints_text: row.hints_text,
    created_at: row.created_at,
    version: row.version,
    FAIL_TO_PASS: JSON.stringify(lists.failToPass),
    PASS_TO_PASS: JSON.stringify(lists.passToPass),
    environment_setup_commit: row.environment_setup_commit,
    license: row.license,
  };
}

/**
 * One JSON line in ASCII. The harness splits files with Python's `splitlines`, which also cuts at U+2028, U+2029, U+0085
 * and others that JSON allows unescaped, and reads them in the locale's encoding.
 */
export function asciiJsonLine(value: unknown): string {
  const ascii = JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return `${ascii}\n`;
}

import type { InstanceRow } from '../domain/types.ts';
import { classicRow, type ClassicRow } from './classic.ts';
import type { LogParserName } from './logParser.ts';

/** A row as `swebench eval FILE.jsonl` (5.0.2) loads it. */
export interface V5Row extends ClassicRow {
  readonly image: string;
  readonly eval_script: string;
  readonly log_parser: LogParserName;
  readonly eval_type: 'pass_and_fail';
}

/** A native row in v5 form: the classic fields and all that the harness needs to run and read the tests. */
export function v5Row(
  row: InstanceRow,
  lists: { readonly failToPass: readonly string[]; readonly passToPass: readonly string[] },
  run: { readonly image: string; readonly evalScript: string; readonly logParser: LogParserName },
): V5Row {
  return {
    ...classicRow(row, lists),
    image: run.image,
    eval_script: run.evalScript,
    log_parser: run.logParser,
    eval_type: 'pass_and_fail',
  };
}

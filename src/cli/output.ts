import { stderr, stdout } from 'node:process';

/** Exit codes of every command: done, failed, wrong usage. */
export const EXIT = { done: 0, failed: 1, usage: 2 } as const;

/** A mistake of the caller: printed as one sentence, exit code 2, no stack. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** What a command may print: people read stderr while it runs, results go to stdout. */
export interface Output {
  readonly json: boolean;
  /** One line for people, on stderr. */
  readonly say: (line: string) => void;
  /** The result: a JSON document with `--json`, else the text. The only writer to stdout. */
  readonly result: (value: unknown, text: string) => void;
}

export function createOutput(options: { readonly json: boolean }): Output {
  return {
    json: options.json,
    say: (line) => void stderr.write(`${line}\n`),
    result: (value, text) =>
      void stdout.write(options.json ? `${JSON.stringify(value, null, 2)}\n` : `${text}\n`),
  };
}

/** Columns padded to equal width; the first left-aligned, numbers right-aligned. */
export function table(rows: readonly (readonly (string | number)[])[], indent = ''): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, index) => (widths[index] = Math.max(widths[index] ?? 0, String(cell).length)));
  return rows
    .map(
      (row) =>
        indent +
        row
          .map((cell, index) =>
            typeof cell === 'number'
              ? String(cell).padStart(widths[index] ?? 0)
              : cell.padEnd(widths[index] ?? 0),
          )
          .join('  ')
          .trimEnd(),
    )
    .join('\n');
}

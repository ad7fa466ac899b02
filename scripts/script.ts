import { parseArgs } from 'node:util';
import type { ParseArgsConfig } from 'node:util';
import { withSession } from '../src/cli/context.ts';
import { reportFailure } from '../src/cli/failure.ts';
import { UsageError, createOutput } from '../src/cli/output.ts';
import type { Output } from '../src/cli/output.ts';
import type { Session } from '../src/setup/session.ts';

export interface ScriptOptions {
  readonly json: boolean;
  readonly state: string | undefined;
}

/** Runs a script with a session and Docker; what is wrong in its options is said before anything is started. */
export async function runScript<T extends ScriptOptions>(
  name: string,
  readOptions: () => T,
  work: (session: Session, output: Output, options: T) => Promise<void>,
): Promise<void> {
  try {
    const options = readOptions();
    const { json, state } = options;
    const output = createOutput({ json });
    const given = { json, ...(state === undefined ? {} : { state }) };
    await withSession(given, output, (session) => work(session, output, options), { docker: true });
  } catch (error) {
    reportFailure(error, name, process.argv.includes('--json'));
  }
}

/** Reads options; a mistake is one sentence with the usage. */
export function parseOptions<T extends NonNullable<ParseArgsConfig['options']>>(
  options: T,
  usage: string,
): ReturnType<typeof parseArgs<{ options: T }>>['values'] {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    const what = error instanceof Error ? error.message.split('. ')[0] : String(error);
    throw new UsageError(`${what}. ${usage}`);
  }
}

/** `a, b` as a list. */
export const listed = (text: string): readonly string[] =>
  text
    .split(',')
    .map((one) => one.trim())
    .filter(Boolean);

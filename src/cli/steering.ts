import type { Command } from 'commander';
import type { Session } from '../setup/session.ts';
import { withSession, type GlobalOptions } from './context.ts';
import { createOutput, UsageError, type Output } from './output.ts';

/**
 * Opens a session for a command that only talks to Temporal; an unknown workflow is one sentence.
 * @param what `campaign`, `training run`, …; the command's first argument is its name
 */
export async function inSession(
  command: Command,
  what: string,
  use: (session: Session, output: Output) => Promise<void>,
): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions>();
  const output = createOutput({ json: options.json === true });
  try {
    await withSession(options, output, (session) => use(session, output));
  } catch (error) {
    if (error instanceof Error && error.name === 'WorkflowNotFoundError')
      throw new UsageError(`There is no running ${what} "${command.args[0]}" on this Temporal server.`);
    throw error;
  }
}

/** Adds a command that does one thing to a running workflow: `pause`, `resume`, … */
export function addVerb(
  parent: Command,
  verb: { readonly name: string; readonly description: string; readonly done: string },
  what: { readonly name: string; readonly argument: string },
  act: (session: Session, name: string) => Promise<void>,
): void {
  parent
    .command(verb.name)
    .description(verb.description)
    .argument(what.argument)
    .action(async (name: string, _options: object, command: Command) => {
      await inSession(command, what.name, async (session, output) => {
        await act(session, name);
        output.result({ name, done: verb.name }, `${name}: ${verb.done}.`);
      });
    });
}

import { ApplicationFailure } from '@temporalio/common';
import { FAILURE_TYPES } from '../domain/failures.ts';
import { YamlFileError } from './yamlFile.ts';
import { EXIT, UsageError } from './output.ts';

/** These say only that something failed; the sentence is in their cause. */
const WRAPPERS = [
  'WorkflowFailedError',
  'WorkflowUpdateFailedError',
  'ActivityFailure',
  'ChildWorkflowFailure',
];

/** Ends a command that failed: one sentence for a person, one document with `--json`, and whether the caller or the world was wrong. */
export function reportFailure(error: unknown, command: string, json: boolean): void {
  let inner = error;
  while (inner instanceof Error && WRAPPERS.includes(inner.name) && inner.cause instanceof Error)
    inner = inner.cause;
  const sentence = inner instanceof Error ? inner.message : String(inner);
  const usage =
    inner instanceof UsageError ||
    inner instanceof YamlFileError ||
    (inner instanceof ApplicationFailure && inner.type === FAILURE_TYPES.badInput);
  process.stderr.write(`${command}: ${sentence}\n`);
  if (json) process.stdout.write(`${JSON.stringify({ error: sentence })}\n`);
  if (process.env['REPOFORGE_LOG_LEVEL'] === 'debug' && error instanceof Error)
    process.stderr.write(`${error.stack}\n`);
  process.exitCode = usage ? EXIT.usage : EXIT.failed;
}

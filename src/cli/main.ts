#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { ApplicationFailure } from '@temporalio/common';
import { FAILURE_TYPES } from '../domain/failures.ts';
import { CampaignFileError } from './campaignFile.ts';
import { addCampaignCommands } from './commands/campaign.ts';
import { addDatasetCommands } from './commands/dataset.ts';
import { addEvaluateCommands } from './commands/evaluate.ts';
import { addInstallationCommands } from './commands/installation.ts';
import { EXIT, UsageError } from './output.ts';

const version = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

function program(): Command {
  const root = new Command('repoforge')
    .description(
      'Turns real repository history into executable, validated, labelled software-engineering tasks.',
    )
    .version(version)
    .option('--json', 'print one JSON document on stdout and nothing else there')
    .option('--state <dir>', 'state directory (default: $REPOFORGE_STATE, else ~/.local/state/repoforge)')
    .exitOverride()
    .showHelpAfterError('(give --help for the options)');
  addCampaignCommands(root);
  addEvaluateCommands(root);
  addDatasetCommands(root);
  addInstallationCommands(root);
  return root;
}

/** These say only that something failed; the sentence is in their cause. */
const WRAPPERS = [
  'WorkflowFailedError',
  'WorkflowUpdateFailedError',
  'ActivityFailure',
  'ChildWorkflowFailure',
];

/** One sentence for a person; the code says whether the caller or the world was wrong. */
function explain(error: unknown): { readonly sentence: string; readonly code: number } {
  let inner = error;
  while (inner instanceof Error && WRAPPERS.includes(inner.name) && inner.cause instanceof Error)
    inner = inner.cause;
  const sentence = inner instanceof Error ? inner.message : String(inner);
  const usage =
    inner instanceof UsageError ||
    inner instanceof CampaignFileError ||
    (inner instanceof ApplicationFailure && inner.type === FAILURE_TYPES.badInput);
  return { sentence, code: usage ? EXIT.usage : EXIT.failed };
}

async function main(): Promise<void> {
  try {
    await program().parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage; // commander has said what is wrong
      return;
    }
    const { sentence, code } = explain(error);
    process.stderr.write(`repoforge: ${sentence}\n`);
    if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify({ error: sentence })}\n`);
    if (process.env['REPOFORGE_LOG_LEVEL'] === 'debug' && error instanceof Error)
      process.stderr.write(`${error.stack}\n`);
    process.exitCode = code;
  }
}

await main();

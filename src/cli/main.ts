#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addAuditCommand } from './commands/audit.ts';
import { addCampaignCommands } from './commands/campaign.ts';
import { addDatasetCommands } from './commands/dataset.ts';
import { addEvaluateCommands } from './commands/evaluate.ts';
import { addGcCommand } from './commands/gc.ts';
import { addRlCommands } from './commands/rl.ts';
import { addRolloutCommands } from './commands/rollout.ts';
import { addInstallationCommands } from './commands/installation.ts';
import { addTrainingCommands } from './commands/sft.ts';
import { reportFailure } from './failure.ts';
import { EXIT } from './output.ts';

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
  addAuditCommand(root);
  addDatasetCommands(root);
  addInstallationCommands(root);
  addGcCommand(root);
  addRlCommands(root);
  addRolloutCommands(root);
  addTrainingCommands(root);
  return root;
}

async function main(): Promise<void> {
  try {
    await program().parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage; // commander has said what is wrong
      return;
    }
    reportFailure(error, 'repoforge', process.argv.includes('--json'));
  }
}

await main();

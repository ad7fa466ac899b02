import type { Command } from 'commander';
import {
  campaignStatus,
  pauseCampaign,
  resizeCampaign,
  resumeCampaign,
  startCampaign,
  stopCampaign,
} from '../../client/campaigns.ts';
import { campaignUrl, requestFromFile, runCampaign } from '../campaigns.ts';
import { withSession, type GlobalOptions } from '../context.ts';
import { createOutput, EXIT, UsageError } from '../output.ts';
import { campaignLine } from '../progress.ts';
import { addVerb, inSession } from '../steering.ts';
import { campaignSummary, summaryText } from '../summary.ts';

const CAMPAIGN = { name: 'campaign', argument: '<name>' };

/** `campaign run|start|status|pause|resume|resize|stop`. */
export function addCampaignCommands(root: Command): void {
  const campaign = root.command('campaign').description('mine, build, validate, label and publish instances');
  campaign
    .command('run')
    .description('run a campaign with workers in this process, or go on with one; ends when it is done')
    .argument('<file>', 'campaign file (YAML)')
    .option('--fresh', 'a new campaign beside the one of this name')
    .action(run);
  campaign
    .command('start')
    .description('start a campaign and return; `repoforge worker` does the work')
    .argument('<file>', 'campaign file (YAML)')
    .option('--fresh', 'a new campaign beside the one of this name')
    .action(start);
  addVerb(
    campaign,
    { name: 'pause', description: 'start no new instance; running ones go on', done: 'paused' },
    CAMPAIGN,
    pauseCampaign,
  );
  addVerb(
    campaign,
    { name: 'resume', description: 'go on after a pause', done: 'resumed' },
    CAMPAIGN,
    resumeCampaign,
  );
  campaign
    .command('status')
    .description('how a campaign is doing')
    .argument('<name>')
    .action(async (name: string, _options: object, command: Command) => {
      await inSession(command, CAMPAIGN.name, async (session, output) => {
        const status = await campaignStatus(session, name);
        if (status === null) throw new UsageError(`There is no campaign "${name}" on this Temporal server.`);
        const line =
          status.progress === null
            ? 'no worker answers; start one with `repoforge worker`'
            : campaignLine(status.progress);
        output.result(
          status,
          `${name}: ${status.status.toLowerCase()}; ${line}${status.failure === null ? '' : `\n${status.failure}`}`,
        );
      });
    });
  campaign
    .command('resize')
    .description('change how many instances are in flight')
    .argument('<name>')
    .requiredOption('--window <n>', 'instances in flight at once', Number)
    .action(async (name: string, options: { readonly window: number }, command: Command) => {
      await inSession(command, CAMPAIGN.name, async (session, output) => {
        await resizeCampaign(session, name, options.window);
        output.result(
          { name, window: options.window },
          `${name}: ${options.window} instances in flight from now on.`,
        );
      });
    });
  campaign
    .command('stop')
    .description('end a campaign with what is published so far; `campaign run` takes it up again')
    .argument('<name>')
    .option('--finish-running', 'let running instances end first')
    .action(async (name: string, options: { readonly finishRunning?: boolean }, command: Command) => {
      await inSession(command, CAMPAIGN.name, async (session, output) => {
        await stopCampaign(session, name, options.finishRunning === true ? 'finish' : 'cancel');
        output.result({ name, stopping: true }, `${name}: stopping.`);
      });
    });
}

interface RunOptions extends GlobalOptions {
  readonly fresh?: boolean;
}

async function run(file: string, _options: object, command: Command): Promise<void> {
  const options = command.optsWithGlobals<RunOptions>();
  const output = createOutput({ json: options.json === true });
  const request = { ...(await requestFromFile(file)), fresh: options.fresh === true };
  await withSession(
    options,
    output,
    async (session) => {
      const startedMs = performance.now();
      const { started, result } = await runCampaign(session, request, output);
      const summary = await campaignSummary(session, started.name, result, performance.now() - startedMs);
      output.result({ ...summary, state: result.state }, summaryText(summary));
      if (summary.failed_sources.length > 0) process.exitCode = EXIT.failed;
    },
    { docker: true },
  );
}

async function start(file: string, _options: object, command: Command): Promise<void> {
  const { fresh } = command.optsWithGlobals<RunOptions>();
  const request = { ...(await requestFromFile(file)), fresh: fresh === true };
  await inSession(command, CAMPAIGN.name, async (session, output) => {
    const started = await startCampaign(session, request);
    const url =
      session.temporal.uiUrl === null ? '' : ` Temporal UI: ${campaignUrl(session, started.workflowId)}`;
    output.result(
      started,
      `Campaign "${started.name}" ${started.how}. Workers do the work: \`repoforge worker\`.${url}`,
    );
  });
}

import type { Command } from 'commander';
import { forgetCampaign, forgetEvaluation, forgetRollouts, forgetTraining } from '../forget.ts';
import { nameProblem } from '../../domain/ids.ts';
import { sweepLeft } from '../../activities/janitor.ts';
import { formatBytes } from '../../report/html.ts';
import { gcDeps } from '../../setup/compose.ts';
import type { Dependencies } from '../../setup/compose.ts';
import { collectGarbage, type GcReport } from '../../store/gc.ts';
import { withDependencies, withSession, type GlobalOptions } from '../context.ts';
import { createOutput, UsageError } from '../output.ts';

interface GcCommandOptions extends GlobalOptions {
  readonly dryRun?: boolean;
  readonly grace: string;
  readonly dropCampaigns?: readonly string[];
  readonly dropRuns?: readonly string[];
  readonly dropRollouts?: readonly string[];
  readonly dropTraining?: readonly string[];
}

/** `gc`. */
export function addGcCommand(root: Command): void {
  root
    .command('gc')
    .description(
      'free what no published row, evaluation run or running work refers to; safe beside running work',
    )
    .option('--dry-run', 'only say what would go')
    .option('--grace <duration>', 'keep what was made or used within this time: 90s, 30m, 24h, 7d', '24h')
    .option('--drop-campaigns <names...>', 'first forget these ended campaigns: dataset, report and records')
    .option('--drop-runs <ids...>', 'first forget these ended evaluation runs and their reports')
    .option('--drop-rollouts <runs...>', 'first forget these ended runs of rollouts and their predictions')
    .option(
      '--drop-training <runs...>',
      'first forget the steps and trajectories of these ended training runs; report, models and name stay',
    )
    .action(async (_options: object, command: Command) => {
      const options = command.optsWithGlobals<GcCommandOptions>();
      const output = createOutput({ json: options.json === true });
      const graceMs = durationMs(options.grace);
      const campaigns = namesOf(options.dropCampaigns);
      const runs = namesOf(options.dropRuns);
      const rollouts = namesOf(options.dropRollouts);
      const training = namesOf(options.dropTraining);
      const drops = [campaigns, runs, rollouts, training].flat().length;
      const dryRun = options.dryRun === true;
      if (dryRun && drops > 0)
        throw new UsageError(
          '--dry-run removes nothing: give it without --drop-campaigns, --drop-runs, --drop-rollouts and --drop-training.',
        );
      const collect = async (deps: Dependencies): Promise<void> => {
        const left = dryRun ? null : await sweepLeft({ ...deps, installation: deps.state.installation });
        const report = await collectGarbage(gcDeps(deps), { graceMs, dryRun });
        output.result({ ...report, left }, gcText(report));
      };
      const needs = { docker: true };
      if (drops === 0) return withDependencies(options, output, collect, needs);
      await withSession(
        options,
        output,
        async (session) => {
          for (const name of campaigns) await forgetCampaign(session, name);
          for (const id of runs) await forgetEvaluation(session, id);
          for (const run of rollouts) await forgetRollouts(session, run);
          for (const run of training) await forgetTraining(session, run);
          await collect(session.deps);
        },
        needs,
      );
    });
}

function namesOf(names: readonly string[] = []): readonly string[] {
  for (const name of names) {
    const problem = nameProblem(name);
    if (problem !== undefined) throw new UsageError(problem);
  }
  return names;
}

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function durationMs(text: string): number {
  const [, count, unit = ''] = /^(\d+)([smhd])$/.exec(text) ?? [];
  const factor = UNITS[unit];
  if (count === undefined || factor === undefined)
    throw new UsageError(
      `"${text}" is not a duration: write a whole number and a unit, as in 90s, 30m, 24h or 7d.`,
    );
  return Number(count) * factor;
}

function gcText(report: GcReport): string {
  const { artefacts, environments, packageStore, mirrors } = report;
  const verb = report.dryRun ? 'Would free' : 'Freed';
  return [
    `${verb} ${formatBytes(report.freedBytes)}: ${environments.removed.length} environments (${environments.kept} stay), ${artefacts.removed} artefacts (${formatBytes(artefacts.bytes)}; ${artefacts.kept} stay), ${packageStore.archives} cached packages, ${mirrors.removed.length} mirrors, ${report.records} records.`,
    ...(packageStore.busy === null
      ? []
      : ['Something was being built all the time, so the package caches were left: run it again later.']),
  ].join('\n');
}

/**
 * Invariant: the janitor only removes what nobody owns, and only reads what is published. It sweeps what dead processes
 * left, then runs gold of a few published rows again: one that is not resolved any more is drift, and is recorded. Nothing
 * waits for it, so it gives up on infrastructure soon and comes again with its schedule.
 */
import { ActivityFailure, isCancellation, log, rootCause, setCurrentDetails } from '@temporalio/workflow';
import type { JanitorInput, JanitorSummary } from '../domain/messages.ts';
import { janitorControlOn, janitorSandboxOn } from './proxies.ts';

export async function janitor(input: JanitorInput): Promise<JanitorSummary> {
  const sandbox = janitorSandboxOn(input.queuePrefix);
  const swept = await sandbox.sweepLeft();
  const rows = await janitorControlOn(input.queuePrefix).samplePublished({ count: input.sample });
  const summary = { swept, checked: 0, unchecked: 0, drift: [] as string[] };
  for (const row of rows) {
    setCurrentDetails(describe(summary, `running gold of ${row.instanceId}`));
    try {
      const { verdict } = await sandbox.recheckGold(row);
      summary.checked += 1;
      if (verdict !== 'resolved') summary.drift.push(`${row.campaign}/${row.instanceId}: ${verdict}`);
    } catch (error) {
      if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
      summary.unchecked += 1; // infrastructure says nothing about a row
      log.warn('gold could not be run again', { instance: row.instanceId, reason: rootCause(error) });
    }
  }
  setCurrentDetails(describe(summary, 'done'));
  return summary;
}

const describe = ({ swept, checked, unchecked, drift }: JanitorSummary, now: string): string =>
  [
    `**${drift.length === 0 ? now : `drift: ${drift.join(', ')}`}**`,
    '',
    '| containers swept | files swept | gold run again | not run | drift |',
    '| ---: | ---: | ---: | ---: | ---: |',
    `| ${swept.containers} | ${swept.files} | ${checked} | ${unchecked} | ${drift.length} |`,
  ].join('\n');

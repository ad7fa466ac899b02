import { join } from 'node:path';
import type { Logger } from 'pino';
import type { ArtefactStore } from '../store/types.ts';
import { buildCampaignReport, type BuildReportDeps } from './build.ts';
import { writeCampaignReport } from './write.ts';

/** Returns the function that writes `<state>/campaigns/<name>/report/` and answers the path of its first page. */
export function campaignReportWriter(deps: {
  readonly stateDir: string;
  readonly store: ArtefactStore;
  readonly measureStorage?: BuildReportDeps['measureStorage'];
  readonly log: Logger;
}): (campaign: string) => Promise<string> {
  const measure = deps.measureStorage;
  return async (campaign) => {
    const report = await buildCampaignReport(
      {
        store: deps.store,
        stateDir: deps.stateDir,
        // a report without storage figures is worth more than no report
        measureStorage: async (name, instances) =>
          measure === undefined
            ? null
            : measure(name, instances).catch((error: unknown) => {
                deps.log.warn({ error }, 'the package store could not be measured');
                return null;
              }),
      },
      campaign,
    );
    return writeCampaignReport(report, join(deps.stateDir, 'campaigns', campaign, 'report'));
  };
}

import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { campaignPage } from './campaignPage.ts';
import { instanceFile, instancePage } from './instancePage.ts';
import type { CampaignReport } from './model.ts';

/**
 * Writes the static report into `<dir>` (`index.html`, `instances/<id>.html`) and returns the path of its first page.
 * The directory is written beside and then swapped in, so a reader never sees half a report.
 */
export async function writeCampaignReport(report: CampaignReport, dir: string): Promise<string> {
  const fresh = `${dir}.${process.pid}.tmp`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(join(fresh, 'instances'), { recursive: true });
  await writeFile(join(fresh, 'index.html'), campaignPage(report));
  for (const instance of report.instances)
    await writeFile(join(fresh, instanceFile(instance.instanceId)), instancePage(report.campaign, instance));
  await rm(dir, { recursive: true, force: true });
  await rename(fresh, dir);
  return join(dir, 'index.html');
}

/** A reader sees the old file or the new one, never half of it. */
export async function writeAtomically(path: string, text: string): Promise<void> {
  const partial = `${path}.${process.pid}.tmp`;
  await writeFile(partial, text);
  await rename(partial, path);
}

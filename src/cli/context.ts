import { join } from 'node:path';
import { pino } from 'pino';
import { campaignReportWriter } from '../report/campaign.ts';
import { ensureDocker } from '../setup/docker.ts';
import { openSession, type Session } from '../setup/session.ts';
import { readSettings, type Settings } from '../setup/settings.ts';
import { createFsArtefactStore } from '../store/fs.ts';
import type { Output } from './output.ts';

/** Options that every command has. */
export interface GlobalOptions {
  readonly json?: boolean;
  readonly state?: string;
}

export function settingsFrom(options: GlobalOptions): Settings {
  const settings = readSettings();
  return options.state === undefined ? settings : { ...settings, stateDir: options.state };
}

export const createLog = (settings: Settings): pino.Logger =>
  pino(
    {
      level: settings.logLevel,
      // belt and braces: no secret is logged on purpose, and the usual places of one are blanked
      redact: [
        'apiKey',
        '*.apiKey',
        'token',
        '*.token',
        '*.tokens',
        'headers.authorization',
        '*.headers.authorization',
      ],
    },
    pino.destination({ dest: 2, sync: true }),
  );

/** Opens the installation for one command and closes it whatever happens. */
export async function withSession<T>(
  options: GlobalOptions,
  output: Output,
  use: (session: Session) => Promise<T>,
  needs: { readonly docker: boolean } = { docker: false },
): Promise<T> {
  const settings = settingsFrom(options);
  const log = createLog(settings);
  if (needs.docker) await ensureDocker({ log, say: output.say, cacheDir: settings.cacheDir });
  const session = await openSession({
    settings,
    log,
    say: output.say,
    writeReport: campaignReportWriter({
      stateDir: settings.stateDir,
      store: createFsArtefactStore(join(settings.stateDir, 'artefacts')),
      log,
    }),
  });
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}

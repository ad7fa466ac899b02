import { pino } from 'pino';
import type { Dependencies } from '../setup/compose.ts';
import type { Session } from '../setup/session.ts';
import { readSettings, type Settings } from '../setup/settings.ts';
import { openState } from '../setup/state.ts';
import type { Output } from './output.ts';

/** Options that every command has. */
export interface GlobalOptions {
  readonly json?: boolean;
  readonly state?: string;
}

interface Needs {
  /** A Docker daemon must answer, and is started where that is possible. */
  readonly docker: boolean;
}

export function settingsFrom(options: GlobalOptions): Settings {
  const settings = readSettings();
  return options.state === undefined ? settings : { ...settings, stateDir: options.state };
}

/** What a worker logs, as JSON lines, where somebody asked for a level; short lines for a person otherwise. */
export function createLog(settings: Settings, env: NodeJS.ProcessEnv = process.env): pino.Logger {
  const options = { level: settings.logLevel, redact: REDACTED };
  const forMachines = (env['REPOFORGE_LOG_LEVEL'] ?? '') !== '';
  return pino(
    options,
    forMachines
      ? pino.destination({ dest: 2, sync: true })
      : { write: (line) => void process.stderr.write(`${shortLine(line)}\n`) },
  );
}

/** Belt and braces: no secret is logged on purpose, and the usual places of one are blanked. */
const REDACTED = [
  'apiKey',
  '*.apiKey',
  'token',
  '*.token',
  '*.tokens',
  'headers.authorization',
  '*.headers.authorization',
];

/** `warn: resolveEnvironment of instance/… (attempt 2): what happened`. */
export function shortLine(json: string): string {
  const { level, msg, activity, workflow, attempt, err } = JSON.parse(json) as {
    readonly level: number;
    readonly msg?: string;
    readonly activity?: string;
    readonly workflow?: string;
    readonly attempt?: number;
    readonly err?: { readonly message?: string; readonly nonRetryable?: boolean };
  };
  const name = pino.levels.labels[level] ?? 'log';
  const what =
    activity === undefined ? (msg ?? '') : `${activity} of ${workflow ?? '?'} (attempt ${attempt ?? '?'})`;
  const why = err?.message?.split('\n')[0];
  return `${name}: ${what}${why === undefined ? '' : `: ${why}`}${activity === undefined ? '' : level >= 50 ? `; ${msg ?? ''}` : err?.nonRetryable === true ? '' : '; it is tried again'}`;
}

async function prepare(
  options: GlobalOptions,
  output: Output,
  needs: Needs,
): Promise<{ readonly settings: Settings; readonly log: pino.Logger }> {
  const settings = settingsFrom(options);
  const log = createLog(settings);
  if (needs.docker) {
    const { ensureDocker } = await import('../setup/docker.ts');
    await ensureDocker({ log, say: output.say, cacheDir: settings.cacheDir });
  }
  return { settings, log };
}

/** Opens the installation with Temporal for one command, and closes it whatever happens. */
export async function withSession<T>(
  options: GlobalOptions,
  output: Output,
  use: (session: Session) => Promise<T>,
  needs: Needs = { docker: false },
): Promise<T> {
  const { openSession } = await import('../setup/session.ts'); // brings in the SDK's native core: help and mistakes do without
  const session = await openSession({ ...(await prepare(options, output, needs)), say: output.say });
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}

/** The installation without Temporal: for commands that read and write files or images. */
export async function withDependencies<T>(
  options: GlobalOptions,
  output: Output,
  use: (deps: Dependencies) => Promise<T>,
  needs: Needs = { docker: false },
): Promise<T> {
  const { settings, log } = await prepare(options, output, needs);
  const { createDependencies } = await import('../setup/compose.ts');
  return use(
    await createDependencies({ state: await openState(settings.stateDir), settings, log, say: output.say }),
  );
}

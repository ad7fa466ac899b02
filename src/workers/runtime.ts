import { DefaultLogger, Runtime, makeTelemetryFilterString } from '@temporalio/worker';
import type { LogEntry } from '@temporalio/worker';
import type { Logger } from 'pino';

const LEVELS = { TRACE: 'trace', DEBUG: 'debug', INFO: 'info', WARN: 'warn', ERROR: 'error' } as const;

let installed = false;

/** Sends what the SDK, its native core and the workflows log to pino. Once per process, before the first connection. */
export function installRuntime(log: Logger): void {
  if (installed) return;
  installed = true;
  const child = log.child({ part: 'temporal' });
  Runtime.install({
    logger: new DefaultLogger('INFO', (entry: LogEntry) =>
      child[LEVELS[entry.level]](plainMeta(entry.meta), entry.message),
    ),
    telemetryOptions: {
      logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }) },
    },
    shutdownSignals: [], // the process that runs the workers owns its signals: one place decides how a stop goes
  });
}

const plainMeta = (meta: LogEntry['meta']): Record<string, unknown> => {
  const { error, ...rest } = { ...meta };
  return error === undefined ? rest : { ...rest, err: error };
};

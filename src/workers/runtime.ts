import { DefaultLogger, Runtime, makeTelemetryFilterString } from '@temporalio/worker';
import type { LogEntry } from '@temporalio/worker';
import type { Logger } from 'pino';

const LEVELS = { TRACE: 'trace', DEBUG: 'debug', INFO: 'info', WARN: 'warn', ERROR: 'error' } as const;

/** Said of every worker that serves one role, and of every activity failure, which our own interceptor logs already. */
const EXPECTED = /^(No workflows registered|No Nexus services registered|Activity failed)/;

let installed = false;

/** Sends what the SDK, its native core and the workflows log to pino. Once per process, before the first connection. */
export function installRuntime(log: Logger): void {
  if (installed) return;
  installed = true;
  const child = log.child({ part: 'temporal' });
  Runtime.install({
    logger: new DefaultLogger('INFO', (entry: LogEntry) => {
      const level = EXPECTED.test(entry.message) ? 'debug' : LEVELS[entry.level];
      child[level](plainMeta(entry.meta), entry.message);
    }),
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

import { DefaultLogger, Runtime, makeTelemetryFilterString } from '@temporalio/worker';
import type { LogEntry } from '@temporalio/worker';
import type { Logger } from 'pino';

const LEVELS = { TRACE: 'trace', DEBUG: 'debug', INFO: 'info', WARN: 'warn', ERROR: 'error' } as const;

/** Said of every worker that serves one role, and of every activity failure, which our own interceptor logs already. */
const EXPECTED = /^(No workflows registered|No Nexus services registered|Activity failed)/;

/** Said by every poller of every worker, many times a second, while Temporal is away; the core goes on trying by itself. */
const AWAY =
  /^(gRPC call \S+ retried|Network error while completing|Error while completing workflow activation)/;
const SAY_AWAY_EVERY_MS = 60_000;

let installed = false;

/** Sends what the SDK, its native core and the workflows log to pino. Once per process, before the first connection. */
export function installRuntime(log: Logger): void {
  if (installed) return;
  installed = true;
  Runtime.install({
    logger: new DefaultLogger('INFO', createEntryLog(log.child({ part: 'temporal' }))),
    telemetryOptions: {
      logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }) },
    },
    shutdownSignals: [], // the process that runs the workers owns its signals: one place decides how a stop goes
  });
}

/** What is expected goes to debug; that Temporal does not answer is a warning once a minute, and debug in between. */
export function createEntryLog(
  log: Logger,
  now: () => number = () => performance.now(),
): (entry: LogEntry) => void {
  let saidAwayMs = -Infinity;
  return (entry) => {
    const away = AWAY.test(entry.message);
    const quiet = away ? now() - saidAwayMs < SAY_AWAY_EVERY_MS : EXPECTED.test(entry.message);
    if (away && !quiet) saidAwayMs = now();
    log[quiet ? 'debug' : LEVELS[entry.level]](plainMeta(entry.meta), entry.message);
  };
}

const plainMeta = (meta: LogEntry['meta']): Record<string, unknown> => {
  const { error, ...rest } = { ...meta };
  return error === undefined ? rest : { ...rest, err: error };
};

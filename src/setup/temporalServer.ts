import type { Logger } from 'pino';
import { findTemporalBinary } from './temporalBinary.ts';
import {
  configuredTemporal,
  ensureSearchAttributes,
  withTemporalConnection,
  type TemporalConnectionOptions,
} from './temporalConnection.ts';
import { startOrAdoptServer, stopServer, type EmbeddedServer } from './temporalProcess.ts';
import type { State } from './state.ts';

/** A Temporal server that answers, ready for workers and clients. */
export interface Temporal {
  readonly address: string;
  readonly namespace: string;
  /** Base address of Temporal UI, or null when nobody told us where it is. */
  readonly uiUrl: string | null;
  /** True for our own dev server. */
  readonly embedded: boolean;
  readonly connectionOptions: TemporalConnectionOptions;
}

export interface EnsureTemporalOptions {
  readonly state: State;
  readonly settings: { readonly cacheDir: string; readonly temporalUiUrl: string | null };
  /** One line for the user, on stderr. */
  readonly say: (line: string) => void;
  readonly log?: Logger;
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * Returns a Temporal server that answers and knows our search attributes. A server named by the environment or by a
 * profile wins and is never replaced; else the installation's own dev server is adopted, or started on its database.
 * Throws one sentence when the named server does not answer or no server can be started.
 */
export async function ensureTemporal(options: EnsureTemporalOptions): Promise<Temporal> {
  const configured = configuredTemporal(options.env);
  if (configured) return useConfigured(configured, options);
  const { state, settings, say, log, env } = options;
  const server = await startOrAdoptServer({
    dir: state.paths.temporal,
    binary: () =>
      findTemporalBinary({
        cacheDir: settings.cacheDir,
        say,
        ...(log ? { log } : {}),
        ...(env ? { env } : {}),
      }).then((found) => found.path),
    say,
  });
  return embeddedTemporal(server);
}

/** Ends the embedded server of a state directory; its database stays. Returns false when none was running. */
export const stopEmbeddedTemporal = (state: State): Promise<boolean> => stopServer(state.paths.temporal);

function embeddedTemporal(server: EmbeddedServer): Temporal {
  const address = `127.0.0.1:${server.port}`;
  return {
    address,
    namespace: 'default',
    uiUrl: `http://127.0.0.1:${server.uiPort}`,
    embedded: true,
    connectionOptions: { address },
  };
}

async function useConfigured(
  configured: NonNullable<ReturnType<typeof configuredTemporal>>,
  { say, settings }: EnsureTemporalOptions,
): Promise<Temporal> {
  const { connectionOptions, namespace } = configured;
  const hint = await withTemporalConnection(connectionOptions, (connection) =>
    ensureSearchAttributes(connection, namespace),
  );
  if (hint !== null) say(hint);
  return {
    address: connectionOptions.address,
    namespace,
    uiUrl: settings.temporalUiUrl,
    embedded: false,
    connectionOptions,
  };
}

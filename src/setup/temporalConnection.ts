import { Connection } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import type { NativeConnectionOptions } from '@temporalio/worker';
import { SEARCH_ATTRIBUTES } from '../domain/messages.ts';

/** What both `Connection.connect` (clients) and `NativeConnection.connect` (workers) understand. */
export type TemporalConnectionOptions = Pick<
  NativeConnectionOptions,
  'address' | 'tls' | 'apiKey' | 'metadata'
> & { readonly address: string };

/** A Temporal server somebody runs, as the environment or a profile names it. */
export interface ConfiguredTemporal {
  readonly connectionOptions: TemporalConnectionOptions;
  readonly namespace: string;
}

const CONNECT_TIMEOUT_MS = 10_000;
const PERMISSION_DENIED = 7;
const ALREADY_EXISTS = 6;
const INDEXED_VALUE_TYPES = { Keyword: 2, Double: 4 } as const; // temporal.api.enums.v1.IndexedValueType

/**
 * The server named by `TEMPORAL_ADDRESS`, or by the profile of Temporal's own configuration file, or null when none is.
 * Throws when a configuration file or profile is named and cannot be read.
 */
export function configuredTemporal(env: NodeJS.ProcessEnv = process.env): ConfiguredTemporal | null {
  const overrideEnvVars = Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (value ? [[name, value]] : [])),
  );
  const { connectionOptions, namespace } = loadClientConnectConfig({ overrideEnvVars });
  const { address, tls, apiKey, metadata } = connectionOptions;
  if (!address) return null;
  return {
    namespace: namespace ?? 'default',
    connectionOptions: {
      address,
      ...(tls === undefined ? {} : { tls }),
      ...(apiKey === undefined ? {} : { apiKey }),
      ...(metadata === undefined ? {} : { metadata }),
    },
  };
}

/** Opens a client connection for the time of `work`. Throws one sentence when nothing answers at the address. */
export async function withTemporalConnection<T>(
  options: TemporalConnectionOptions,
  work: (connection: Connection) => Promise<T>,
  connectTimeoutMs: number = CONNECT_TIMEOUT_MS,
): Promise<T> {
  const { tls, apiKey, metadata, address } = options;
  let connection: Connection;
  try {
    connection = await Connection.connect({
      address,
      connectTimeout: connectTimeoutMs,
      ...(tls === undefined ? {} : { tls }),
      ...(apiKey === undefined ? {} : { apiKey }),
      ...(metadata === undefined ? {} : { metadata }),
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(
      `No Temporal server answers at ${address} (${why}). Start it, or change TEMPORAL_ADDRESS or the profile.`,
    );
  }
  try {
    return await work(connection);
  } finally {
    await connection.close();
  }
}

/**
 * Registers the search attributes that the namespace lacks. Where the account may not, returns one line for the user
 * that says how to; else null.
 * Throws when a name exists with another type, or the namespace does not.
 */
export async function ensureSearchAttributes(
  connection: Connection,
  namespace: string,
): Promise<string | null> {
  const missing = await missingSearchAttributes(connection, namespace);
  if (missing === 'unknown' || missing.length === 0) return null;
  try {
    await connection.operatorService.addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(
        missing.map((name) => [name, INDEXED_VALUE_TYPES[SEARCH_ATTRIBUTES[name]]]),
      ),
    });
    return null;
  } catch (error) {
    const code = grpcCode(error);
    if (code === ALREADY_EXISTS) return null; // another process was faster
    if (code !== PERMISSION_DENIED) throw error;
    const flags = missing.map((name) => `--name ${name} --type ${SEARCH_ATTRIBUTES[name]}`).join(' ');
    return `Temporal: no permission to register search attributes in ${namespace}; an administrator can: temporal operator search-attribute create --namespace ${namespace} ${flags}`;
  }
}

type AttributeName = keyof typeof SEARCH_ATTRIBUTES;

async function missingSearchAttributes(
  connection: Connection,
  namespace: string,
): Promise<readonly AttributeName[] | 'unknown'> {
  let known: Readonly<Record<string, unknown>>;
  try {
    known = (await connection.operatorService.listSearchAttributes({ namespace })).customAttributes ?? {};
  } catch (error) {
    if (grpcCode(error) === PERMISSION_DENIED) return 'unknown';
    throw error;
  }
  const names = Object.keys(SEARCH_ATTRIBUTES) as AttributeName[];
  for (const name of names) {
    const type = known[name];
    if (type !== undefined && type !== INDEXED_VALUE_TYPES[SEARCH_ATTRIBUTES[name]]) {
      throw new Error(
        `The search attribute ${name} in Temporal namespace ${namespace} is not of type ${SEARCH_ATTRIBUTES[name]}; use another namespace.`,
      );
    }
  }
  return names.filter((name) => known[name] === undefined);
}

const grpcCode = (error: unknown): unknown => (error as { code?: unknown } | null)?.code;

import { Client, Connection } from '@temporalio/client';
import type { Temporal } from '../setup/temporalServer.ts';

/** A client on a Temporal server; `close` ends its connection. */
export interface TemporalClient {
  readonly client: Client;
  close(): Promise<void>;
}

/** Connects to the server that `ensureTemporal` found or started. Throws when nothing answers. */
export async function connectClient(
  temporal: Pick<Temporal, 'connectionOptions' | 'namespace'>,
): Promise<TemporalClient> {
  const { address, tls, apiKey, metadata } = temporal.connectionOptions;
  const connection = await Connection.connect({
    address,
    ...(tls === undefined ? {} : { tls }),
    ...(apiKey === undefined ? {} : { apiKey }),
    ...(metadata === undefined ? {} : { metadata }),
  });
  return {
    client: new Client({ connection, namespace: temporal.namespace }),
    close: () => connection.close(),
  };
}

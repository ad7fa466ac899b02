import type { Logger } from 'pino';
import type { Ledgers } from './ledger.ts';
import type { VllmServer } from './vllm.ts';

/** What changes of servers are made with. */
export interface World {
  readonly ledgers: Ledgers;
  readonly serverAt: (address: string) => VllmServer;
  readonly log: Logger;
}

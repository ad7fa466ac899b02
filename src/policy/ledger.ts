import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { infraFailure } from '../domain/failures.ts';
import type { PublishedVersion } from '../domain/rl/messages.ts';
import { withFileLock } from '../setup/fileLock.ts';
import { errorCode, storageFailure, temporaryName, writeDurably } from '../store/durable.ts';
import { rootOf } from './client.ts';

/** Above the longest thing done to a server under its lock: draining and loading a large model. */
const LOCK_MS = 40 * 60_000;

const numbers = z.array(z.number()).readonly();
const Entry = z
  .object({
    run: z.string(),
    delivery: z.enum(['adapter', 'full']),
    servedModel: z.string(),
    version: z.object({
      version: z.number(),
      model: z.string(),
      path: z.string().nullable(),
      sha256: z.string().nullable(),
    }),
    probe: z.object({ tokenIds: numbers, expected: numbers, previous: numbers.nullable() }),
    noise: z.number(),
    /** Of an adapter: label of the weights below it when it was proven. Other ones make it another policy. */
    baseLabel: z.string().nullable(),
    /** `wanted`: to be loaded, or not proven yet. `retired`: no new request goes to it. */
    state: z.enum(['wanted', 'ready', 'retired']),
  })
  .readonly();
const Ledger = z
  .object({ schema: z.literal(1), server: z.string(), entries: z.array(Entry).readonly() })
  .readonly();

/** What a server should have loaded. */
export type Entry = z.infer<typeof Entry>;
export type Ledger = z.infer<typeof Ledger>;

/**
 * What each server should serve, one file a server, so that any worker can mend a server that came back empty. All
 * workers of an installation share the directory. Changes happen under the server's lock.
 */
export interface Ledgers {
  /** Also while somebody holds the lock. */
  read(server: string): Promise<Ledger>;
  /** Runs `work` as the only one who changes this server or its ledger, in whatever process. */
  locked<T>(server: string, work: (ledger: LockedLedger) => Promise<T>): Promise<T>;
}

export interface LockedLedger {
  readonly entries: readonly Entry[];
  replace(entries: readonly Entry[]): Promise<void>;
}

export function createLedgers(directory: string): Ledgers {
  const place = (server: string): string =>
    join(directory, createHash('sha256').update(rootOf(server)).digest('hex').slice(0, 16));
  const read = async (server: string): Promise<Ledger> => {
    const text = await readFile(`${place(server)}.json`, 'utf8').catch((error: unknown) => {
      if (errorCode(error) === 'ENOENT') return null;
      throw storageFailure(`read what ${server} should serve`, error);
    });
    if (text === null) return { schema: 1, server: rootOf(server), entries: [] };
    const checked = Ledger.safeParse(JSON.parse(text));
    if (checked.success) return checked.data;
    throw infraFailure(`${place(server)}.json is no record of a policy server; delete it to start afresh.`);
  };
  const write = async (server: string, ledger: Ledger): Promise<void> => {
    const temporary = temporaryName(directory);
    try {
      await writeDurably(temporary, `${JSON.stringify(ledger)}\n`);
      await rename(temporary, `${place(server)}.json`);
    } catch (error) {
      await rm(temporary, { force: true });
      throw storageFailure(`write what ${server} should serve`, error);
    }
  };
  return {
    read,
    async locked(server, work) {
      await mkdir(directory, { recursive: true });
      return withFileLock(
        `${place(server)}.lock`,
        async () => {
          let ledger = await read(server);
          return work({
            get entries() {
              return ledger.entries;
            },
            async replace(entries) {
              ledger = { ...ledger, entries };
              await write(server, ledger);
            },
          });
        },
        { timeoutMs: LOCK_MS },
      );
    },
  };
}

export const sameVersion = (entry: Entry, run: string, version: PublishedVersion): boolean =>
  entry.run === run && entry.version.version === version.version;

/** What a server's weights are labelled with once this entry's are in it. */
export const labelOf = ({ run, version }: Entry): string =>
  `${run}/v${version.version}/${version.sha256?.slice(0, 12) ?? 'unhashed'}`;

/** Whether a server whose weights bear this label serves the entry's version under its name. */
export const standsOn = (entry: Entry, label: string): boolean =>
  label === (entry.delivery === 'full' ? labelOf(entry) : entry.baseLabel);

/** The entry of all parameters that a server should serve; there is one at most. */
export const fullEntry = (entries: readonly Entry[]): Entry | undefined =>
  entries.find(({ delivery }) => delivery === 'full');

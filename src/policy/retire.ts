import type { PublishedVersion } from '../domain/rl/messages.ts';
import { isPassing, isRefused } from './failures.ts';
import { sameVersion } from './ledger.ts';
import type { Retired, RetireRequest } from './types.ts';
import type { World } from './world.ts';

const DRAIN_MS = 5_000;

/** See `PolicyServers.retire`. */
export async function retire(world: World, request: RetireRequest, signal: AbortSignal): Promise<Retired> {
  const { run, servers, unload, remove, drainMs = DRAIN_MS } = request;
  const gone = await Promise.all(
    unload.map(async (version) => {
      const each = await Promise.all(
        servers.map((address) => unloadFrom(world, address, run, version, drainMs, signal)),
      );
      return each.every(Boolean);
    }),
  );
  const free = await Promise.all(
    remove.map(async (version) => {
      const each = await Promise.all(servers.map((address) => isFree(world, address, run, version, signal)));
      return each.every(Boolean);
    }),
  );
  return {
    unloaded: unload.filter((_version, at) => gone[at]).map(({ version }) => version),
    removable: remove.filter((_version, at) => free[at]).map(({ version }) => version),
  };
}

/** No new request first, then the last one's end, then away. False while requests run, or the server hangs. */
async function unloadFrom(
  world: World,
  address: string,
  run: string,
  version: PublishedVersion,
  drainMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const server = world.serverAt(address);
  const entry = await world.ledgers.locked(address, async (ledger) => {
    const found = ledger.entries.find((one) => sameVersion(one, run, version));
    if (found !== undefined && found.state !== 'retired')
      await ledger.replace(
        ledger.entries.map((one) => (one === found ? { ...found, state: 'retired' } : one)),
      );
    return found;
  });
  if (entry === undefined) return true;
  try {
    const own = entry.delivery === 'adapter' && version.path !== null;
    if (own && !(await server.drained(version.model, drainMs, { signal }))) return false;
    if (own) await server.unloadAdapter(version.model, { signal });
  } catch (error) {
    if (!isPassing(error)) throw error;
    if (!isRefused(error)) return false;
  }
  await world.ledgers.locked(address, (ledger) =>
    ledger.replace(ledger.entries.filter((one) => !sameVersion(one, run, version))),
  );
  return true;
}

/** Whether a server can never ask for the version's files again. */
async function isFree(
  world: World,
  address: string,
  run: string,
  version: PublishedVersion,
  signal: AbortSignal,
): Promise<boolean> {
  const { entries } = await world.ledgers.read(address);
  if (entries.some((entry) => sameVersion(entry, run, version))) return false;
  const server = world.serverAt(address);
  try {
    const [models, load] = await Promise.all([server.models({ signal }), server.load({ signal })]);
    const served = models.some(
      ({ id, path }) =>
        id === version.model && path !== null && (version.path === null || path === version.path),
    );
    return !served && !load.busyAdapters.includes(version.model);
  } catch (error) {
    if (!isPassing(error)) throw error;
    return isRefused(error); // an ended server has forgotten its adapters
  }
}

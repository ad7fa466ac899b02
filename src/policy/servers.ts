import type { Logger } from 'pino';
import type { Deployed } from '../activities/rlTypes.ts';
import { FAILURE_TYPES, infraFailure } from '../domain/failures.ts';
import type { PublishedVersion } from '../domain/rl/messages.ts';
import { createHealthBoard } from './choice.ts';
import { isPassing, isType } from './failures.ts';
import {
  createLedgers,
  sameVersion,
  standsOn,
  type Entry,
  type Ledgers,
  type LockedLedger,
} from './ledger.ts';
import { DEFAULT_NOISE } from './probe.ts';
import { proveDirectory } from './published.ts';
import { retire } from './retire.ts';
import { createSampler } from './sampler.ts';
import { prove, settle } from './settle.ts';
import type { DeployRequest, Mended, PolicyServers } from './types.ts';
import { createVllmServer, type VllmServer } from './vllm.ts';
import type { World } from './world.ts';

const MEND_MS = 40 * 60_000; // a large model is drained and loaded

export interface PolicyServerDeps {
  /** Where it is kept what each server should serve: shared by all workers of the installation. */
  readonly directory: string;
  /** Sent to every server; vLLM asks for none by default. */
  readonly apiKey?: string;
  readonly log: Logger;
}

/** vLLM servers over HTTP; see `PolicyServers`. Opens no connection by itself. */
export function createPolicyServers(deps: PolicyServerDeps): PolicyServers {
  const ledgers = createLedgers(deps.directory);
  const known = new Map<string, VllmServer>();
  const serverAt = (address: string): VllmServer => {
    const server = known.get(address) ?? createVllmServer(address, deps.apiKey);
    known.set(address, server);
    return server;
  };
  const board = createHealthBoard(serverAt);
  const world: World = { ledgers, serverAt, log: deps.log };
  return {
    sample: createSampler({
      ...world,
      board,
      mend: (address, run) => mendOne(world, address, run, AbortSignal.timeout(MEND_MS)),
    }),
    newest: (run, servers) => newestOn(ledgers, run, servers),
    held: async (run, servers) => {
      const each = await Promise.all(servers.map(async (address) => ledgers.read(address)));
      const own = each.flatMap(({ entries }) => entries.filter((entry) => entry.run === run));
      const versions = new Map(own.map(({ version }) => [version.version, version]));
      return [...versions.values()].toSorted((a, b) => a.version - b.version);
    },
    deploy: (request, signal) => deploy(world, request, signal),
    retire: (request, signal) => retire(world, request, signal),
    mend: (run, servers, signal) => mendAll(world, run, servers, signal),
    loads: (servers, signal) =>
      Promise.all(
        servers.map((address) =>
          serverAt(address)
            .load({ signal, timeoutMs: 3_000 })
            .catch(() => null),
        ),
      ),
  };
}

async function newestOn(
  ledgers: Ledgers,
  run: string,
  servers: readonly string[],
): Promise<PublishedVersion | null> {
  const held = await Promise.all(
    servers.map(async (address) =>
      (await ledgers.read(address)).entries
        .filter((entry) => entry.run === run && entry.state === 'ready')
        .map(({ version }) => version),
    ),
  );
  const some = held.filter(({ length }) => length > 0); // the others have missed every version, and are asked last
  const common = (some[0] ?? []).filter(({ version }) =>
    some.every((versions) => versions.some((one) => one.version === version)),
  );
  return common.toSorted((a, b) => b.version - a.version)[0] ?? null;
}

async function deploy(world: World, request: DeployRequest, signal: AbortSignal): Promise<Deployed> {
  const startedMs = Date.now();
  await proveDirectory(request.version, request.delivery);
  const outcomes = await Promise.allSettled(
    request.servers.map((address) => deployOn(world, address, request, signal)),
  );
  const failed = outcomes.flatMap((outcome, at) =>
    outcome.status === 'rejected'
      ? [{ server: request.servers[at] ?? '', error: outcome.reason as unknown }]
      : [],
  );
  const grave = failed.find(({ error }) => !isPassing(error));
  if (grave !== undefined) throw grave.error;
  const loaded = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  if (loaded.length === 0)
    throw failed[0]?.error ?? infraFailure('There is no policy server to load a version on.');
  for (const { server, error } of failed) {
    world.log.warn(
      { server, version: request.version.version, error: String(error) },
      'Policy server left out; it gets the version when it is back',
    );
  }
  return {
    parityMax: Math.max(...loaded.map(({ parityMax }) => parityMax)),
    probe: loaded.some(({ probe }) => probe === 'indistinguishable')
      ? 'indistinguishable'
      : (loaded[0]?.probe ?? 'first'),
    busy: { startedMs, endedMs: Date.now() },
    paused: loaded.flatMap(({ server, paused }) => paused.map((interval) => ({ server, ...interval }))),
    ...(failed.length === 0 ? {} : { missed: failed.map(({ server }) => server) }),
  };
}

/** The version's entry first, so that a server which is away finds it when it comes back; then the server, then proof. */
async function deployOn(world: World, address: string, request: DeployRequest, signal: AbortSignal) {
  const server = world.serverAt(address);
  const { run, delivery, servedModel, version, probe } = request;
  const entry: Entry = {
    run,
    delivery,
    servedModel,
    version,
    probe,
    noise: request.noise ?? DEFAULT_NOISE,
    baseLabel: null,
    state: 'wanted',
  };
  return world.ledgers.locked(address, async (ledger) => {
    const present = ledger.entries.find((one) => sameVersion(one, run, version));
    const others = ledger.entries.filter(
      (one) => !sameVersion(one, run, version) && !(delivery === 'full' && one.delivery === 'full'),
    );
    const known = present?.state === 'ready' ? { baseLabel: present.baseLabel, state: present.state } : {};
    await ledger.replace([...others, { ...entry, ...known }]);
    const settled = await settle(server, ledger, run, signal).catch(async (error: unknown) => {
      if (isType(error, FAILURE_TYPES.wrongPolicy)) await ledger.replace(without(ledger, entry));
      throw error;
    });
    const proven = await proveEntry(world, server, ledger, entry, signal);
    return { server: address, ...settled, ...proven };
  });
}

const without = (ledger: LockedLedger, entry: Entry): readonly Entry[] =>
  ledger.entries.filter((one) => !sameVersion(one, entry.run, entry.version));

/** Proves an entry and notes it as ready; one that serves something else is taken away, so that nobody samples from it. */
async function proveEntry(
  world: World,
  server: VllmServer,
  ledger: LockedLedger,
  entry: Entry,
  signal: AbortSignal,
) {
  try {
    const proven = await prove(server, entry, signal);
    await ledger.replace(
      ledger.entries.map((one) =>
        sameVersion(one, entry.run, entry.version)
          ? { ...one, state: 'ready', baseLabel: proven.label }
          : one,
      ),
    );
    return proven;
  } catch (error) {
    if (!isType(error, FAILURE_TYPES.wrongPolicy)) throw error;
    await ledger.replace(without(ledger, entry));
    await takeAway(server, entry).catch((cause: unknown) =>
      world.log.warn({ cause: String(cause) }, 'A wrong policy could not be taken away'),
    );
    throw error;
  }
}

async function takeAway(server: VllmServer, entry: Entry): Promise<void> {
  if (entry.delivery === 'full') return server.setWeightVersion('wrong'); // nobody takes it for a version
  if (entry.version.path === null) return;
  await server.unloadAdapter(entry.version.model);
  await server.resetPrefixCache(); // its key is the adapter's name and path: another content there would be read with this one's
}

/** Settles one server and proves again what may have changed. */
async function mendOne(
  world: World,
  address: string,
  run: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const server = world.serverAt(address);
  const done = await world.ledgers.locked(address, async (ledger) => {
    const settled = await settle(server, ledger, run, signal);
    const label = await server.weightVersion({ signal });
    const doubtful = ledger.entries.filter(
      (entry) =>
        entry.run === run &&
        entry.state !== 'retired' &&
        (entry.state === 'wanted' || settled.done.length > 0 || !standsOn(entry, label)),
    );
    for (const entry of doubtful) await proveEntry(world, server, ledger, entry, signal);
    return settled.done;
  });
  if (done.length > 0) world.log.info({ server: address, done }, 'Policy server mended');
  return done;
}

async function mendAll(
  world: World,
  run: string,
  servers: readonly string[],
  signal: AbortSignal,
): Promise<readonly Mended[]> {
  return Promise.all(
    servers.map(async (server): Promise<Mended> => {
      try {
        return { server, state: 'healthy', done: await mendOne(world, server, run, signal) };
      } catch (error) {
        if (!isPassing(error)) throw error;
        return { server, state: 'unreachable', done: [] };
      }
    }),
  );
}

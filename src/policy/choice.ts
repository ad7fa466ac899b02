import { createHash } from 'node:crypto';
import type { VllmServer } from './vllm.ts';

const FRESH_MS = 2_000; // a server's health is asked for at most so often
const HEALTH_LIMIT_MS = 3_000;

interface Seen {
  readonly atMs: number;
  readonly healthy: boolean;
  /** Requests that run or wait. */
  readonly busy: number;
}

/** What this process knows of its servers' health, and the order in which they are asked. */
export interface HealthBoard {
  /** Servers to try, the best first: the key's own while it is healthy, then by load. All of them when none is healthy. */
  order(servers: readonly string[], key: string): Promise<readonly string[]>;
  /** A request has failed there: not asked again for a moment. */
  failed(server: string): void;
}

export function createHealthBoard(serverAt: (address: string) => VllmServer): HealthBoard {
  const seen = new Map<string, Promise<Seen>>();
  const look = async (address: string): Promise<Seen> => {
    const options = { timeoutMs: HEALTH_LIMIT_MS };
    const server = serverAt(address);
    const healthy = await server.healthy(options).catch(() => false);
    const load = healthy ? await server.load(options).catch(() => null) : null; // others than vLLM have no metrics
    return { atMs: Date.now(), healthy, busy: (load?.running ?? 0) + (load?.waiting ?? 0) };
  };
  const state = async (address: string): Promise<Seen> => {
    const last = await seen.get(address);
    if (last !== undefined && Date.now() - last.atMs < FRESH_MS) return last;
    const next = look(address);
    seen.set(address, next);
    return next;
  };
  return {
    async order(servers, key) {
      if (servers.length === 1) return servers;
      const states = await Promise.all(
        servers.map(async (address) => ({ address, ...(await state(address)) })),
      );
      const healthy = states.filter((one) => one.healthy).toSorted((a, b) => a.busy - b.busy);
      if (healthy.length === 0) return servers;
      const own = ownServer(servers, key);
      const addresses = healthy.map(({ address }) => address);
      return addresses.includes(own) ? [own, ...addresses.filter((address) => address !== own)] : addresses;
    },
    failed(address) {
      seen.set(address, Promise.resolve({ atMs: Date.now(), healthy: false, busy: 0 }));
    },
  };
}

/** Highest random weight: when a server comes or goes, only its own keys move. Pure. */
export function ownServer(servers: readonly string[], key: string): string {
  const weight = (server: string): string => createHash('sha256').update(`${key}\0${server}`).digest('hex');
  return servers.toSorted((a, b) => (weight(a) < weight(b) ? 1 : -1))[0] ?? '';
}

import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import type { AgentWorkspace } from '../ecosystems/python/agentWorkspace.ts';

/** A workspace that is open for an episode. */
export interface Episode {
  readonly fence: number;
  readonly workspace: AgentWorkspace;
  /** Turns that were done in it: the next one's number. */
  applied: number;
}

/** The open workspaces of this process. */
export interface Episodes {
  /** Name of this process's own task queue: another process of the same host does not have its workspaces. */
  readonly host: string;
  /**
   * Opens a workspace for the episode, in the place of an earlier one with the same or a lower fence.
   * Throws HostFull when there are as many as may be, EpisodeLost when the fence is an old one.
   */
  open(
    key: string,
    options: { readonly fence: number; readonly lifeMs: number },
    make: () => Promise<AgentWorkspace>,
  ): Promise<Episode>;
  /** The episode's workspace. Throws EpisodeLost when it is not here under this very fence. */
  get(key: string, fence: number): Promise<Episode>;
  close(key: string, fence: number): Promise<void>;
  /** Closes all, for the end of the process. */
  closeAll(): Promise<void>;
}

interface Place {
  readonly fence: number;
  readonly episode: Promise<Episode>;
  readonly expiry: AbortController;
}

const ASK_AGAIN_MS = 3_000; // a place comes free when an episode ends, which takes minutes on the average

export function createEpisodes(options: {
  readonly host: string;
  readonly max: number;
  readonly log: Logger;
}): Episodes {
  const { host, max, log } = options;
  const places = new Map<string, Place>();

  const vacate = async (key: string, place: Place): Promise<void> => {
    if (places.get(key) === place) places.delete(key);
    place.expiry.abort();
    const episode = await place.episode.catch(() => null); // what failed to open holds nothing
    await episode?.workspace.close();
  };

  /** The workflow closes its episodes; one that it could not tell so any more must not hold its memory for ever. */
  const expire = async (key: string, place: Place, lifeMs: number): Promise<void> => {
    await delay(lifeMs, undefined, { signal: place.expiry.signal, ref: false });
    log.warn({ episode: key, lifeMs }, 'an episode was not closed within its time; its container is removed');
    await vacate(key, place);
  };

  return {
    host,
    async open(key, { fence, lifeMs }, make) {
      const earlier = places.get(key);
      if (earlier !== undefined && earlier.fence > fence)
        throw lost(key, `a later opening (${earlier.fence}) has it`);
      if (earlier === undefined && places.size >= max)
        throw infraFailure(`${host} has ${max} episodes open.`, {
          type: FAILURE_TYPES.hostFull,
          nextRetryMs: ASK_AGAIN_MS,
        });
      const opening = (async () => {
        if (earlier !== undefined) await vacate(key, earlier);
        return { fence, workspace: await make(), applied: 0 };
      })();
      const place: Place = { fence, episode: opening, expiry: new AbortController() };
      places.set(key, place);
      try {
        const episode = await opening;
        if (places.get(key) !== place) throw lost(key, 'it was opened again meanwhile');
        expire(key, place, lifeMs).catch(() => {}); // ended by its signal, or the sweep takes it
        return episode;
      } catch (error) {
        await vacate(key, place);
        throw error;
      }
    },
    async get(key, fence) {
      const place = places.get(key);
      if (place?.fence !== fence)
        throw lost(key, place === undefined ? 'it is not open' : `it is at ${place.fence}`);
      return place.episode;
    },
    async close(key, fence) {
      const place = places.get(key);
      if (place !== undefined && place.fence <= fence) await vacate(key, place);
    },
    async closeAll() {
      await Promise.all([...places].map(async ([key, place]) => vacate(key, place)));
    },
  };

  function lost(key: string, why: string): Error {
    return permanentFailure(FAILURE_TYPES.episodeLost, `The workspace of ${key} is not on ${host}: ${why}.`);
  }
}

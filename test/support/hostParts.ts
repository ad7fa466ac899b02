import { join } from 'node:path';
import type { Logger } from 'pino';
import { createPinnedFacts } from '../../src/ecosystems/python/pinnedFacts.ts';
import { createPreparedWorkspaces } from '../../src/ecosystems/python/preparedWorkspaces.ts';
import type { MirrorStore } from '../../src/sources/types.ts';
import { createHostCache } from '../../src/store/hostCache.ts';
import type { ArtefactStore } from '../../src/store/types.ts';

/** What a host keeps of rows between runs, as it is composed in production, under a state directory. */
export function hostParts(deps: {
  readonly store: ArtefactStore;
  readonly mirrors: MirrorStore;
  readonly stateDir: string;
  readonly log: Logger;
}) {
  const cache = createHostCache({ dir: join(deps.stateDir, 'workspaces'), maxBytes: 2 ** 30, log: deps.log });
  return {
    workspaces: createPreparedWorkspaces({ cache, log: deps.log }),
    pinned: createPinnedFacts({ ...deps, cache }),
  };
}

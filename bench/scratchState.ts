import { randomBytes } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { openState, type State } from '../src/setup/state.ts';
import { stopEmbeddedTemporal } from '../src/setup/temporalServer.ts';

export interface ScratchState extends AsyncDisposable {
  readonly state: State;
  /** Queues and workflow ids of its own: on a shared Temporal no other worker answers. */
  readonly queuePrefix: string;
}

/**
 * A state directory beside an installation's: same artefacts, mirrors, datasets, workspaces, environments and records, except for the
 * records of these kinds (first folder under `records`), which start empty, and a Temporal server of its own. Disposing
 * ends the server and removes the directory; of the installation only artefacts, workspaces and shared records grew.
 */
export async function createScratchState(
  from: State,
  emptyRecords: readonly string[],
): Promise<ScratchState> {
  const dir = await mkdtemp(join(tmpdir(), 'repoforge-bench-'));
  await copyFile(join(from.dir, 'installation.json'), join(dir, 'installation.json'));
  for (const name of ['artefacts', 'mirrors', 'campaigns', 'workspaces'] as const)
    await symlink(resolve(from.paths[name]), join(dir, name));
  await mkdir(join(dir, 'records'));
  for (const name of await readdir(from.paths.records))
    if (!emptyRecords.includes(name))
      await symlink(resolve(from.paths.records, name), join(dir, 'records', name));
  const state = await openState(dir);
  return {
    state,
    queuePrefix: `bench-${randomBytes(4).toString('hex')}`,
    async [Symbol.asyncDispose]() {
      await stopEmbeddedTemporal(state);
      await rm(dir, { recursive: true, force: true });
    },
  };
}

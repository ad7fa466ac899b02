import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type Docker from 'dockerode';
import pino from 'pino';
import type { Logger } from 'pino';
import { inject } from 'vitest';
import { createBaseImages } from '../../src/sandbox/baseImages.ts';
import { connectDocker, createDockerDriver } from '../../src/sandbox/docker.ts';
import type { BaseImages, SandboxDriver } from '../../src/sandbox/types.ts';
import { buildNetworkOf, discoverInstaller, type Installer } from '../../src/setup/installer.ts';
import { defaultCacheDir, openState, type State } from '../../src/setup/state.ts';
import { testImage } from './testImage.ts';

/** An installation of a test's own: a state directory, a store volume and containers that nobody else touches. */
export interface TestInstallation extends AsyncDisposable {
  /** Random id; every filter of a test needs it. */
  readonly installation: string;
  readonly stateDir: string;
  readonly state: State;
  readonly docker: Docker;
  readonly driver: SandboxDriver;
  readonly installer: Installer;
  readonly baseImages: BaseImages;
  readonly log: Logger;
  /** The base image that tests use, there already after `npm test`'s set-up: Debian bookworm with Python 3.11. */
  image(): Promise<string>;
  /** Removes the containers, the volume and the state directory. */
  cleanup(): Promise<void>;
}

/** Opens a fresh installation; call `cleanup()` in afterAll. A run that is killed is cleaned up by the next one. */
export async function testInstallation(options: { readonly log?: Logger } = {}): Promise<TestInstallation> {
  const log = options.log ?? pino({ level: 'silent' });
  const stateDir = await mkdtemp(join(tmpdir(), 'rf-state-'));
  const state = await openState(stateDir);
  const { installation } = state;
  writeFileSync(join(inject('runDir'), 'installations', installation), stateDir);
  const docker = connectDocker();
  const installer = await discoverInstaller();
  const driver = createDockerDriver({ log, buildNetwork: buildNetworkOf(installer) });
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const baseImages = createBaseImages({ docker, installer, cacheDir: defaultCacheDir(), log, say });
  const cleanup = async (): Promise<void> => {
    await driver.sweep(installation, () => true);
    await docker
      .getVolume(`repoforge-${installation}-store`)
      .remove({ force: true })
      .catch((error: { statusCode?: number }) => {
        if (error.statusCode !== 404) throw error;
      });
    await rm(stateDir, { recursive: true, force: true });
  };
  return {
    installation,
    stateDir,
    state,
    docker,
    driver,
    installer,
    baseImages,
    log,
    image: () => testImage(baseImages),
    cleanup,
    [Symbol.asyncDispose]: cleanup,
  };
}

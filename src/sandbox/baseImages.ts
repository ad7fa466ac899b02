import { join } from 'node:path';
import type Docker from 'dockerode';
import { execa } from 'execa';
import type { Logger } from 'pino';
import { hashOf } from '../domain/canonical.ts';
import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import { withFileLock } from '../setup/fileLock.ts';
import type { Installer } from '../setup/installer.ts';
import { bootstrapImage } from './bootstrap.ts';
import { assertFreeDisk } from './disk.ts';
import { dockerCall } from './errors.ts';
import { LABELS } from './labels.ts';
import { pullBaseImage } from './pulledBase.ts';
import { RUNTIMES } from './runtimes.ts';
import type { Runtime } from './runtimes.ts';
import type { BaseImages } from './types.ts';
import { ensureUv } from './uv.ts';

const REPOSITORY = 'repoforge-base';
const BUILD_FLOOR_BYTES = 2e9; // unpacked tree, tar on its way, image and downloads of one build
const BUILD_LOCK_MS = 60 * 60_000; // a pull or bootstrap by another process over a slow line

export interface BaseImagesOptions {
  readonly docker: Docker;
  readonly installer: Installer;
  /** Rebuildable files shared by installations: downloads, locks. */
  readonly cacheDir: string;
  readonly log: Logger;
  /** One line for a person, on what is being made and why it takes long. */
  readonly say: (line: string) => void;
  /** What `findRegistry` answered; null = no registry, bases are made from the distribution's packages. */
  readonly registry?: string | null;
}

/** Base images by pull where a registry answers, else by bootstrap. Shared by all installations of this daemon. */
export function createBaseImages(options: BaseImagesOptions): BaseImages {
  const { docker } = options;
  const registry = options.registry ?? null;
  const offered = RUNTIMES.filter(({ bootstrappable }) => bootstrappable || registry !== null);
  const inFlight = new Map<string, Promise<string>>();
  return {
    available: () =>
      offered.map(({ base, runtimeVersion, releasedAt }) => ({ base, runtimeVersion, releasedAt })),
    ensure: async (base, runtimeVersion, systemPackages) => {
      const runtime = offered.find((one) => one.base === base && one.runtimeVersion === runtimeVersion);
      if (runtime === undefined) throw unknownBase(base, runtimeVersion, offered);
      const packages = checkedPackages(systemPackages);
      const image = baseImageName(base, runtimeVersion, packages);
      const known = inFlight.get(image) ?? ensureImage(options, registry, runtime, image, packages);
      inFlight.set(image, known);
      try {
        return await known;
      } finally {
        inFlight.delete(image); // an image can be removed from outside: the next asker looks again
      }
    },
    sizes: async () => {
      const images = await dockerCall('list base images', () =>
        docker.listImages({ filters: { label: [LABELS.base] } }),
      );
      return images.flatMap(({ RepoTags, Size }) =>
        (RepoTags ?? [])
          .map((image) => ({ image, bytes: Size }))
          .filter(({ image }) => image.startsWith(REPOSITORY)),
      );
    },
  };
}

/** `repoforge-base:debian-bookworm-1-py3.11`, with a short hash when extra system packages are asked for. */
export function baseImageName(
  base: string,
  runtimeVersion: string,
  systemPackages: readonly string[],
): string {
  const slug = base.replace(/[^A-Za-z0-9.-]+/g, '-').toLowerCase();
  const packages = [...new Set(systemPackages)].sort();
  const suffix = packages.length === 0 ? '' : `-${hashOf(packages).slice(0, 8)}`;
  return `${REPOSITORY}:${slug}-py${runtimeVersion}${suffix}`;
}

async function ensureImage(
  options: BaseImagesOptions,
  registry: string | null,
  runtime: Runtime,
  image: string,
  packages: readonly string[],
): Promise<string> {
  const { docker, cacheDir, say } = options;
  if (await exists(docker, image)) return image;
  const lock = join(cacheDir, 'locks', `${image.replace(/[^A-Za-z0-9.-]+/g, '_')}.lock`);
  const onWait = (): void => say(`Waiting for another process that makes the base image ${image}.`);
  return withFileLock(
    lock,
    async () => {
      if (await exists(docker, image)) return image;
      await makeImage(options, registry, runtime, image, packages);
      return image;
    },
    { timeoutMs: BUILD_LOCK_MS, onWait },
  );
}

async function makeImage(
  options: BaseImagesOptions,
  registry: string | null,
  runtime: Runtime,
  image: string,
  packages: readonly string[],
): Promise<void> {
  const { docker, installer, cacheDir, log, say } = options;
  await assertFreeDisk(cacheDir, BUILD_FLOOR_BYTES);
  const uv = await ensureUv(cacheDir, installer);
  const startedAt = performance.now();
  const { suite, runtimeVersion } = runtime;
  const debianPackages = packages.flatMap((name) => COMPILER_PACKAGES[name] ?? [name]);
  if (registry !== null) {
    say(`Pulling the base image for Python ${runtimeVersion} and adding git and uv (once).`);
    await pullBaseImage({ docker, registry, runtime, image, packages: debianPackages, uv, installer });
  } else {
    say(
      `No image registry answers: making the base image for Python ${runtimeVersion} from Debian ${suite} packages (once, about a minute).`,
    );
    await ensureMmdebstrap(say);
    await bootstrapImage({
      docker,
      suite,
      image,
      packages: debianPackages,
      uv,
      cacheDir,
      proxyEnv: installer.proxyEnv,
    });
  }
  log.info({ image, seconds: Math.round((performance.now() - startedAt) / 1000) }, 'made base image');
}

/** What a request for a compiler means here: C and C++, headers, make. */
const COMPILER_PACKAGES: Readonly<Record<string, readonly string[]>> = {
  'build-essential': ['gcc', 'g++', 'libc6-dev', 'make', 'python3-dev'],
};

/** mmdebstrap is a small package; on a Debian or Ubuntu host root simply installs it. */
async function ensureMmdebstrap(say: (line: string) => void): Promise<void> {
  const missing = async (): Promise<boolean> =>
    (await execa('mmdebstrap', ['--version'], { reject: false, stdin: 'ignore' })).exitCode !== 0;
  if (!(await missing())) return;
  const aptGet = async (args: readonly string[]): Promise<boolean> =>
    (
      await execa('apt-get', args, {
        reject: false,
        stdin: 'ignore',
        env: { DEBIAN_FRONTEND: 'noninteractive' },
      })
    ).exitCode === 0;
  if (process.getuid?.() === 0) {
    say('Installing mmdebstrap with apt-get, to make base images without a registry.');
    const names = ['mmdebstrap', 'debian-archive-keyring'];
    const install = ['install', '-y', '-q', '--no-install-recommends', ...names];
    if (!(await aptGet(install))) {
      await aptGet(['update', '-q']);
      await aptGet(install);
    }
  }
  if (await missing()) {
    throw infraFailure(
      'There is no image registry and no mmdebstrap to make base images with: install the package mmdebstrap (Debian, Ubuntu), or set REPOFORGE_BASE_REGISTRY to a registry that has the official python images.',
    );
  }
}

async function exists(docker: Docker, image: string): Promise<boolean> {
  const found = await dockerCall(`look for image ${image}`, () =>
    docker.listImages({ filters: { reference: [image] } }),
  );
  return found.length > 0;
}

/** Names as Debian policy allows them: they end up on a command line. */
function checkedPackages(names: readonly string[]): readonly string[] {
  const bad = names.find((name) => !/^[a-z0-9][a-z0-9+.-]+$/.test(name));
  if (bad !== undefined)
    throw permanentFailure(FAILURE_TYPES.badInput, `"${bad}" is not a Debian package name.`);
  return [...new Set(names)].sort();
}

function unknownBase(base: string, version: string, offered: readonly Runtime[]): Error {
  const names = offered.map((one) => `${one.base} with Python ${one.runtimeVersion}`).join(', ');
  return permanentFailure(
    FAILURE_TYPES.badInput,
    `There is no base ${base} with Python ${version} here; there are: ${names}.`,
  );
}

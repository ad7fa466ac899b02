import { availableParallelism } from 'node:os';
import Docker from 'dockerode';
import pLimit from 'p-limit';
import type { Logger } from 'pino';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { defaultSocket } from '../setup/dockerSocket.ts';
import { processTag } from '../setup/processes.ts';
import { dockerCall } from './errors.ts';
import { earlierAttemptsFilter, isEarlierAttempt, LABELS, labelsOf, storeVolumeName } from './labels.ts';
import type { Labels } from './labels.ts';
import { dockerMount, knowsSubpath } from './mounts.ts';
import type { StoreVolume } from './mounts.ts';
import { createRemovals } from './removals.ts';
import { createSandbox, removeContainer } from './sandbox.ts';
import { SANDBOX_PATHS } from './types.ts';
import type { SandboxDriver, SandboxOwner, SandboxSpec } from './types.ts';

/** What a container of the `build` network gets: made from the installer's configuration by `buildNetworkOf`. */
export interface BuildNetwork {
  /** Docker network: `bridge`, `host` (loopback proxy or index), or the name of one. */
  readonly network: string;
  /** CA bundle on the daemon's host, mounted read-only; null = the image's own. */
  readonly caBundle: string | null;
  /** Proxy, index and CA variables. They reach the container's processes only: never a label, never an image. */
  readonly env: Readonly<Record<string, string>>;
}

export interface DockerDriverOptions {
  /** Default: DOCKER_HOST as docker's own client reads it, else the socket that exists here. */
  readonly socketPath?: string;
  readonly log: Logger;
  readonly buildNetwork: BuildNetwork;
  /** Containers that may start at the same moment; default: the number of cores, at least 2. */
  readonly bootSlots?: number;
}

/** Where the CA bundle appears inside build containers. */
export const CA_BUNDLE_TARGET = '/etc/ssl/certs/ca-certificates.crt';

const MAX_FILE_BYTES = 8 * 1024 ** 3; // one runaway file must not fill the host's disk
const SWEEP_SLOTS = 4;

/** Connects to the daemon that is in use here; nothing is sent yet. */
export function connectDocker(socketPath: string | undefined = defaultSocket()): Docker {
  return socketPath === undefined ? new Docker() : new Docker({ socketPath });
}

/**
 * The Docker driver: every default of DESIGN section 5 is set here, in one place. Any Docker-compatible socket will do.
 * Containers start with no network, no capability, no new privileges, limits on memory (swap included), processes and
 * CPU, an init as pid 1 and `sleep infinity` as root, so that the end of a user's processes never ends the container.
 */
export function createDockerDriver(options: DockerDriverOptions): SandboxDriver {
  const { log, buildNetwork } = options;
  const docker = connectDocker(options.socketPath);
  const bootSlots = options.bootSlots ?? Math.max(2, availableParallelism());
  const boot = pLimit(bootSlots);
  const removals = createRemovals(bootSlots, log);
  const volumes = new Map<string, Promise<StoreVolume>>();

  const storeVolume = async (installation: string): Promise<StoreVolume> => {
    const known = volumes.get(installation) ?? openStoreVolume(docker, installation);
    volumes.set(installation, known);
    known.catch(() => volumes.delete(installation));
    return known;
  };

  const list: SandboxDriver['list'] = async (installation) => {
    const found = await listByLabels(docker, [`${LABELS.installation}=${installation}`]);
    return found
      .map(({ Id, Labels: labels, Created }) => ({ id: Id, labels, createdAtMs: Created * 1000 }))
      .sort((a, b) => b.createdAtMs - a.createdAtMs);
  };

  return {
    create: async (spec) => {
      await removeEarlierAttempts(docker, spec.owner, log);
      const needsStore = spec.mounts.some(({ kind }) => kind !== 'host');
      const store = needsStore ? await storeVolume(spec.owner.installation) : null;
      const config = containerConfig(spec, store, buildNetwork);
      const container = await boot(async () => startContainer(docker, config, log));
      return createSandbox({ docker, container, log, removals });
    },
    ensureStoreVolume: async (installation) => {
      volumes.delete(installation); // asked for by name: look at the daemon again
      return (await storeVolume(installation)).name;
    },
    list,
    sweep: async (installation, match) => {
      const doomed = (await list(installation)).filter(({ labels, createdAtMs }) =>
        match(labels, createdAtMs),
      );
      const slots = pLimit(SWEEP_SLOTS);
      await Promise.all(
        doomed.map(({ id }) => slots(async () => removeContainer(docker.getContainer(id), log))),
      );
      return doomed.length;
    },
    settled: async () => removals.settled(),
    imageExists: async (image) => {
      const found = await dockerCall(`look for image ${image}`, () =>
        docker.listImages({ filters: { reference: [image] } }),
      );
      return found.length > 0;
    },
    ping: async () => {
      const [version, info] = await dockerCall(
        'tell its version',
        async () => Promise.all([docker.version(), docker.info() as Promise<{ DockerRootDir?: string }>]),
        15_000,
      );
      return { version: version.Version, apiVersion: version.ApiVersion, root: info.DockerRootDir ?? '' };
    },
  };
}

/** The whole configuration of a container. Pure, so that a test can read every default. */
export function containerConfig(
  spec: SandboxSpec,
  store: StoreVolume | null,
  buildNetwork: BuildNetwork,
): Docker.ContainerCreateOptions {
  const build = spec.network === 'build';
  const env = { ...(build ? buildNetwork.env : {}), ...spec.env };
  const caMount: readonly Docker.MountSettings[] =
    build && buildNetwork.caBundle !== null
      ? [{ Type: 'bind', Source: buildNetwork.caBundle, Target: CA_BUNDLE_TARGET, ReadOnly: true }]
      : [];
  return {
    Image: spec.image,
    Cmd: ['sleep', 'infinity'],
    Entrypoint: [],
    User: '0:0',
    WorkingDir: '/',
    Hostname: 'sandbox', // the id would be a draw that tests could print
    Labels: { ...labelsOf(spec.owner), [LABELS.process]: processTag() },
    Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    HostConfig: {
      NetworkMode: build ? buildNetwork.network : 'none',
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      PidsLimit: spec.limits.pids,
      Memory: spec.limits.memoryBytes,
      MemorySwap: spec.limits.memoryBytes, // memory and swap together: no swap
      NanoCpus: Math.round(spec.limits.cpus * 1e9),
      Init: true,
      Mounts: [...caMount, ...spec.mounts.map((mount) => dockerMount(mount, store))],
      LogConfig: { Type: 'none', Config: {} }, // the main process says nothing; exec output goes to us
      // Only limits that go down: raising one fails where the daemon itself is limited.
      Ulimits: [
        { Name: 'fsize', Soft: MAX_FILE_BYTES, Hard: MAX_FILE_BYTES },
        { Name: 'core', Soft: 0, Hard: 0 },
      ],
    },
  };
}

async function startContainer(
  docker: Docker,
  config: Docker.ContainerCreateOptions,
  log: Logger,
): Promise<Docker.Container> {
  const container = await dockerCall(`create a container from ${config.Image}`, () =>
    docker.createContainer(config),
  );
  log.debug({ container: container.id, image: config.Image }, 'starting container');
  try {
    await dockerCall(`start container ${container.id.slice(0, 12)} (${config.Image})`, () =>
      container.start(),
    );
  } catch (error) {
    await removeContainer(container, log).catch((failure: unknown) =>
      log.warn({ container: container.id, failure }, 'a container that did not start could not be removed'),
    );
    throw error;
  }
  log.debug({ container: container.id }, 'started container');
  return container;
}

/** A retried activity starts clean: what its earlier attempts left (worker killed, host lost) goes first. */
async function removeEarlierAttempts(docker: Docker, owner: SandboxOwner, log: Logger): Promise<void> {
  const filter = earlierAttemptsFilter(owner);
  const { attempt } = owner;
  if (filter === null || attempt === undefined || attempt <= 1) return;
  const found = await listByLabels(docker, filter);
  const left = found.filter(({ Labels: labels }) => isEarlierAttempt(labels, attempt));
  await Promise.all(left.map(async ({ Id }) => removeContainer(docker.getContainer(Id), log)));
}

async function listByLabels(
  docker: Docker,
  label: readonly string[],
): Promise<readonly { readonly Id: string; readonly Labels: Labels; readonly Created: number }[]> {
  return dockerCall('list containers', () =>
    docker.listContainers({ all: true, filters: { label: [...label] } }),
  );
}

async function openStoreVolume(docker: Docker, installation: string): Promise<StoreVolume> {
  const name = storeVolumeName(installation);
  return dockerCall(`open the store volume ${name}`, async () => {
    // Creating a volume that exists returns it as it is.
    await docker.createVolume({ Name: name, Labels: { [LABELS.installation]: installation } });
    const [{ Mountpoint, Labels: labels }, { ApiVersion }] = await Promise.all([
      docker.getVolume(name).inspect(),
      docker.version(),
    ]);
    if (labels?.[LABELS.installation] !== installation) {
      throw permanentFailure(
        FAILURE_TYPES.badInput,
        `A volume named ${name} exists that is not ours (no label ${LABELS.installation}): remove or rename it.`,
      );
    }
    return { name, mountpoint: Mountpoint, subpathKnown: knowsSubpath(ApiVersion) };
  });
}

/** Directories that every base image must have, with `uid:gid` and mode: chown is impossible inside a sandbox. */
export const SANDBOX_DIRECTORIES: readonly {
  readonly path: string;
  readonly owner: string;
  readonly mode: string;
}[] = [
  { path: SANDBOX_PATHS.repo, owner: '1000:1000', mode: '2775' }, // shared by test and build users
  { path: SANDBOX_PATHS.venv, owner: '1001:1000', mode: '0755' },
  { path: SANDBOX_PATHS.environment, owner: '0:0', mode: '0755' },
  { path: SANDBOX_PATHS.runner, owner: '0:0', mode: '0755' },
  { path: SANDBOX_PATHS.output, owner: '1000:1000', mode: '0755' },
  { path: SANDBOX_PATHS.store, owner: '0:0', mode: '0755' },
  { path: '/home/test', owner: '1000:1000', mode: '0755' },
  { path: '/home/build', owner: '1001:1000', mode: '0755' },
];

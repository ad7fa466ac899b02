import { randomBytes } from 'node:crypto';
import { pack } from 'tar-stream';
import type { InstanceRow } from '../src/domain/types.ts';
import { environmentImage } from '../src/export/imageNames.ts';
import { followProgress } from '../src/sandbox/bootstrap.ts';
import { connectDocker } from '../src/sandbox/docker.ts';
import { SANDBOX_PATHS, SANDBOX_USERS } from '../src/sandbox/types.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { imageDependencies, removeImages } from './images.ts';
import { benchContext } from './support.ts';

const LIMITS = { memoryBytes: 4 * 1024 ** 3, pids: 512, cpus: 2 };
const PACK_TIMEOUT_MS = 600_000;
const MAX_LAYER_BYTES = 4 * 1024 ** 3;

/** What one image holds over its base image, and with it. */
export interface ImageSize {
  readonly instance: string;
  /** Layers over the base image, as the daemon counts them: file sizes, uncompressed. */
  readonly ownBytes: number;
  /** The same files in whole blocks, as a disk holds them, measured inside a container of the image. */
  readonly ownAllocatedBytes: number;
  /** As the daemon counts it, with the base image. */
  readonly bytes: number;
}

/** One image per task with the whole environment inside: built for each row, measured and removed. */
export async function measureFlatImages(
  deps: Dependencies,
  rows: readonly InstanceRow[],
): Promise<readonly ImageSize[]> {
  const sizes: ImageSize[] = [];
  for (const row of rows) sizes.push(await buildFlat(deps, row));
  return sizes;
}

/**
 * One image per environment, the workspace made when a task starts: the lower part of the exported images, which must be
 * there, for every environment of these rows.
 */
export async function measureEnvironmentImages(
  deps: Dependencies,
  rows: readonly InstanceRow[],
): Promise<readonly ImageSize[]> {
  const nameOf = ({ environment: { key, variant } }: InstanceRow): string => environmentImage(key, variant);
  const sizes: ImageSize[] = [];
  for (const [name, row] of new Map(rows.map((one) => [nameOf(one), one])))
    sizes.push(await sizeOf(deps, row, name, [SANDBOX_PATHS.environment]));
  return sizes;
}

/**
 * An image as one Dockerfile per task makes it: `FROM base`, the environment's packages, the repository and its install.
 * Built by the daemon from that Dockerfile, measured, removed.
 */
async function buildFlat(deps: Dependencies, row: InstanceRow): Promise<ImageSize> {
  const docker = connectDocker();
  const name = `repoforge-bench/flat:${randomBytes(6).toString('hex')}`;
  const base = await baseOf(deps, row);
  const context = pack();
  context.entry({ name: 'Dockerfile' }, `FROM ${base}\nADD environment.tar /\nADD workspace.tar /\n`);
  const { environment, workspace } = await layersOf(deps, row, base);
  context.entry({ name: 'environment.tar' }, environment);
  context.entry({ name: 'workspace.tar' }, workspace);
  context.finalize();
  const stream = context as unknown as NodeJS.ReadableStream; // a stream of streamx, which lacks three legacy methods
  await followProgress(docker, await docker.buildImage(stream, { t: name, forcerm: true, nocache: true }));
  try {
    const { environment: packages, repo, venv } = SANDBOX_PATHS;
    return await sizeOf(deps, row, name, [packages, repo, venv]);
  } finally {
    await removeImages([name]);
  }
}

/** What the image's two layers hold, as archives from a container in which the row was installed as a run installs it. */
async function layersOf(
  deps: Dependencies,
  row: InstanceRow,
  image: string,
): Promise<{ readonly environment: Buffer; readonly workspace: Buffer }> {
  const { environmentSubpath, prepareWorkspace } = imageDependencies(deps);
  const subpath = await environmentSubpath(row);
  const { environment: target, venv, repo } = SANDBOX_PATHS;
  const sandbox = await deps.driver.create({
    image,
    owner: benchContext(deps).owner,
    network: 'none',
    limits: LIMITS,
    mounts: [{ kind: 'store', subpath, target, readOnly: true }],
  });
  try {
    await prepareWorkspace(sandbox, row);
    const archive = async (paths: readonly string[]): Promise<Buffer> => {
      const packed = await sandbox.exec(['tar', '-C', '/', '-c', ...paths.map((path) => path.slice(1))], {
        user: SANDBOX_USERS.root,
        timeoutMs: PACK_TIMEOUT_MS,
        outputBytes: MAX_LAYER_BYTES,
      });
      if (packed.exitCode !== 0) throw new Error(`tar: ${packed.stderr.toString('utf8').slice(-500)}`);
      return packed.stdout;
    };
    return { environment: await archive([target]), workspace: await archive([repo, venv]) };
  } finally {
    await sandbox.destroy();
  }
}

const baseOf = ({ baseImages }: Dependencies, { environment: e }: InstanceRow): Promise<string> =>
  baseImages.ensure(e.base, e.runtime_version, e.system_packages);

async function sizeOf(
  deps: Dependencies,
  row: InstanceRow,
  name: string,
  folders: readonly string[],
): Promise<ImageSize> {
  const docker = connectDocker();
  const base = await docker.getImage(await baseOf(deps, row)).inspect();
  const image = await docker.getImage(name).inspect();
  const shared = base.RootFS.Layers ?? [];
  if (!shared.every((layer, index) => image.RootFS.Layers?.[index] === layer))
    throw new Error(`${name} does not stand on the base image of ${row.instance_id}`);
  return {
    instance: row.instance_id,
    ownBytes: image.Size - base.Size,
    ownAllocatedBytes: await allocatedIn(deps, name, folders),
    bytes: image.Size,
  };
}

async function allocatedIn(deps: Dependencies, image: string, folders: readonly string[]): Promise<number> {
  const { owner } = benchContext(deps);
  const sandbox = await deps.driver.create({ image, owner, network: 'none', limits: LIMITS, mounts: [] });
  try {
    const { exitCode, stdout } = await sandbox.exec(['du', '-cs', '--block-size=1', ...folders], {
      user: SANDBOX_USERS.root,
      timeoutMs: PACK_TIMEOUT_MS,
    });
    const total = /^(\d+)\s+total$/m.exec(stdout.toString('utf8'))?.[1];
    if (exitCode !== 0 || total === undefined) throw new Error(`${image} could not be measured`);
    return Number(total);
  } finally {
    await sandbox.destroy();
  }
}

import { randomBytes } from 'node:crypto';
import { pack } from 'tar-stream';
import type { InstanceRow } from '../src/domain/types.ts';
import { environmentImage } from '../src/export/imageNames.ts';
import { followProgress } from '../src/sandbox/bootstrap.ts';
import { connectDocker } from '../src/sandbox/docker.ts';
import { SANDBOX_PATHS, SANDBOX_USERS } from '../src/sandbox/types.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { exportImages, imageDependencies, removeImages } from './images.ts';
import { benchContext } from './support.ts';

const LIMITS = { memoryBytes: 4 * 1024 ** 3, pids: 512, cpus: 2 };
const PACK_TIMEOUT_MS = 600_000;
const MAX_LAYER_BYTES = 4 * 1024 ** 3;

/** Bytes of one image as the daemon counts them: files of its layers, uncompressed. */
export interface ImageSize {
  readonly instance: string;
  /** Layers over the base image: what this image alone holds. */
  readonly ownBytes: number;
  /** With the base image. */
  readonly bytes: number;
}

/** The two usual layouts, built for a sample of instances and looked at. */
export interface Layouts {
  /** One image per task with the whole environment inside. */
  readonly perInstance: readonly ImageSize[];
  /** One image per environment; the workspace is made when a task starts. `instances`: of all rows that use it. */
  readonly perEnvironment: readonly (ImageSize & { readonly instances: number })[];
}

/** Builds both layouts for the sample, from the same environment files that ours uses, and removes what it built. */
export async function measureLayouts(
  deps: Dependencies,
  rows: readonly InstanceRow[],
  sample: readonly InstanceRow[],
): Promise<Layouts> {
  const { made } = await exportImages(deps, sample); // environment ← workspace: the lower part is the second layout
  try {
    const environments = Map.groupBy(sample, environmentName);
    const perEnvironment = [];
    for (const [name, [row]] of environments)
      if (row !== undefined)
        perEnvironment.push({
          ...(await sizeOf(deps, row, name)),
          instances: rows.filter((other) => environmentName(other) === name).length,
        });
    const perInstance = [];
    for (const row of sample) perInstance.push(await buildFlat(deps, row));
    return { perInstance, perEnvironment };
  } finally {
    await removeImages(made);
  }
}

const environmentName = ({ environment: { key, variant } }: InstanceRow): string =>
  environmentImage(key, variant);

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
    return await sizeOf(deps, row, name);
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

async function sizeOf(deps: Dependencies, row: InstanceRow, name: string): Promise<ImageSize> {
  const docker = connectDocker();
  const base = await docker.getImage(await baseOf(deps, row)).inspect();
  const image = await docker.getImage(name).inspect();
  const shared = base.RootFS.Layers ?? [];
  if (!shared.every((layer, index) => image.RootFS.Layers?.[index] === layer))
    throw new Error(`${name} does not stand on the base image of ${row.instance_id}`);
  return { instance: row.instance_id, ownBytes: image.Size - base.Size, bytes: image.Size };
}

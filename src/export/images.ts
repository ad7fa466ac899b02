import pLimit from 'p-limit';
import type Docker from 'dockerode';
import type { Logger } from 'pino';
import type { InstanceRow } from '../domain/types.ts';
import type { BaseImages, Sandbox, SandboxDriver, SandboxOwner, SandboxSpec } from '../sandbox/types.ts';
import { infraFailure } from '../domain/failures.ts';
import { dockerCall, dockerStatus } from '../sandbox/errors.ts';
import { LABELS } from '../sandbox/labels.ts';
import { SANDBOX_PATHS, SANDBOX_USERS } from '../sandbox/types.ts';
import { DEFAULT_IMAGE_NAMESPACE, environmentImage, instanceImage } from './imageNames.ts';

/** Labels on exported images. Not the sandbox's own: whoever runs these images must not look like one of our runs. */
export const IMAGE_LABELS = {
  installation: 'repoforge.image.installation',
  kind: 'repoforge.image.kind',
  /** `<environment key>/<variant>`. */
  environment: 'repoforge.image.environment',
  instance: 'repoforge.image.instance',
  /** Hash of the row that the workspace was made for: a changed row is built again. */
  row: 'repoforge.image.row',
} as const;

export interface ImageDependencies {
  readonly docker: Docker;
  readonly driver: SandboxDriver;
  readonly baseImages: BaseImages;
  readonly owner: SandboxOwner;
  readonly log: Logger;
  /** Where the store keeps an environment, e.g. `envs/<key>`; makes it when it was collected. */
  readonly environmentSubpath: (row: InstanceRow) => Promise<string>;
  /** Puts the row's base tree into `/testbed` as one commit and installs it, exactly as a run does. */
  readonly prepareWorkspace: (sandbox: Sandbox, row: InstanceRow) => Promise<void>;
}

export interface BuildImagesInput {
  readonly rows: readonly InstanceRow[];
  readonly namespace?: string;
  /** Only say what would be built. */
  readonly dryRun?: boolean;
  /** Build also what exists. */
  readonly force?: boolean;
  /** Instances built side by side. */
  readonly workers?: number;
}

export interface ImageOutcome {
  readonly instanceId: string;
  readonly image: string;
  readonly environmentImage: string;
  readonly state: 'built' | 'present' | 'planned' | 'failed';
  readonly problem: string | null;
}

export interface BuildImagesReport {
  readonly images: readonly ImageOutcome[];
  readonly built: number;
  readonly present: number;
  readonly failed: number;
  /** Environment layers among them, each shared by all of its instances. */
  readonly environments: number;
}

const LIMITS: SandboxSpec['limits'] = { memoryBytes: 4 * 1024 ** 3, pids: 512, cpus: 2 };
const COPY_TIMEOUT_MS = 600_000; // an environment can hold gigabytes on a slow disk
const GIT_TIMEOUT_MS = 120_000;

/**
 * Makes ordinary layered images for other harnesses: base ← environment (once per key) ← workspace (one per row), so that
 * instances of one environment share its layer by construction. One failed image does not stop the others.
 */
export async function buildImages(
  deps: ImageDependencies,
  input: BuildImagesInput,
): Promise<BuildImagesReport> {
  const namespace = input.namespace ?? DEFAULT_IMAGE_NAMESPACE;
  const slots = pLimit(input.workers ?? 2);
  const environments = new Map<string, Promise<string>>();
  const environmentOf = (row: InstanceRow): Promise<string> => {
    const name = environmentNameOf(row, namespace);
    const known = environments.get(name) ?? ensureEnvironment(deps, row, name, input.force ?? false);
    environments.set(name, known);
    return known;
  };
  const images = await Promise.all(
    input.rows.map((row) => slots(() => buildOne(deps, row, namespace, input, environmentOf))),
  );
  const count = (state: ImageOutcome['state']): number =>
    images.filter((image) => image.state === state).length;
  return {
    images,
    built: count('built'),
    present: count('present'),
    failed: count('failed'),
    environments: new Set(images.map((image) => image.environmentImage)).size,
  };
}

/** The names of a data set's images that this daemon does not have. */
export async function checkImages(
  docker: Docker,
  images: readonly string[],
): Promise<{ readonly present: readonly string[]; readonly missing: readonly string[] }> {
  const found = await Promise.all(images.map(async (image) => (await inspect(docker, image)) !== null));
  return {
    present: images.filter((_image, index) => found[index] === true),
    missing: images.filter((_image, index) => found[index] === false),
  };
}

/** Removes the images that this installation exported: instances first, then the environment layers. Returns their names. */
export async function cleanImages(
  docker: Docker,
  installation: string,
  options: { readonly dryRun?: boolean; readonly instanceIds?: ReadonlySet<string> } = {},
): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const kind of ['instance', 'environment'] as const) {
    if (kind === 'environment' && options.instanceIds !== undefined) continue;
    const label = [`${IMAGE_LABELS.installation}=${installation}`, `${IMAGE_LABELS.kind}=${kind}`];
    const found = await dockerCall('list images', () => docker.listImages({ filters: { label } }));
    for (const image of found) {
      const id = image.Labels?.[IMAGE_LABELS.instance] ?? '';
      if (options.instanceIds !== undefined && !options.instanceIds.has(id)) continue;
      const tags = (image.RepoTags ?? []).filter((tag) => tag !== '<none>:<none>');
      for (const tag of tags.length > 0 ? tags : [image.Id]) {
        if (options.dryRun !== true) await removeImage(docker, tag);
        removed.push(tag);
      }
    }
  }
  return removed;
}

const environmentNameOf = (row: InstanceRow, namespace: string): string =>
  environmentImage(row.environment.key, row.environment.variant, namespace);

const environmentLabel = (row: InstanceRow): string => `${row.environment.key}/${row.environment.variant}`;

async function buildOne(
  deps: ImageDependencies,
  row: InstanceRow,
  namespace: string,
  input: BuildImagesInput,
  environmentOf: (row: InstanceRow) => Promise<string>,
): Promise<ImageOutcome> {
  const image = instanceImage(row.instance_id, namespace);
  const outcome = { instanceId: row.instance_id, image, environmentImage: environmentNameOf(row, namespace) };
  try {
    const existing = await inspect(deps.docker, image);
    const current = existing?.Config.Labels?.[IMAGE_LABELS.row] === row.row_hash;
    if (current && input.force !== true) return { ...outcome, state: 'present', problem: null };
    if (input.dryRun === true) return { ...outcome, state: 'planned', problem: null };
    await buildInstance(deps, row, image, await environmentOf(row));
    if (existing !== null) await removeImage(deps.docker, existing.Id); // untagged by the new one
    return { ...outcome, state: 'built', problem: null };
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    deps.log.warn({ instance: row.instance_id, image, err: error }, 'an image could not be built');
    return { ...outcome, state: 'failed', problem };
  }
}

async function ensureEnvironment(
  deps: ImageDependencies,
  row: InstanceRow,
  name: string,
  force: boolean,
): Promise<string> {
  const existing = await inspect(deps.docker, name);
  if (!force && existing?.Config.Labels?.[IMAGE_LABELS.environment] === environmentLabel(row)) return name;
  const { base, runtime_version: runtime, system_packages: packages } = row.environment;
  const image = await deps.baseImages.ensure(base, runtime, packages);
  const subpath = await deps.environmentSubpath(row);
  const mount = { kind: 'store', subpath, target: SANDBOX_PATHS.store, readOnly: true } as const;
  await inSandbox(deps, { image, mounts: [mount] }, async (sandbox) => {
    await succeed(
      sandbox,
      ['cp', '-a', `${SANDBOX_PATHS.store}/.`, `${SANDBOX_PATHS.environment}/`],
      COPY_TIMEOUT_MS,
    );
    await commit(deps, sandbox, name, {
      [IMAGE_LABELS.kind]: 'environment',
      [IMAGE_LABELS.environment]: environmentLabel(row),
    });
  });
  return name;
}

async function buildInstance(
  deps: ImageDependencies,
  row: InstanceRow,
  name: string,
  environment: string,
): Promise<void> {
  await inSandbox(deps, { image: environment, mounts: [] }, async (sandbox) => {
    await deps.prepareWorkspace(sandbox, row);
    // harnesses run git as root on a tree that is not root's
    await succeed(
      sandbox,
      ['git', 'config', '--system', '--add', 'safe.directory', SANDBOX_PATHS.repo],
      GIT_TIMEOUT_MS,
    );
    // `git clean` between two attempts to apply a patch must spare what the install left in the tree
    await succeed(sandbox, ['bash', '-c', SPARE_UNTRACKED], GIT_TIMEOUT_MS, SANDBOX_USERS.test);
    await commit(deps, sandbox, name, {
      [IMAGE_LABELS.kind]: 'instance',
      [IMAGE_LABELS.environment]: environmentLabel(row),
      [IMAGE_LABELS.instance]: row.instance_id,
      [IMAGE_LABELS.row]: row.row_hash,
    });
  });
}

const SPARE_UNTRACKED = `cd ${SANDBOX_PATHS.repo} && mkdir -p .git/info && git ls-files --others --exclude-standard --directory | sed 's|^|/|' >> .git/info/exclude`;

async function inSandbox(
  deps: ImageDependencies,
  spec: Pick<SandboxSpec, 'image' | 'mounts'>,
  work: (sandbox: Sandbox) => Promise<void>,
): Promise<void> {
  const sandbox = await deps.driver.create({ ...spec, owner: deps.owner, network: 'none', limits: LIMITS });
  try {
    await work(sandbox);
  } finally {
    await sandbox.destroy();
  }
}

async function succeed(
  sandbox: Sandbox,
  command: readonly string[],
  timeoutMs: number,
  user: string = SANDBOX_USERS.root,
): Promise<void> {
  const result = await sandbox.exec(command, { user, timeoutMs });
  if (result.exitCode === 0) return;
  const said = result.output.toString('utf8').trim().slice(-500);
  throw infraFailure(
    `${command[0]} ${result.timedOut ? 'hit its time limit' : `failed with exit code ${result.exitCode}`} while an image was made: ${said}`,
  );
}

async function commit(
  deps: ImageDependencies,
  sandbox: Sandbox,
  name: string,
  labels: Readonly<Record<string, string>>,
): Promise<void> {
  const at = name.lastIndexOf(':');
  const all: Readonly<Record<string, string>> = {
    // a container inherits its image's labels, and our sweeper removes containers by these
    ...Object.fromEntries(Object.values(LABELS).map((label) => [label, ''])),
    [IMAGE_LABELS.installation]: deps.owner.installation,
    ...labels,
  };
  const changes = [
    `WORKDIR ${SANDBOX_PATHS.repo}`,
    'CMD ["/bin/bash"]',
    ...Object.entries(all).map(([label, value]) => `LABEL ${label}=${JSON.stringify(value)}`),
  ];
  await dockerCall(
    `commit image ${name}`,
    () =>
      deps.docker.getContainer(sandbox.id).commit({
        repo: name.slice(0, at),
        tag: name.slice(at + 1),
        changes,
        pause: true,
      }),
    COPY_TIMEOUT_MS,
  );
}

async function inspect(docker: Docker, image: string): Promise<Docker.ImageInspectInfo | null> {
  return dockerCall(`look for image ${image}`, async () => {
    try {
      return await docker.getImage(image).inspect();
    } catch (error) {
      if (dockerStatus(error) === 404) return null;
      throw error;
    }
  });
}

async function removeImage(docker: Docker, image: string): Promise<void> {
  await dockerCall(`remove image ${image}`, async () => {
    try {
      await docker.getImage(image).remove();
    } catch (error) {
      const status = dockerStatus(error);
      if (status !== 404 && status !== 409) throw error; // 409: something still stands on it
    }
  });
}

import { basename } from 'node:path';
import { readFile } from 'node:fs/promises';
import type Docker from 'dockerode';
import { pack } from 'tar-stream';
import type { Installer } from '../setup/installer.ts';
import { followProgress, IMAGE_ENV } from './bootstrap.ts';
import { dockerCall } from './errors.ts';
import { LABELS } from './labels.ts';
import { BASE_RULE_VERSION, RUNTIMES } from './runtimes.ts';
import type { Runtime } from './runtimes.ts';
import { layoutScript } from './slim.ts';

const PROBE_BUDGET_MS = 5_000; // one small manifest; without a registry the user should not wait
const SAMPLE_VERSION = '3.11'; // any version that every mirror of the official images has
const PULL_TIMEOUT_MS = 30 * 60_000;

export interface PulledBaseInput {
  readonly docker: Docker;
  /** '' = the daemon's default registry, else a prefix such as `registry.example/mirror`. */
  readonly registry: string;
  readonly runtime: Runtime;
  readonly image: string;
  readonly packages: readonly string[];
  readonly uv: string;
  readonly installer: Installer;
}

/** The official image of a runtime, by suite, so that a base is the same Debian whether pulled or bootstrapped. */
export const officialImage = (registry: string, { suite, runtimeVersion }: Runtime): string =>
  `${registry === '' ? '' : `${registry.replace(/\/+$/, '')}/`}python:${runtimeVersion}-slim-${suite}`;

/**
 * Asks the daemon for the manifest of one official image: the registry to pull from ('' = the daemon's default), or null
 * when none answers in time. Call it once per process, and hand the answer to `createBaseImages`.
 *
 * @param configured REPOFORGE_BASE_REGISTRY: another registry, or `none` to skip the question.
 */
export async function findRegistry(
  docker: Docker,
  configured: string | undefined = process.env['REPOFORGE_BASE_REGISTRY'],
): Promise<string | null> {
  const sample = RUNTIMES.find(({ runtimeVersion }) => runtimeVersion === SAMPLE_VERSION);
  if (configured === 'none' || sample === undefined) return null;
  const registry = configured ?? '';
  const ask = async (): Promise<unknown> => docker.getImage(officialImage(registry, sample)).distribution();
  return dockerCall('ask a registry for an image', ask, PROBE_BUDGET_MS).then(
    () => registry,
    () => null,
  );
}

/** Pulls the official image and adds what our bases have, as one layer more. */
export async function pullBaseImage(input: PulledBaseInput): Promise<void> {
  const { docker, registry, runtime, image, uv, installer } = input;
  const from = officialImage(registry, runtime);
  await dockerCall(
    `pull ${from}`,
    async () => followProgress(docker, await docker.pull(from)),
    PULL_TIMEOUT_MS,
  );
  const context = pack();
  context.entry({ name: 'Dockerfile' }, dockerfile(from, input.packages));
  context.entry({ name: 'layout.sh', mode: 0o755 }, `#!/bin/sh\nset -e\n${layoutScript}`);
  context.entry({ name: basename(uv), mode: 0o755 }, await readFile(uv));
  context.finalize();
  const build = {
    t: image,
    labels: { [LABELS.base]: String(BASE_RULE_VERSION) },
    networkmode: installer.dockerNetwork,
    buildargs: { ...installer.proxyEnv }, // docker's own predefined arguments: kept out of the image's history
    rm: true,
    forcerm: true, // a failed step leaves an unlabelled container otherwise
  };
  await dockerCall(
    `build ${image}`,
    async () =>
      followProgress(docker, await docker.buildImage(context as unknown as NodeJS.ReadableStream, build)),
    PULL_TIMEOUT_MS,
  );
}

const dockerfile = (from: string, packages: readonly string[]): string => `FROM ${from}
RUN apt-get update -q && apt-get install -y -q --no-install-recommends git ca-certificates tzdata netbase ${packages.join(' ')} \\
 && rm -rf /var/lib/apt/lists /var/cache/apt /usr/share/doc /usr/share/man
COPY uv /usr/local/bin/uv
COPY layout.sh /tmp/layout.sh
RUN sh /tmp/layout.sh / && rm /tmp/layout.sh
ENV ${Object.entries(IMAGE_ENV)
  .map(([name, value]) => `${name}=${value}`)
  .join(' ')}
CMD ["sleep", "infinity"]
`;

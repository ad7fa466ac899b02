import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where Docker-compatible daemons listen when DOCKER_HOST says nothing: docker, rootless docker, podman, Docker Desktop. */
export function knownSockets(
  env: Readonly<Record<string, string | undefined>> = process.env,
): readonly string[] {
  const runtimeDir = env['XDG_RUNTIME_DIR'];
  const own = runtimeDir ? [join(runtimeDir, 'docker.sock'), join(runtimeDir, 'podman', 'podman.sock')] : [];
  return [
    '/var/run/docker.sock',
    ...own,
    '/run/podman/podman.sock',
    join(homedir(), '.docker', 'run', 'docker.sock'),
  ];
}

/**
 * Socket to use without asking anybody: undefined when DOCKER_HOST is set (dockerode reads it) or when none of the known
 * ones exists (dockerode's default then gives the clear "not there").
 */
export function defaultSocket(
  env: Readonly<Record<string, string | undefined>> = process.env,
): string | undefined {
  if (env['DOCKER_HOST']) return undefined;
  return knownSockets(env).find((path) => existsSync(path));
}

import type { EnvironmentVariant } from '../domain/types.ts';

/** SWE-bench's naming rule: `<namespace>/sweb.eval.x86_64.<id>:latest`, lower case, `__` written `_1776_`. */

export const DEFAULT_IMAGE_NAMESPACE = 'repoforge';

export type ImageArchitecture = 'x86_64' | 'arm64';

/** Architecture in an image's name, from Node's `process.arch`. */
export const imageArchitecture = (nodeArch: string = process.arch): ImageArchitecture =>
  nodeArch === 'arm64' ? 'arm64' : 'x86_64';

/** Name of an instance's image, tag included. */
export function instanceImage(
  instanceId: string,
  namespace: string = DEFAULT_IMAGE_NAMESPACE,
  architecture: ImageArchitecture = imageArchitecture(),
): string {
  return `${namespace}/sweb.eval.${architecture}.${instanceId}:latest`
    .toLowerCase()
    .replaceAll('__', '_1776_');
}

/** Name of the layer that all instances of an environment share. */
export function environmentImage(
  key: string,
  variant: EnvironmentVariant,
  namespace: string = DEFAULT_IMAGE_NAMESPACE,
  architecture: ImageArchitecture = imageArchitecture(),
): string {
  return `${namespace}/sweb.env.${architecture}.${key.slice(0, 24)}-${variant}:latest`.toLowerCase();
}

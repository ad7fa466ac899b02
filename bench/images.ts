import type { InstanceRow } from '../src/domain/types.ts';
import { dockerStatus } from '../src/sandbox/errors.ts';
import { connectDocker } from '../src/sandbox/docker.ts';
import { buildImages, type ImageDependencies, type ImageOutcome } from '../src/export/images.ts';
import { pythonImageParts } from '../src/export/pythonImages.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { benchContext } from './support.ts';

/** What images of this installation's rows are made with. */
export function imageDependencies(deps: Dependencies): ImageDependencies {
  const context = benchContext(deps);
  return {
    docker: connectDocker(),
    driver: deps.driver,
    baseImages: deps.baseImages,
    owner: context.owner,
    log: deps.log,
    ...pythonImageParts({ ...deps, ecosystem: deps.ecosystemFor(null), context }),
  };
}

/**
 * The rows' exported images, built where this daemon lacks them. `made` names those that were not there before, instances
 * first: whoever asked removes them. Throws when one cannot be built.
 */
export async function exportImages(
  deps: Dependencies,
  rows: readonly InstanceRow[],
): Promise<{ readonly images: readonly ImageOutcome[]; readonly made: readonly string[] }> {
  const before = new Set((await connectDocker().listImages()).flatMap(({ RepoTags }) => RepoTags ?? []));
  const { images } = await buildImages(imageDependencies(deps), { rows });
  const names = [...images.map(({ image }) => image), ...images.map((one) => one.environmentImage)];
  const made = [...new Set(names)].filter((name) => !before.has(name));
  const failed = images.find(({ state }) => state === 'failed');
  if (failed === undefined) return { images, made };
  await removeImages(made);
  throw new Error(`${failed.image}: ${failed.problem}`);
}

/** Removes images by name, in this order; one that is not there is no error. */
export async function removeImages(names: readonly string[]): Promise<void> {
  for (const name of names)
    await connectDocker()
      .getImage(name)
      .remove({ force: true })
      .catch((error: unknown) => {
        if (dockerStatus(error) !== 404) throw error;
      });
}

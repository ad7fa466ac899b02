import type { Rows } from '../src/cli/rows.ts';
import type { ArtefactRef } from '../src/domain/types.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { measureStorage, type CampaignStorage, type StorageReport } from '../src/store/storage.ts';
import type { ArtefactStore } from '../src/store/types.ts';
import { exportImages, removeImages } from './images.ts';
import { measureEnvironmentImages, measureFlatImages, type ImageSize } from './imageLayouts.ts';
import { startRegistry } from './peer/registry.ts';
import { machineLine, type BenchReport } from './report.ts';
import { sampled, sum } from './support.ts';

export interface StorageBenchOptions {
  readonly campaign: string;
  /** Instances that get an image of their own, with everything inside. */
  readonly sample?: number;
  /** `none` leaves image layouts and registry out. */
  readonly peer: 'all' | 'none';
}

const DEFAULT_SAMPLE = 6;
const BLOCK_BYTES = 4096; // what a small file takes on disk

/**
 * What a campaign's published instances take on disk, part by part, against what images of the same instances take: one
 * for each (built for a sample), one for each environment, and all exported ones in a real registry.
 */
export async function benchStorage(
  deps: Dependencies,
  rows: Rows,
  options: StorageBenchOptions,
): Promise<BenchReport> {
  const { installation, dir: stateDir } = deps.state;
  const report = await measureStorage(
    { ...deps, installation, stateDir },
    new Map([[options.campaign, rows.rows]]),
  );
  const [campaign] = report.campaigns;
  if (campaign === undefined) throw new Error('nothing was measured');
  const artefacts = await artefactsOf(deps.store, rows);
  const sample = sampled(rows.rows, options.sample ?? DEFAULT_SAMPLE);
  const images = options.peer === 'none' ? null : await measureImages(deps, rows.rows, sample);
  return reportOf(report, campaign, artefacts, images);
}

interface ArtefactBytes {
  /** Candidates, patches, specs, locks, canaries: what evaluating the rows again needs. */
  readonly needed: number;
  /** Records, logs and JUnit files of validation: why the rows may be believed. */
  readonly evidence: number;
}

/** Follows refs from the rows, then from their evidence; every artefact once, in whole blocks. */
async function artefactsOf(store: ArtefactStore, { rows, evidence }: Rows): Promise<ArtefactBytes> {
  const stored = new Map<ArtefactRef, number>();
  for await (const { ref, bytes } of store.list()) stored.set(ref, bytes);
  const seen = new Set<ArtefactRef>();
  const bytesFrom = async (texts: readonly string[]): Promise<number> => {
    let bytes = 0;
    for (const ref of texts.flatMap((text) => text.match(/sha256:[0-9a-f]{64}/g) ?? []) as ArtefactRef[]) {
      const size = stored.get(ref); // locks hold hashes that are no artefacts of ours
      if (seen.has(ref) || size === undefined) continue;
      seen.add(ref);
      bytes += Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
      bytes += await bytesFrom([(await store.get(ref)).toString('latin1')]);
    }
    return bytes;
  };
  const proofs = rows.flatMap(({ instance_id: id }) => evidence.get(id) ?? []);
  return {
    needed: await bytesFrom([
      ...rows.flatMap((row) => [row.candidate, row.environment_spec]),
      ...proofs.map(({ provenCanaries }) => provenCanaries ?? ''),
    ]),
    evidence: await bytesFrom(proofs.map((proof) => JSON.stringify(proof))),
  };
}

/** What images of the same instances hold, in three forms. */
interface Images {
  /** One per task with everything inside; of the sample. */
  readonly flat: readonly ImageSize[];
  /** One per environment; all of them. */
  readonly environments: readonly ImageSize[];
  /** Blobs of all exported images in a registry, and of these the base images'. */
  readonly registry: { readonly total: number; readonly base: number };
}

/** Builds what is missing, looks at it, pushes base images and then every exported image, and removes what was built. */
async function measureImages(deps: Dependencies, rows: Rows['rows'], sample: Rows['rows']): Promise<Images> {
  const { images, made } = await exportImages(deps, rows);
  try {
    const environments = await measureEnvironmentImages(deps, rows);
    await using registry = await startRegistry(deps.settings.cacheDir);
    const bases = new Set<string>();
    for (const { environment: e } of rows)
      bases.add(await deps.baseImages.ensure(e.base, e.runtime_version, e.system_packages));
    for (const image of bases) await registry.push(image);
    const base = await registry.blobBytes();
    for (const { image } of images) await registry.push(image);
    return {
      flat: await measureFlatImages(deps, sample),
      environments,
      registry: { total: await registry.blobBytes(), base },
    };
  } finally {
    await removeImages(made);
  }
}

function reportOf(
  report: StorageReport,
  campaign: CampaignStorage,
  artefacts: ArtefactBytes,
  images: Images | null,
): BenchReport {
  const { instances, environmentBytes, datasetBytes, mirrorBytes, baseImageBytes } = campaign;
  const each = (bytes: number): number => Math.round(bytes / instances);
  const unique = environmentBytes + datasetBytes + mirrorBytes + artefacts.needed;
  return {
    bench: 'storage',
    figure: each(unique),
    unit: 'bytes per instance',
    what: 'unique_bytes_per_instance: environments (every inode once; those of other campaigns in part), dataset, git mirrors and the artefacts that an evaluation needs, over base images, ÷ instances; with_base: base images too. Allocated bytes. image_per_*: the built images’ own layers over the base image, per instance, as docker inspect counts them (file sizes; allocated: in whole blocks, as ours), from the same pruned files as ours; image_per_instance_whole: one image with its base. registry: compressed blobs of all exported images, base images included',
    target: 'unique <= 5 MB, with base <= 10 MB, from 60 instances on',
    machine: machineLine(),
    runs: [{ ...campaign }, ...sizesOf(images)],
    more: {
      instances,
      environments: campaign.environments,
      environments_per_instance: Math.round((100 * campaign.environments) / instances) / 100,
      unique_bytes_per_instance: each(unique),
      with_base_bytes_per_instance: each(unique + baseImageBytes),
      environment_bytes_per_instance: each(environmentBytes),
      dataset_bytes_per_instance: each(datasetBytes),
      mirror_bytes_per_instance: each(mirrorBytes),
      artefact_bytes_per_instance: each(artefacts.needed),
      evidence_bytes_per_instance: each(artefacts.evidence),
      base_image_bytes: baseImageBytes,
      unreferenced_cache_bytes: report.packageStore.cacheOnlyBytes,
      working_cache_bytes: report.packageStore.workingBytes,
      copy_fallback_bytes: report.packageStore.copiedBytes,
      installation_total_bytes: report.totalBytes,
      // the whole installation's: artefacts hold logs and prepared workspaces beside what rows need
      ...Object.fromEntries(
        Object.entries(report.state).map(([name, bytes]) => [`state_${name}_bytes`, bytes]),
      ),
      ...imageFigures(images, baseImageBytes, instances),
    },
  };
}

function imageFigures(
  images: Images | null,
  baseBytes: number,
  instances: number,
): Readonly<Record<string, number | null>> {
  if (images === null) return { image_per_instance_bytes: null, image_per_environment_bytes: null };
  const { flat, environments, registry } = images;
  const own = (sizes: readonly ImageSize[], among: number, of: keyof Omit<ImageSize, 'instance'>): number =>
    Math.round(sum(sizes.map((size) => size[of])) / among);
  const perInstance = own(flat, flat.length, 'ownBytes');
  const perEnvironment = own(environments, instances, 'ownBytes');
  const base = Math.round(baseBytes / instances);
  return {
    image_per_instance_bytes: perInstance,
    image_per_instance_allocated_bytes: own(flat, flat.length, 'ownAllocatedBytes'),
    image_per_instance_with_base_bytes: perInstance + base,
    image_per_instance_whole_bytes: own(flat, flat.length, 'bytes'),
    image_per_environment_bytes: perEnvironment,
    image_per_environment_allocated_bytes: own(environments, instances, 'ownAllocatedBytes'),
    image_per_environment_with_base_bytes: perEnvironment + base,
    sampled_instances: flat.length,
    environment_images: environments.length,
    registry_bytes_total: registry.total,
    registry_bytes_per_instance: Math.round(registry.total / instances),
    registry_base_bytes: registry.base,
  };
}

const sizesOf = (images: Images | null): BenchReport['runs'] => [
  ...(images?.flat ?? []).map((size) => ({ layout: 'image per instance', ...size })),
  ...(images?.environments ?? []).map((size) => ({ layout: 'image per environment', ...size })),
];

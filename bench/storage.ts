import type { Rows } from '../src/cli/rows.ts';
import type { ArtefactRef } from '../src/domain/types.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { measureStorage, type CampaignStorage, type StorageReport } from '../src/store/storage.ts';
import type { ArtefactStore } from '../src/store/types.ts';
import { exportImages, removeImages } from './images.ts';
import { measureLayouts, type Layouts } from './imageLayouts.ts';
import { startRegistry } from './peer/registry.ts';
import { machineLine, median, type BenchReport } from './report.ts';
import { sampled, sum } from './support.ts';

export interface StorageBenchOptions {
  readonly campaign: string;
  /** Instances whose images are built in both layouts. */
  readonly sample?: number;
  /** `none` leaves image layouts and registry out. */
  readonly peer: 'all' | 'none';
}

const DEFAULT_SAMPLE = 6;
const BLOCK_BYTES = 4096; // what a small file takes on disk

/**
 * What a campaign's published instances take on disk, part by part, against what images of the same instances take: one
 * for each, one for each environment (both built for a sample and looked at), and all exported ones in a real registry.
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
  const layouts = options.peer === 'none' ? null : await measureLayouts(deps, rows.rows, sample);
  const registry = options.peer === 'none' ? null : await measureRegistry(deps, rows);
  return reportOf(report, campaign, artefacts, layouts, registry);
}

interface ArtefactBytes {
  /** Candidates, patches, specs, locks, canaries: what evaluating the rows again needs. */
  readonly needed: number;
  /** Records, logs and JUnit files of validation: why the rows may be believed. */
  readonly evidence: number;
}

/** Follows refs from the rows, then from their evidence; every artefact once, in whole blocks. */
async function artefactsOf(store: ArtefactStore, { rows, evidence }: Rows): Promise<ArtefactBytes> {
  const seen = new Set<ArtefactRef>();
  const bytesFrom = async (texts: readonly string[]): Promise<number> => {
    let bytes = 0;
    for (const ref of texts.flatMap((text) => text.match(/sha256:[0-9a-f]{64}/g) ?? []) as ArtefactRef[]) {
      // locks hold hashes that are no artefacts of ours
      if (seen.has(ref) || !(await store.has(ref))) continue;
      seen.add(ref);
      const content = await store.get(ref);
      bytes += Math.ceil(content.length / BLOCK_BYTES) * BLOCK_BYTES;
      bytes += await bytesFrom([content.toString('latin1')]);
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

interface RegistryBytes {
  readonly total: number;
  /** Of these the base images. */
  readonly base: number;
}

/** Pushes the base images, then every exported image, into a registry and counts its blobs. */
async function measureRegistry(deps: Dependencies, { rows }: Rows): Promise<RegistryBytes> {
  const { images, made } = await exportImages(deps, rows);
  try {
    await using registry = await startRegistry(deps.settings.cacheDir);
    const bases = new Set<string>();
    for (const { environment: e } of rows)
      bases.add(await deps.baseImages.ensure(e.base, e.runtime_version, e.system_packages));
    for (const image of bases) await registry.push(image);
    const base = await registry.blobBytes();
    for (const { image } of images) await registry.push(image);
    return { total: await registry.blobBytes(), base };
  } finally {
    await removeImages(made);
  }
}

function reportOf(
  report: StorageReport,
  campaign: CampaignStorage,
  artefacts: ArtefactBytes,
  layouts: Layouts | null,
  registry: RegistryBytes | null,
): BenchReport {
  const { instances, environmentBytes, datasetBytes, mirrorBytes, baseImageBytes } = campaign;
  const each = (bytes: number): number => Math.round(bytes / instances);
  const unique = environmentBytes + datasetBytes + mirrorBytes + artefacts.needed;
  return {
    bench: 'storage',
    figure: each(unique),
    unit: 'bytes per instance',
    what: 'unique_bytes_per_instance: environments (every inode once; those of other campaigns in part), dataset, git mirrors and the artefacts that an evaluation needs, over base images, ÷ instances; with_base: base images too. Allocated bytes. image_per_*: bytes of the built images’ own layers, over the base image, per instance; from the same (pruned) environments. registry: compressed blobs of all exported images, base images included',
    target: 'unique <= 5 MB, with base <= 10 MB, from 60 instances on',
    machine: machineLine(),
    runs: [{ ...campaign }, ...sizesOf(layouts)],
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
      ...layoutFigures(layouts, baseImageBytes, instances),
      registry_bytes_total: registry?.total ?? null,
      registry_bytes_per_instance: registry === null ? null : each(registry.total),
      registry_base_bytes: registry?.base ?? null,
    },
  };
}

function layoutFigures(
  layouts: Layouts | null,
  baseBytes: number,
  instances: number,
): Readonly<Record<string, number | null>> {
  if (layouts === null) return { image_per_instance_bytes: null, image_per_environment_bytes: null };
  const { perInstance, perEnvironment } = layouts;
  const own = (images: readonly { readonly ownBytes: number }[], among: number): number =>
    Math.round(sum(images.map(({ ownBytes }) => ownBytes)) / among);
  const covered = sum(perEnvironment.map((image) => image.instances));
  const flat = own(perInstance, perInstance.length);
  const shared = own(perEnvironment, covered);
  const base = Math.round(baseBytes / instances);
  return {
    image_per_instance_bytes: flat,
    image_per_instance_with_base_bytes: flat + base,
    image_per_instance_whole_bytes_p50: median(perInstance.map(({ bytes }) => bytes)),
    image_per_environment_bytes: shared,
    image_per_environment_with_base_bytes: shared + base,
    image_per_environment_own_bytes_p50: median(perEnvironment.map(({ ownBytes }) => ownBytes)),
    sampled_instances: perInstance.length,
    sampled_environments: perEnvironment.length,
    instances_of_sampled_environments: covered,
  };
}

const sizesOf = (layouts: Layouts | null): BenchReport['runs'] => [
  ...(layouts?.perInstance ?? []).map((image) => ({ layout: 'image per instance', ...image })),
  ...(layouts?.perEnvironment ?? []).map((image) => ({ layout: 'image per environment', ...image })),
];

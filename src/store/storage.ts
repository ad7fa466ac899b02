import { readdir, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Candidate, InstanceRow } from '../domain/types.ts';
import type { BaseImages, SandboxDriver } from '../sandbox/types.ts';
import { baseImageName } from '../sandbox/baseImages.ts';
import type { ArtefactStore } from './types.ts';
import { markReferences, type ArtefactKind, type MarkDeps } from './marks.ts';
import { measurePackageStore, type PackageStoreSizes } from './packageStore.ts';
import { treeSize } from './treeSize.ts';

export interface StorageDependencies {
  readonly installation: string;
  readonly stateDir: string;
  readonly store: ArtefactStore;
  readonly driver: SandboxDriver;
  readonly baseImages: BaseImages;
}

/** Bytes of one campaign's published instances. Allocated bytes on disk, each inode once. */
export interface CampaignStorage {
  readonly campaign: string;
  readonly instances: number;
  readonly environments: number;
  /** Inodes of the campaign's environments, once; files that other environments of the store use too count in part. */
  readonly environmentBytes: number;
  readonly datasetBytes: number;
  /** Mirrors that hold the campaign's commits; shared by all campaigns over the same repositories. */
  readonly mirrorBytes: number;
  /** Base images under the environments; shared by everything on this daemon. */
  readonly baseImageBytes: number;
  /** (environments + dataset) ÷ instances: what one more instance costs on average. null without instances. */
  readonly uniqueBytesPerInstance: number | null;
  readonly withMirrorsPerInstance: number | null;
  readonly withMirrorsAndBaseImagesPerInstance: number | null;
}

/** What an installation holds on disk, part by part. Nothing is counted in two parts. */
export interface StorageReport {
  readonly totalBytes: number;
  readonly baseImages: readonly { readonly image: string; readonly bytes: number }[];
  readonly packageStore: Omit<PackageStoreSizes, 'environments'>;
  readonly environments: PackageStoreSizes['environments'];
  /** Artefacts, records, mirrors, reports and the embedded server's database under the state directory. */
  readonly state: Readonly<Record<string, number>>;
  readonly campaigns: readonly CampaignStorage[];
}

/**
 * Measures an installation: total, unique and amortised bytes. Takes one container (the volume's inodes are counted
 * inside); any base image will do. Throws Infra when the daemon does not answer.
 */
export async function measureStorage(
  deps: StorageDependencies,
  campaigns: ReadonlyMap<string, readonly InstanceRow[]>,
): Promise<StorageReport> {
  const images = await deps.baseImages.sizes();
  const image = await measuringImage(deps, images, campaigns);
  const owner = { installation: deps.installation, host: hostname() };
  const { environments, ...packageStore } = await measurePackageStore({ driver: deps.driver, image }, owner);
  const state = await sizesOf(deps.stateDir);
  const stateBytes = Object.values(state).reduce((sum, bytes) => sum + bytes, 0);
  const imageBytes = images.reduce((sum, { bytes }) => sum + bytes, 0);
  return {
    totalBytes: imageBytes + packageStore.totalBytes + stateBytes,
    baseImages: images,
    packageStore,
    environments,
    state,
    campaigns: await Promise.all(
      [...campaigns].map(([campaign, rows]) => campaignStorage(deps, campaign, rows, environments, images)),
    ),
  };
}

const BLOCK_BYTES = 4096;

/** Bytes of artefacts in whole blocks, by what keeps them; `unreferenced` is what `gc` frees after its grace period. */
export type ArtefactFigures = Readonly<Record<ArtefactKind | 'unreferenced', number>>;

/**
 * Sorts every artefact of an installation by the first of rows, evidence, evaluations and other work that refers to it.
 * Throws Infra when a referenced artefact is damaged.
 */
export async function measureArtefacts(deps: MarkDeps): Promise<ArtefactFigures> {
  const { artefacts, kept } = await markReferences(deps, Date.now());
  const figures: Record<keyof ArtefactFigures, number> = {
    rows: 0,
    evidence: 0,
    evaluations: 0,
    work: 0,
    unreferenced: 0,
  };
  for (const [ref, { bytes }] of artefacts)
    figures[kept.get(ref) ?? 'unreferenced'] += Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
  return figures;
}

async function measuringImage(
  deps: StorageDependencies,
  images: StorageReport['baseImages'],
  campaigns: ReadonlyMap<string, readonly InstanceRow[]>,
): Promise<string> {
  const row = [...campaigns.values()].flat()[0];
  if (row !== undefined)
    return deps.baseImages.ensure(row.environment.base, row.environment.runtime_version, []);
  const [first] = images;
  if (first !== undefined) return first.image;
  const [runtime] = deps.baseImages.available();
  return deps.baseImages.ensure(runtime?.base ?? '', runtime?.runtimeVersion ?? '', []);
}

async function campaignStorage(
  deps: StorageDependencies,
  campaign: string,
  rows: readonly InstanceRow[],
  environments: StorageReport['environments'],
  images: StorageReport['baseImages'],
): Promise<CampaignStorage> {
  const keys = new Set(rows.map(({ environment: { key, variant } }) => `${variant}/${key}`));
  const used = environments.filter(({ key, variant }) => keys.has(`${variant}/${key}`));
  const environmentBytes = used.reduce((sum, { sharedOutBytes }) => sum + sharedOutBytes, 0);
  const dataset = join(deps.stateDir, 'campaigns', campaign, 'dataset.jsonl');
  const datasetBytes = await stat(dataset).then(
    ({ size }) => size,
    () => 0,
  );
  const names = new Set(
    rows.map(({ environment: e }) => baseImageName(e.base, e.runtime_version, e.system_packages)),
  );
  const baseImageBytes = images
    .filter(({ image }) => names.has(image))
    .reduce((sum, { bytes }) => sum + bytes, 0);
  const mirrorBytes = await mirrorsOf(deps, rows);
  const each = (bytes: number): number | null => (rows.length === 0 ? null : Math.round(bytes / rows.length));
  const unique = environmentBytes + datasetBytes;
  return {
    campaign,
    instances: rows.length,
    environments: used.length,
    environmentBytes,
    datasetBytes,
    mirrorBytes,
    baseImageBytes,
    uniqueBytesPerInstance: each(unique),
    withMirrorsPerInstance: each(unique + mirrorBytes),
    withMirrorsAndBaseImagesPerInstance: each(unique + mirrorBytes + baseImageBytes),
  };
}

async function mirrorsOf(
  { store, stateDir }: StorageDependencies,
  rows: readonly InstanceRow[],
): Promise<number> {
  const candidates = await Promise.all(
    rows.map(async ({ candidate }) =>
      (await store.has(candidate)) ? store.getJson<Candidate>(candidate) : null,
    ),
  );
  const mirrors = new Set(candidates.flatMap((candidate) => candidate?.mirror ?? []));
  const sizes = await Promise.all([...mirrors].map((name) => treeSize(join(stateDir, 'mirrors', name))));
  return sizes.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Bytes of each entry of a directory. */
async function sizesOf(dir: string): Promise<Readonly<Record<string, number>>> {
  const seen = new Set<string>();
  const sizes: Record<string, number> = {};
  for (const name of await readdir(dir).catch(() => [])) {
    sizes[name] = (await treeSize(join(dir, name), seen)).bytes;
  }
  return sizes;
}

import type { Rows } from '../src/cli/rows.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { measureStorage } from '../src/store/storage.ts';
import { machineLine, type BenchReport } from './report.ts';

/** Unique bytes that a campaign's published instances hold, amortised over them. */
export async function benchStorage(deps: Dependencies, rows: Rows, campaign: string): Promise<BenchReport> {
  const report = await measureStorage(
    {
      installation: deps.state.installation,
      stateDir: deps.state.dir,
      store: deps.store,
      driver: deps.driver,
      baseImages: deps.baseImages,
    },
    new Map([[campaign, rows.rows]]),
  );
  const [figures] = report.campaigns;
  if (figures === undefined) throw new Error('nothing was measured');
  return {
    bench: 'storage',
    figure: figures.uniqueBytesPerInstance,
    unit: 'bytes per instance',
    what: 'environments of the published instances (each inode once) and their dataset, over base images, divided by the instances',
    target: '<= 5 MB over base images, <= 10 MB with them, from 60 instances on',
    machine: machineLine(),
    runs: [{ ...figures }],
    more: {
      instances: figures.instances,
      environments: figures.environments,
      with_mirrors_per_instance: figures.withMirrorsPerInstance,
      with_mirrors_and_base_images_per_instance: figures.withMirrorsAndBaseImagesPerInstance,
      unreferenced_cache_bytes: report.packageStore.cacheOnlyBytes,
      working_cache_bytes: report.packageStore.workingBytes,
      copy_fallback_bytes: report.packageStore.copiedBytes,
      installation_total_bytes: report.totalBytes,
    },
  };
}

import { performance } from 'node:perf_hooks';
import { environmentKey } from '../../domain/ids.ts';
import { cutText } from '../../domain/failures.ts';
import type {
  EnvironmentKey,
  EnvironmentSpec,
  EnvironmentVariant,
  RealiseOutcome,
} from '../../domain/types.ts';
import type { ArtefactStore, RecordStore } from '../../store/types.ts';
import type { WorkContext } from '../types.ts';
import type { EnvironmentIndex } from './leaks.ts';
import { lockPins } from './lock.ts';
import { exceptionsOf, pruneRules } from './prune.ts';
import { throwIfInfrastructure, withStoreContainer } from './storeContainer.ts';
import type { StoreContainerDeps } from './storeContainer.ts';

export interface RealiseDeps extends StoreContainerDeps {
  readonly store: ArtefactStore;
  readonly records: RecordStore;
}

/** Answer of the store's program. */
type StoreAnswer =
  | {
      readonly status: 'ok';
      readonly served: boolean;
      readonly bytes: number;
      readonly files: number;
      readonly copiedFiles: number;
      readonly removedBytes: number;
      readonly origin: 'cache' | 'network';
      /** Present when it was made just now. */
      readonly index?: EnvironmentIndex;
    }
  | { readonly status: 'failed'; readonly output: string };

/** Kept under `environments/<key>`: what later steps ask without a container. */
export interface EnvironmentRecord {
  readonly schema: 1;
  readonly key: EnvironmentKey;
  /** JSON artefact of `EnvironmentIndex`. */
  readonly index: `sha256:${string}`;
  readonly bytes: number;
  readonly files: number;
}

export const environmentRecordName = (key: EnvironmentKey): string => `environments/${key}`;

/**
 * Puts an environment into the package store, or finds it there. The store itself is looked at first, so that a
 * collected environment is made again. Offline first; the network is used only for what the cache lacks. A lock that
 * cannot be installed is the result `unbuildable`; network and disk trouble throws Infra.
 */
export async function realiseEnvironment(
  deps: RealiseDeps,
  spec: EnvironmentSpec,
  variant: EnvironmentVariant,
  context: WorkContext,
): Promise<RealiseOutcome> {
  const startedAt = performance.now();
  const key = environmentKey(spec);
  const lock = await deps.store.getText(spec.lock);
  return withStoreContainer(deps, spec, context, async (container) => {
    const answer = await container.request<StoreAnswer>({
      command: 'realise',
      key,
      variant,
      lock,
      pins: lockPins(lock),
      rules: pruneRules(exceptionsOf(spec.pruneRules)),
      network: true,
    });
    if (answer.status === 'failed') {
      throwIfInfrastructure(answer.output, `Filling the package store for ${key.slice(0, 12)}`);
      const detail = cutText(`The lock cannot be installed: ${answer.output.trim()}`, 2_000);
      return { ok: false, key, rejection: { reason: 'unbuildable', detail } };
    }
    if ((await deps.records.read<EnvironmentRecord>(environmentRecordName(key))) === null) {
      const index = answer.index ?? (await container.request<EnvironmentIndex>({ command: 'index', key }));
      const ref = await deps.store.putJson(index);
      const { bytes, files } = answer;
      const record: EnvironmentRecord = { schema: 1, key, index: ref, bytes, files };
      await deps.records.record(environmentRecordName(key), record);
    }
    const { index: _index, ...figures } = answer;
    deps.log.debug({ key, variant, ...figures }, 'environment realised');
    return {
      ok: true,
      key,
      served: answer.served,
      durationMs: Math.round(performance.now() - startedAt),
      fullBytes: answer.bytes + answer.removedBytes,
      prunedBytes: answer.bytes,
      copiedFiles: answer.copiedFiles,
    };
  });
}

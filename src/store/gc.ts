/**
 * Invariant: nothing that a published row, an evaluation run, a record or work in progress refers to is ever removed. Marks
 * and removals happen behind the sweep gate (see `sweepGate.ts`), and nothing is removed that was made or used since the
 * grace period, or since the oldest work in progress began. Records go before what they refer to, so that a sweep that is
 * killed leaves needless files, never broken references.
 */
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import type { PruningProof } from '../domain/health.ts';
import { recordNames } from '../domain/records.ts';
import type { ArtefactRef, EnvironmentVariant } from '../domain/types.ts';
import type { SandboxDriver } from '../sandbox/types.ts';
import type { SourceMirrorStore } from '../sources/mirror.ts';
import type { Leases } from './leases.ts';
import { markReferences } from './marks.ts';
import type { Marks } from './marks.ts';
import { withPackageStore } from './packageStore.ts';
import type { AskStore } from './packageStore.ts';
import type { SweepGate } from './sweepGate.ts';
import type { ArtefactStore, RecordStore } from './types.ts';

export interface GcDeps {
  readonly installation: string;
  /** `<state>/campaigns`. */
  readonly campaignsDir: string;
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  readonly mirrors: Pick<SourceMirrorStore, 'list' | 'remove'>;
  readonly leases: Leases;
  readonly gate: SweepGate;
  readonly driver: SandboxDriver;
  /** A base image for the container that sees the package store. */
  readonly image: () => Promise<string>;
  readonly log: Logger;
}

export interface GcOptions {
  /** What was made or used within this time stays, referenced or not. */
  readonly graceMs: number;
  /** Only says what would go. */
  readonly dryRun: boolean;
}

interface StoredKey {
  readonly key: string;
  readonly variant: EnvironmentVariant;
}

/** What went, or would go. Bytes of artefacts and mirrors are those of their files; of the package store, allocated bytes. */
export interface GcReport {
  readonly dryRun: boolean;
  readonly graceMs: number;
  readonly freedBytes: number;
  readonly records: number;
  readonly artefacts: { readonly removed: number; readonly bytes: number; readonly kept: number };
  readonly environments: { readonly removed: readonly StoredKey[]; readonly kept: number };
  readonly packageStore: {
    readonly bytes: number;
    /** Archives of the permanent cache that no environment used. */
    readonly archives: number;
    /** Set when a build held the store's locks for so long that the caches were left for the next time. */
    readonly busy: string | null;
  };
  readonly mirrors: { readonly removed: readonly string[]; readonly bytes: number };
}

/** Sweeps an installation. Throws Infra, having removed nothing, when a referenced artefact cannot be read. */
export async function collectGarbage(deps: GcDeps, options: GcOptions): Promise<GcReport> {
  const program = await readFile(new URL('./collect.py', import.meta.url), 'utf8');
  const place = { driver: deps.driver, image: await deps.image() };
  const owner = { installation: deps.installation, host: hostname() };
  return withPackageStore(place, owner, async (ask) => {
    const sweep = (): Promise<Swept> => sweepReferenced(deps, options, (request) => ask(program, request));
    const swept = options.dryRun ? await sweep() : await deps.gate.closed(sweep);
    // what is behind the names that went, and the caches: slow, and nobody has to wait for it
    const caches = await ask<{ freedBytes: number; archives: number; busy: string | null }>(program, {
      command: 'caches',
      dryRun: options.dryRun,
      before: swept.beforeMs / 1000,
      planned: swept.environments.removed,
    });
    const { beforeMs: _before, ...report } = swept;
    return {
      dryRun: options.dryRun,
      graceMs: options.graceMs,
      freedBytes: report.artefacts.bytes + report.mirrors.bytes + caches.freedBytes,
      ...report,
      packageStore: { bytes: caches.freedBytes, archives: caches.archives, busy: caches.busy },
    };
  });
}

type Swept = Pick<GcReport, 'records' | 'artefacts' | 'environments' | 'mirrors'> & {
  readonly beforeMs: number;
};

async function sweepReferenced(
  deps: GcDeps,
  { graceMs, dryRun }: GcOptions,
  ask: (request: object) => ReturnType<AskStore>,
): Promise<Swept> {
  // only now: what began before the gate was closed is a lease, what begins later waits
  const oldestMs = await deps.leases.oldestMs();
  const beforeMs = Math.min(Date.now() - graceMs, oldestMs ?? Number.POSITIVE_INFINITY);
  const marks = await markReferences(deps, beforeMs);
  if (!dryRun) for (const name of marks.needlessRecords) await deps.records.remove(name);
  const environments = (await ask({
    command: 'environments',
    dryRun,
    before: beforeMs / 1000,
    pruned: [...marks.keys],
    full: await keysInFull(deps.records, marks.keys),
  })) as { readonly removed: readonly StoredKey[]; readonly present: readonly StoredKey[] };
  const goneRecords = await environmentRecords(deps, marks, environments.present, beforeMs);
  if (!dryRun) for (const name of goneRecords) await deps.records.remove(name);
  const swept = {
    beforeMs,
    records: marks.needlessRecords.length + goneRecords.length,
    environments: { removed: environments.removed, kept: environments.present.length },
    artefacts: await sweepArtefacts(deps, marks, beforeMs, dryRun),
    mirrors: await sweepMirrors(deps, marks, beforeMs, dryRun),
  };
  deps.log.info({ ...swept, dryRun }, 'swept');
  return swept;
}

/** The full variant serves only as long as the pruned one is not proven to behave the same. */
async function keysInFull(records: RecordStore, keys: ReadonlySet<string>): Promise<readonly string[]> {
  const proven = new Set<string>();
  const prefix = recordNames.pruningProof('');
  for (const name of await records.list(prefix))
    if ((await records.read<PruningProof>(name))?.agree === true) proven.add(name.slice(prefix.length));
  return [...keys].filter((key) => !proven.has(key));
}

/** Records about environments that are no longer in the store; of those that are, what the records refer to is kept. */
async function environmentRecords(
  { records }: GcDeps,
  marks: Marks,
  present: readonly StoredKey[],
  beforeMs: number,
): Promise<readonly string[]> {
  const keys = new Set(present.map(({ key }) => key));
  const gone: string[] = [];
  for (const prefix of ['environments/', 'realised/'])
    for (const name of await records.list(prefix)) {
      const writtenAtMs = (await records.writtenAtMs(name)) ?? beforeMs;
      if (keys.has(name.split('/')[1] ?? '') || writtenAtMs >= beforeMs) await marks.keepRecord(name);
      else gone.push(name);
    }
  return gone;
}

async function sweepArtefacts(
  { store }: GcDeps,
  { artefacts, kept }: Marks,
  beforeMs: number,
  dryRun: boolean,
): Promise<GcReport['artefacts']> {
  let removed = 0;
  let bytes = 0;
  const doomed: readonly ArtefactRef[] = [...artefacts.keys()].filter((ref) => !kept.has(ref));
  for (const ref of doomed) {
    if (!dryRun && !(await store.remove(ref, beforeMs))) continue;
    removed += 1;
    bytes += artefacts.get(ref)?.bytes ?? 0;
  }
  return { removed, bytes, kept: artefacts.size - removed };
}

async function sweepMirrors(
  { mirrors }: GcDeps,
  marks: Marks,
  beforeMs: number,
  dryRun: boolean,
): Promise<GcReport['mirrors']> {
  const removed: string[] = [];
  let bytes = 0;
  for (const mirror of await mirrors.list()) {
    if (marks.namesMirror(mirror.id) || mirror.usedAtMs >= beforeMs) continue;
    if (!dryRun && !(await mirrors.remove(mirror.id, beforeMs))) continue;
    removed.push(mirror.id);
    bytes += mirror.bytes;
  }
  return { removed, bytes };
}

import { access, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Evidence, EvidenceIndexEntry } from '../domain/evidence.ts';
import type { ArtefactRef, InstanceRow } from '../domain/types.ts';
import { readNativeRows } from '../export/dataset.ts';
import type { ArtefactStore } from '../store/types.ts';
import { UsageError } from './output.ts';

/** A native dataset with what the installation knows about its rows. */
export interface Rows {
  readonly path: string;
  readonly rows: readonly InstanceRow[];
  /** By instance id; empty for a dataset without evidence beside it. */
  readonly evidence: ReadonlyMap<string, Evidence>;
  readonly provenCanaries: (id: string) => ArtefactRef | null;
}

/**
 * Rows of a campaign of this installation (by its name) or of a native dataset file.
 * `only` limits them to these instance ids; an unknown one is refused.
 */
export async function readRows(
  source: { readonly stateDir: string; readonly store: ArtefactStore },
  dataset: string,
  only: readonly string[] = [],
): Promise<Rows> {
  const isFile = dataset.includes('/') || /\.jsonl?$/.test(dataset);
  const path = isFile ? dataset : join(source.stateDir, 'campaigns', dataset, 'dataset.jsonl');
  if (!isFile && !(await exists(path)))
    throw new UsageError(
      `There is no dataset of a campaign "${dataset}" in ${source.stateDir}; run the campaign first, or give a path to a dataset.jsonl.`,
    );
  const all = await readNativeRows(path);
  const wanted = new Set(only);
  const missing = only.find((id) => !all.some((row) => row.instance_id === id));
  if (missing !== undefined) throw new UsageError(`There is no instance ${missing} in ${path}.`);
  const rows = wanted.size === 0 ? all : all.filter((row) => wanted.has(row.instance_id));
  const evidence = await readEvidence(join(dirname(path), 'evidence.jsonl'), source.store);
  return { path, rows, evidence, provenCanaries: (id) => evidence.get(id)?.provenCanaries ?? null };
}

async function readEvidence(path: string, store: ArtefactStore): Promise<ReadonlyMap<string, Evidence>> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const entries = text
    .split('\n')
    .flatMap((line) => (line === '' ? [] : [JSON.parse(line) as EvidenceIndexEntry]));
  const found = new Map<string, Evidence>();
  for (const entry of entries)
    if (await store.has(entry.evidence))
      found.set(entry.instance_id, await store.getJson<Evidence>(entry.evidence));
  return found;
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

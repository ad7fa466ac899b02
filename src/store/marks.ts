/** What is referenced, and by what: the marking half of `gc`, and the figures of `storage`. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { MinedPageRecord } from '../activities/mining.ts';
import { canonicalJson } from '../domain/canonical.ts';
import type { InstanceResult } from '../domain/messages.ts';
import { infraFailure } from '../domain/failures.ts';
import type { ArtefactRef, EnvironmentKey } from '../domain/types.ts';
import { ifAbsent } from './absent.ts';
import type { ArtefactStore, RecordStore } from './types.ts';

/** By what an artefact is kept; of several, the first of these. */
export type ArtefactKind = 'rows' | 'evidence' | 'evaluations' | 'work';

interface StoredArtefact {
  readonly bytes: number;
  readonly renewedAtMs: number;
}

export interface Marks {
  /** Every artefact of the store, by ref. */
  readonly artefacts: ReadonlyMap<ArtefactRef, StoredArtefact>;
  readonly kept: ReadonlyMap<ArtefactRef, ArtefactKind>;
  /** Records that nothing needs any more: stages of rejected instances, verdicts on instances that are gone. */
  readonly needlessRecords: readonly string[];
  /** Keys of all environments that anything kept names; other hashes may be among them. */
  readonly keys: ReadonlySet<EnvironmentKey>;
  /** Whether any kept candidate lives in this mirror. */
  namesMirror(id: string): boolean;
  /** Keeps what a record refers to: asked about environments' records, once it is known which environments stay. */
  keepRecord(name: string): Promise<void>;
}

export interface MarkDeps {
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  /** `<state>/campaigns`. */
  readonly campaignsDir: string;
}

/**
 * Marks from published rows and their evidence, evaluation runs, and every record, with these exceptions: stages of
 * rejected instances, their candidates, verdicts on instances that no row and no run has, and records about environments,
 * which go with them. References are found by their looks in any JSON, not by field names: a field that is added tomorrow
 * keeps what it names today. What was put at `beforeMs` or later is kept with all that it refers to.
 * Throws Infra when something that is referenced cannot be read; nothing may be swept then.
 */
export async function markReferences(deps: MarkDeps, beforeMs: number): Promise<Marks> {
  const artefacts = await listArtefacts(deps.store);
  const reach = createReach(deps.store, artefacts);
  const records = await deps.records.list('');
  await markPublished(deps, reach);
  const needless = new Set<string>();
  const rest: string[] = [];
  for (const name of records) {
    if (EXPENDABLE.test(name)) continue;
    if (name.startsWith('runs/')) await markRecord(deps, reach, name, 'evaluations');
    else if (await isStageOfRejected(deps, name, beforeMs)) needless.add(name);
    else rest.push(name);
  }
  for (const name of rest) {
    const page = /^campaigns\/([^/]+)\/pages\//.exec(name);
    if (page?.[1] !== undefined) await markPage(deps, reach, page[1], name, beforeMs);
    else if (!name.startsWith('evaluations/')) await markRecord(deps, reach, name, 'work');
  }
  for (const [ref, { renewedAtMs }] of artefacts) if (renewedAtMs >= beforeMs) await reach.refer('work', ref);
  for (const name of rest.filter((one) => one.startsWith('evaluations/')))
    if (await isVerdictOnKept(deps, reach, name, beforeMs))
      await markRecord(deps, reach, name, 'evaluations');
    else needless.add(name);
  return {
    artefacts,
    kept: reach.kept,
    needlessRecords: [...needless, ...records.filter((name) => name.startsWith('installs/'))],
    keys: reach.keys,
    namesMirror: (id) => reach.mirrors.has(id),
    keepRecord: (name) => markRecord(deps, reach, name, 'work'),
  };
}

/** Records that keep nothing: they describe environments and end with them. (`installs/` is of an earlier version.) */
const EXPENDABLE = /^(?:environments|realised|installs)\//;

async function listArtefacts(store: ArtefactStore): Promise<Map<ArtefactRef, StoredArtefact>> {
  const found = new Map<ArtefactRef, StoredArtefact>();
  for await (const { ref, bytes, renewedAtMs } of store.list()) found.set(ref, { bytes, renewedAtMs });
  return found;
}

interface Reach {
  readonly kept: Map<ArtefactRef, ArtefactKind>;
  readonly keys: Set<string>;
  readonly mirrors: Set<string>;
  readonly instances: Set<string>;
  /** Follows every reference in a text, and in all that it leads to. */
  refer(kind: ArtefactKind, text: string): Promise<void>;
}

function createReach(store: ArtefactStore, artefacts: ReadonlyMap<ArtefactRef, StoredArtefact>): Reach {
  const kept = new Map<ArtefactRef, ArtefactKind>();
  const keys = new Set<string>();
  const mirrors = new Set<string>();
  const instances = new Set<string>();
  const refer: Reach['refer'] = async (kind, first) => {
    const texts = [first];
    for (let text = texts.pop(); text !== undefined; text = texts.pop()) {
      for (const [key] of text.matchAll(/(?<![:0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g)) keys.add(key);
      for (const [, id] of text.matchAll(/"mirror":"([^"]+)"/g)) if (id !== undefined) mirrors.add(id);
      for (const [, id] of text.matchAll(/"instance_id":"([^"]+)"/g)) if (id !== undefined) instances.add(id);
      for (const [found] of text.matchAll(/sha256:[0-9a-f]{64}(?![0-9a-f])/g)) {
        const ref = found as ArtefactRef; // or the hash of a file in a lock: no artefact has it
        if (!artefacts.has(ref) || kept.has(ref)) continue;
        kept.set(ref, kind);
        const content = await readKept(store, ref);
        // only JSON refers to others; logs, patches and locks begin otherwise
        if (content[0] === 0x7b || content[0] === 0x5b) texts.push(content.toString('utf8'));
      }
    }
  };
  return { kept, keys, mirrors, instances, refer };
}

async function readKept(store: ArtefactStore, ref: ArtefactRef): Promise<Buffer> {
  try {
    return await store.get(ref);
  } catch (error) {
    throw infraFailure(
      `Nothing was swept, since what a referenced artefact refers to is not known: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

/** Datasets and what lies beside them: `dataset.jsonl` first, so that what rows and evidence share counts as the rows'. */
async function markPublished({ campaignsDir }: MarkDeps, reach: Reach): Promise<void> {
  for (const [kind, names] of PUBLISHED)
    for (const campaign of await readdir(campaignsDir).catch(ifAbsent([])))
      for (const name of names)
        await reach.refer(
          kind,
          await readFile(join(campaignsDir, campaign, name), 'utf8').catch(ifAbsent('')),
        );
}
const PUBLISHED: readonly (readonly [ArtefactKind, readonly string[]])[] = [
  ['rows', ['dataset.jsonl']],
  ['evidence', ['evidence.jsonl', 'funnel.json', 'figures.json']],
];

async function markRecord(deps: MarkDeps, reach: Reach, name: string, kind: ArtefactKind): Promise<void> {
  await reach.refer(kind, canonicalJson(await deps.records.read(name)));
}

/** A rejected instance is never run again: its candidate, and the runs that rejected it, are needed no more. */
async function markPage(
  deps: MarkDeps,
  reach: Reach,
  campaign: string,
  name: string,
  beforeMs: number,
): Promise<void> {
  const page = await deps.records.read<MinedPageRecord>(name);
  for (const entry of page?.entries ?? [])
    if (!(await isRejected(deps, `campaigns/${campaign}/instances/${entry.instanceId}`, beforeMs)))
      await reach.refer('work', canonicalJson(entry));
}

async function isStageOfRejected(deps: MarkDeps, name: string, beforeMs: number): Promise<boolean> {
  const [, folder, stage] = /^(campaigns\/[^/]+\/instances\/[^/]+)\/(.+)$/.exec(name) ?? [];
  return folder !== undefined && stage !== 'result' && (await isRejected(deps, folder, beforeMs));
}

/** True when the instance ended in a rejection, before `beforeMs`. */
async function isRejected({ records }: MarkDeps, folder: string, beforeMs: number): Promise<boolean> {
  const name = `${folder}/result`;
  const writtenAtMs = await records.writtenAtMs(name);
  if (writtenAtMs === null || writtenAtMs >= beforeMs) return false;
  return (await records.read<InstanceResult>(name))?.outcome === 'rejected';
}

/** Verdicts are served again as long as any kept row or run has the instance. */
async function isVerdictOnKept(
  { records }: MarkDeps,
  reach: Reach,
  name: string,
  beforeMs: number,
): Promise<boolean> {
  if (((await records.writtenAtMs(name)) ?? beforeMs) >= beforeMs) return true;
  const verdict = await records.read<{ readonly instanceId: string }>(name);
  return verdict !== null && reach.instances.has(verdict.instanceId);
}

import { hostname } from 'node:os';
import type Docker from 'dockerode';
import type { Logger } from 'pino';
import type { Evidence } from '../domain/evidence.ts';
import type { ArtefactRef, Candidate, EvaluationResult, InstanceRow, RunRecord } from '../domain/types.ts';
import type { Ecosystem } from '../ecosystems/types.ts';
import type { BaseImages, SandboxDriver } from '../sandbox/types.ts';
import type { MirrorStore } from '../sources/types.ts';
import type { ArtefactStore, RecordStore } from '../store/types.ts';
import { evaluationRecord, keyOf } from '../evaluation/evaluate.ts';
import { exportDataset, type ExportInput, type ExportReport, type GoldRun } from './dataset.ts';
import { buildImages, type BuildImagesInput, type BuildImagesReport } from './images.ts';
import { pythonImageParts, pythonRunner } from './pythonImages.ts';

interface RowSource {
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  readonly mirrors: MirrorStore;
}

/** `exportDataset` with everything that it asks about a row answered from this installation's evidence and records. */
export async function exportRows(
  deps: RowSource,
  input: Omit<ExportInput, 'goldRun' | 'runner'> & { readonly evidence: ReadonlyMap<string, Evidence> },
): Promise<ExportReport> {
  return exportDataset({
    ...input,
    goldRun: (row) => goldRunOf(deps, input.evidence, row),
    runner: async (row) => pythonRunner(deps, row, (await goldRunOf(deps, input.evidence, row))?.note ?? ''),
  });
}

/** The gold run of a row: that of its validation, else of an evaluation that is stored; null when there is neither. */
export async function goldRunOf(
  { store, records }: Pick<RowSource, 'store' | 'records'>,
  evidence: ReadonlyMap<string, Evidence>,
  row: InstanceRow,
): Promise<(GoldRun & { readonly note: string }) | null> {
  const validated = evidence.get(row.instance_id)?.runs.at(-1)?.record; // the last run is the gold evaluation
  const ref = validated ?? (await storedGoldRun({ store, records }, row));
  if (ref === null || !(await store.has(ref))) return null;
  const record = await store.getJson<RunRecord>(ref);
  if (record.log === null) return null;
  return { log: await store.getText(record.log), tests: Object.keys(record.tests), note: record.note };
}

async function storedGoldRun(
  { store, records }: Pick<RowSource, 'store' | 'records'>,
  row: InstanceRow,
): Promise<ArtefactRef | null> {
  const { patch } = await store.getJson<Candidate>(row.candidate);
  return (await records.read<EvaluationResult>(evaluationRecord(keyOf(row, patch))))?.record ?? null;
}

export interface InstallationImages extends Pick<RowSource, 'store' | 'mirrors'> {
  readonly docker: Docker;
  readonly driver: SandboxDriver;
  readonly baseImages: BaseImages;
  readonly ecosystem: Pick<Ecosystem, 'realise'>;
  readonly installation: string;
  readonly log: Logger;
}

/** `buildImages` with the workspaces and environments of this installation. */
export async function buildRowImages(
  deps: InstallationImages,
  input: BuildImagesInput & { readonly signal?: AbortSignal },
): Promise<BuildImagesReport> {
  const owner = { installation: deps.installation, host: hostname() };
  const context = {
    owner,
    heartbeat: () => undefined,
    signal: input.signal ?? new AbortController().signal,
  };
  return buildImages({ ...deps, owner, ...pythonImageParts({ ...deps, context }) }, input);
}

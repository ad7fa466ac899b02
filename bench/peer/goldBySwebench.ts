import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import type { Rows } from '../../src/cli/rows.ts';
import type { ArtefactRef } from '../../src/domain/types.ts';
import type { PlantedCanary, RunRecord } from '../../src/domain/runs.ts';
import type { RepoforgeRunReport } from '../../src/evaluation/reports.ts';
import { exportDataset } from '../../src/export/dataset.ts';
import { goldRunOf } from '../../src/export/goldRun.ts';
import { parseLog, type LogParserName } from '../../src/export/logParser.ts';
import { pythonRunner } from '../../src/export/pythonImages.ts';
import type { Dependencies } from '../../src/setup/compose.ts';
import { textOf, type CommandRun } from '../ownCommand.ts';
import { exportImages, removeImages } from '../images.ts';
import { ensureSwebench, runSwebench } from './swebench.ts';

/** The rows as the official harness sees them: v5 rows, and an image for each. */
export interface SwebenchGold extends AsyncDisposable {
  /** `swebench eval --gold`, wall time of the whole process. */
  evaluateGold(slots: number): Promise<CommandRun>;
  /** Tests of our rows that its parsers cannot name: in our lists, in none of its. They run on both sides. */
  readonly unnamed: number;
}

/**
 * Exports the rows and builds those of their images that are missing. Disposing removes the images that were built here.
 * Throws when a row cannot be exported or an image cannot be built: then the two would not run the same.
 */
export async function openSwebenchGold(deps: Dependencies, rows: Rows): Promise<SwebenchGold> {
  const swebench = await ensureSwebench(deps.settings.cacheDir, deps.installer);
  const cwd = await mkdtemp(join(tmpdir(), 'repoforge-swebench-'));
  const dataset = join(cwd, 'v5.jsonl');
  let made: readonly string[] = [];
  const dispose = async (): Promise<void> => {
    await removeImages(made);
    await rm(cwd, { recursive: true, force: true });
  };
  try {
    const goldRun = (row: Rows['rows'][number]) => goldRunOf(deps, rows.evidence.get(row.instance_id), row);
    const exported = await exportDataset({
      rows: rows.rows,
      format: 'v5',
      out: dataset,
      goldRun,
      runner: async (row) => pythonRunner(deps, row, (await goldRun(row))?.note ?? ''),
    });
    if (exported.exported !== rows.rows.length)
      throw new Error(`Only ${exported.exported} of ${rows.rows.length} rows can be exported.`);
    made = (await exportImages(deps, rows.rows)).made;
    const { colliding, unread } = exported.droppedTests;
    return {
      unnamed: colliding + unread,
      [Symbol.asyncDispose]: dispose,
      async evaluateGold(workers) {
        const runId = `bench-${randomBytes(4).toString('hex')}`;
        const { summary, wallMs } = await runSwebench(swebench, {
          dataset,
          predictions: 'gold',
          runId,
          cwd,
          workers,
        });
        return { wallMs, runId, dir: cwd, resolvedIds: summary.resolved_ids };
      },
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Whether two runs did the same work: instances, verdicts, and every test that ran, canaries aside. */
export interface Agreement {
  readonly agree: boolean;
  /** Tests whose names both logs hold, over all instances. */
  readonly tests: number;
  readonly disagreements: readonly string[];
}

/** Reads both runs' logs with the row's own parser and compares them name by name, status by status. */
export async function agreementOf(
  deps: Dependencies,
  rows: Rows,
  ours: CommandRun,
  theirs: CommandRun,
): Promise<Agreement> {
  const disagreements: string[] = [];
  let tests = 0;
  const v5 = await parsersOf(join(theirs.dir, 'v5.jsonl'));
  const records = await recordsOf(ours);
  for (const { instance_id: id } of rows.rows) {
    const resolved = [ours, theirs].map(({ resolvedIds }) => resolvedIds.includes(id));
    if (resolved[0] !== resolved[1])
      disagreements.push(`${id}: resolved by us ${resolved[0]}, by it ${resolved[1]}`);
    const parser = v5.get(id);
    if (parser === undefined) throw new Error(`${id} was not exported`);
    const own = await ownTests(deps, records.get(id) ?? null, parser);
    const other = await theirTests(theirs, id, parser);
    const differing = [...new Set([...own.keys(), ...other.keys()])].filter(
      (name) => own.get(name) !== other.get(name),
    );
    tests += own.size - differing.filter((name) => own.has(name)).length;
    if (differing.length > 0 || own.size === 0)
      disagreements.push(
        `${id}: ${own.size} and ${other.size} tests, ${differing.length} differ: ${differing
          .slice(0, 3)
          .map((name) => `${name} ${own.get(name) ?? 'absent'}/${other.get(name) ?? 'absent'}`)
          .join(', ')}`,
      );
  }
  return { agree: disagreements.length === 0, tests, disagreements };
}

async function parsersOf(dataset: string): Promise<ReadonlyMap<string, LogParserName>> {
  const lines = (await textOf(dataset)).split('\n').filter((line) => line !== '');
  return new Map(
    lines.map((line) => {
      const row = JSON.parse(line) as { readonly instance_id: string; readonly log_parser: LogParserName };
      return [row.instance_id, row.log_parser];
    }),
  );
}

async function recordsOf(run: CommandRun): Promise<ReadonlyMap<string, ArtefactRef | null>> {
  const { instances } = JSON.parse(await textOf(join(run.dir, 'repoforge.json'))) as RepoforgeRunReport;
  return new Map(instances.map(({ instance_id: id, record }) => [id, record]));
}

/** Tests of our run as the parser reads its raw log, without the canaries that were planted in it. */
async function ownTests(
  { store }: Dependencies,
  ref: ArtefactRef | null,
  parser: LogParserName,
): Promise<ReadonlyMap<string, string>> {
  const record = ref === null ? null : await store.getJson<RunRecord>(ref);
  if (record === null || record.log === null) return new Map();
  const planted =
    record.planted === null ? [] : await store.getJson<readonly PlantedCanary[]>(record.planted);
  const canaries = planted.map(({ canary, name }) => `${canary.prefix}${name}`);
  const isCanary = (name: string): boolean =>
    canaries.some((canary) => name === canary || name.startsWith(`${canary}[`));
  const log = await store.getText(record.log);
  return new Map([...parseLog(parser, log)].filter(([name]) => !isCanary(name)));
}

async function theirTests(
  { dir, runId }: CommandRun,
  id: string,
  parser: LogParserName,
): Promise<ReadonlyMap<string, string>> {
  const log = await textOf(join(dir, 'logs', 'run_evaluation', runId, 'gold', id, 'test_output.txt'));
  const between = log.split('>>>>> Start Test Output')[1]?.split('>>>>> End Test Output')[0] ?? '';
  return parseLog(parser, between);
}

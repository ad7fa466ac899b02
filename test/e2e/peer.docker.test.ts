/**
 * A peer that no one here wrote: the official SWE-bench harness evaluates our exported rows on our exported images and
 * must agree with our own evaluation, on gold and on a patch that is wrong.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Candidate, CutoffPolicy, EnvironmentSpec, InstanceRow } from '../../src/domain/types.ts';
import type { RunPlan, RunRecord } from '../../src/domain/runs.ts';
import type { Ecosystem, WorkContext } from '../../src/ecosystems/types.ts';
import {
  ensureSwebench,
  regradeWithSwebench,
  runSwebench,
  type Swebench,
} from '../../bench/peer/swebench.ts';
import type { PinnedFactsOf } from '../../src/ecosystems/python/pinnedFacts.ts';
import { createPythonEcosystem } from '../../src/ecosystems/python/index.ts';
import { decideFirst } from '../../src/domain/validation.ts';
import { createEvaluator, type Evaluation, type Evaluator } from '../../src/evaluation/evaluate.ts';
import { writeEvaluationReports } from '../../src/evaluation/reports.ts';
import { exportDataset, type GoldRun } from '../../src/export/dataset.ts';
import { evalScript } from '../../src/export/evalScript.ts';
import { buildImages, checkImages, cleanImages } from '../../src/export/images.ts';
import { parseLog } from '../../src/export/logParser.ts';
import { pythonImageParts, pythonRunner } from '../../src/export/pythonImages.ts';
import { importClassic } from '../../src/import/classic.ts';
import { createHeuristicLabeler } from '../../src/labeling/heuristic.ts';
import { makeCandidate } from '../../src/sources/candidate.ts';
import { createMirrorStore, type SourceMirrorStore } from '../../src/sources/mirror.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import { defaultCacheDir } from '../../src/setup/state.ts';
import type { ArtefactStore } from '../../src/store/types.ts';
import { makeRow } from '../evaluation/rows.ts';
import { testInstallation, type TestInstallation } from '../support/docker.ts';
import { hostParts } from '../support/hostParts.ts';
import { makeTinyRepository } from './tinyProject.ts';

let test: TestInstallation;
let store: ArtefactStore;
let mirrors: SourceMirrorStore;
let pinned: PinnedFactsOf;
let ecosystem: Ecosystem;
let evaluator: Evaluator;
let context: WorkContext;
let swebench: Swebench;
let rows: readonly InstanceRow[];
let gold: readonly Evaluation[];
let dataset = '';
let work = '';

const evaluate = (
  row: InstanceRow,
  patch: Parameters<Evaluator['evaluate']>[0]['patch'],
  modelNameOrPath: string,
) => evaluator.evaluate({ row, patch, modelNameOrPath, provenCanaries: null, context });

const recordOf = async ({ result }: Evaluation): Promise<RunRecord> => {
  if (result.record === null) throw new Error(`${result.instanceId} has no record`);
  return store.getJson<RunRecord>(result.record);
};

/** Validates one commit as an instance, with the product's own rules. */
async function rowOf(base: string, head: string): Promise<InstanceRow> {
  const mirror = await mirrors.open('tiny');
  const made = await makeCandidate({
    mirror,
    store,
    limits: { maxSourceFiles: 40, maxPatchBytes: 1e6 },
    instanceId: `tiny__tiny-${head.slice(0, 12)}`,
    source: 'git',
    repo: 'tiny/tiny',
    base,
    head,
    version: '1.0',
    baseVersion: null,
    createdAt: '2024-08-02T00:00:00Z',
    baseCreatedAt: '2024-08-01T00:00:00Z',
    problemStatement: 'It is broken.',
    hintsText: null,
    license: null,
    provenance: {},
  });
  if (!made.ok) throw new Error(made.rejection.detail);
  const candidate = await store.getJson<Candidate>(made.candidate);
  const policy: CutoffPolicy = 'quarter';
  const resolved = await ecosystem.resolve(candidate, policy, context);
  if (!resolved.ok) throw new Error(resolved.rejection.detail);
  const spec = await store.getJson<EnvironmentSpec>(resolved.spec);
  const realised = await ecosystem.realise(spec, 'pruned', context);
  if (!realised.ok) throw new Error(realised.rejection.detail);
  const row = makeRow({
    instance_id: candidate.instanceId,
    repo: candidate.repo,
    base_commit: base,
    patch: await store.getText(candidate.patch),
    test_patch: await store.getText(candidate.testPatch),
    test_scope: candidate.testFiles,
    environment: {
      ...makeRow().environment,
      key: resolved.key,
      variant: 'pruned',
      base: spec.base,
      runtime_version: spec.runtimeVersion,
      system_packages: spec.systemPackages,
    },
    candidate: made.candidate,
    environment_spec: resolved.spec,
  });
  const run = (patch: boolean): Promise<RunRecord> =>
    ecosystem.run(planOf(row, patch ? candidate.patch : null), context);
  const [before, after] = [await run(false), await run(true)];
  const decision = decideFirst({
    health: before,
    before,
    after,
    candidateTestFiles: candidate.testFiles,
    versions: { base: '', head: '' },
  });
  if (decision.kind === 'reject') throw new Error(decision.rejection.detail);
  const { row_hash: _old, ...unhashed } = row;
  return makeRow({ ...unhashed, FAIL_TO_PASS: decision.failToPass, PASS_TO_PASS: decision.passToPass });
}

const planOf = (row: InstanceRow, patch: RunPlan['patch']): RunPlan => ({
  kind: patch === null ? 'before' : 'after',
  candidate: row.candidate,
  environment: row.environment.key,
  spec: row.environment_spec,
  variant: 'pruned',
  withTestPatch: true,
  patch,
  scope: row.test_scope,
  limits: row.limits,
  makeCanaryPoolOf: null,
  canaries: null,
});

beforeAll(async () => {
  test = await testInstallation();
  swebench = await ensureSwebench(defaultCacheDir(), test.installer);
  store = createFsArtefactStore(test.state.paths.artefacts);
  const records = createFsRecordStore(test.state.paths.records);
  mirrors = createMirrorStore(test.state.paths.mirrors, { log: test.log });
  const parts = { driver: test.driver, baseImages: test.baseImages, store, records, mirrors, log: test.log };
  const kept = hostParts({ store, mirrors, stateDir: test.state.dir, log: test.log });
  ({ pinned } = kept);
  ecosystem = createPythonEcosystem({ ...parts, ...kept, runtimes: ['3.11'] });
  evaluator = createEvaluator({ store, records, ecosystem, log: test.log });
  context = {
    owner: { installation: test.installation, host: 'test' },
    heartbeat: () => undefined,
    signal: new AbortController().signal,
  };
  work = join(test.stateDir, 'peer');
  await mkdir(work);
  const repository = join(test.stateDir, 'tiny');
  const commits = await makeTinyRepository(repository);
  await mirrors.fetch('tiny', repository);
  const [start = '', first = '', second = ''] = commits;
  rows = [await rowOf(start, first), await rowOf(first, second)];
  gold = [];
  for (const row of rows) gold = [...gold, await evaluate(row, 'gold', 'gold')];
  const goldRuns = new Map<string, GoldRun & { note: string }>();
  for (const evaluation of gold) {
    const record = await recordOf(evaluation);
    const log = record.log === null ? '' : await store.getText(record.log);
    goldRuns.set(evaluation.result.instanceId, { log, tests: Object.keys(record.tests), note: record.note });
  }
  dataset = join(work, 'v5.jsonl');
  const report = await exportDataset({
    rows,
    format: 'v5',
    out: dataset,
    namespace: `rf-test-${test.installation}`,
    goldRun: async (row) => goldRuns.get(row.instance_id) ?? null,
    runner: (row) => pythonRunner({ store, pinned }, row, goldRuns.get(row.instance_id)?.note ?? ''),
  });
  expect(report).toMatchObject({ exported: 2, droppedTests: { colliding: 0, unread: 0 } });
  const built = await buildImages(
    {
      docker: test.docker,
      driver: test.driver,
      baseImages: test.baseImages,
      owner: context.owner,
      log: test.log,
      ...pythonImageParts({ store, pinned, ecosystem, context }),
    },
    { rows, namespace: `rf-test-${test.installation}` },
  );
  expect(built.images.map((image) => image.problem)).toEqual([null, null]);
}, 900_000);

afterAll(async () => {
  await cleanImages(test.docker, test.installation);
  await test.cleanup();
}, 120_000);

const ids = (): readonly string[] => rows.map((row) => row.instance_id).toSorted();

describe('the official harness on our rows and images', () => {
  it('resolves with gold exactly what we resolve', async () => {
    expect(gold.map(({ result }) => result.grade.verdict)).toEqual([
      { verdict: 'resolved' },
      { verdict: 'resolved' },
    ]);
    const { summary } = await runSwebench(swebench, {
      dataset,
      predictions: 'gold',
      runId: 'gold',
      cwd: work,
      workers: 2,
    });
    expect(summary.resolved_ids).toEqual(ids());
    expect(summary.error_ids).toEqual([]);
  }, 300_000);

  it('refuses, as we do, a patch that changes nothing that matters and one that does not apply', async () => {
    const [wrong, broken] = [
      'diff --git a/src/tiny/calc.py b/src/tiny/calc.py\n--- a/src/tiny/calc.py\n+++ b/src/tiny/calc.py\n@@ -1,2 +1,3 @@\n+# still wrong\n def add(a, b):\n     return a - b\n',
      'diff --git a/src/tiny/none.py b/src/tiny/none.py\n--- a/src/tiny/none.py\n+++ b/src/tiny/none.py\n@@ -1 +1 @@\n-nothing\n+like this\n',
    ];
    const [first, second] = rows;
    if (first === undefined || second === undefined) throw new Error('two rows are needed');
    const ours = [
      await evaluate(first, await store.put(wrong), 'bad'),
      await evaluate(second, await store.put(broken), 'bad'),
    ];
    expect(ours.map(({ result }) => result.grade.verdict)).toEqual([
      { verdict: 'unresolved', reason: 'tests' },
      { verdict: 'patch_failed' },
    ]);
    const predictions = join(work, 'bad.jsonl');
    const line = (row: InstanceRow, patch: string) =>
      JSON.stringify({ instance_id: row.instance_id, model_name_or_path: 'bad', model_patch: patch });
    await writeFile(predictions, `${line(first, wrong)}\n${line(second, broken)}\n`);
    const { summary } = await runSwebench(swebench, {
      dataset,
      predictions,
      runId: 'bad',
      cwd: work,
      workers: 2,
    });
    expect(summary.resolved_ids).toEqual([]);
    expect(summary.unresolved_ids).toEqual([first.instance_id]);
    expect(summary.error_ids).toEqual([second.instance_id]);

    const written = await reportsOf('bad', ours);
    const own = JSON.parse(await readFile(written.summaries[0] ?? '', 'utf8')) as Record<string, unknown>;
    const { unstopped_instances: _a, unstopped_containers: _b, unremoved_images: _c, ...theirs } = summary;
    expect(own).toEqual(theirs);
    expect(Object.keys(own)).toEqual(Object.keys(theirs));
  }, 300_000);

  it('writes reports of the same shape as ours, and grades our saved logs to the same end', async () => {
    const written = await reportsOf('ours', gold);
    const [first] = ids();
    const path = (dir: string, run: string) =>
      join(dir, 'logs', 'run_evaluation', run, 'gold', first ?? '', 'report.json');
    const read = async (file: string) => JSON.parse(await readFile(file, 'utf8')) as unknown;
    const ours = await read(path(written.dir, 'ours'));
    expect(shapeOf(ours)).toEqual(shapeOf(await read(path(work, 'gold'))));
    const { summary } = await regradeWithSwebench(swebench, written.dir, 'ours', dataset);
    expect(summary.resolved_ids).toEqual(ids());
  }, 120_000);

  it('reads logs exactly as our parser does', async () => {
    for (const evaluation of gold) {
      const { log } = await recordOf(evaluation);
      const text = log === null ? '' : await store.getText(log);
      for (const parser of ['parse_log_pytest', 'parse_log_pytest_v2'] as const) {
        const code = `import json, sys; from swebench.harness.log_parsers import PARSER_REGISTRY as R; print(json.dumps(R[${JSON.stringify(parser)}](sys.stdin.read(), None)))`;
        const { stdout } = await execa(swebench.python, ['-c', code], {
          input: text,
          env: { PYTHONUTF8: '1' },
        });
        const theirs = JSON.parse(stdout) as Record<string, string>;
        expect(Object.fromEntries(parseLog(parser, text))).toEqual(theirs);
        expect(Object.keys(theirs).length).toBeGreaterThan(2);
      }
    }
  }, 120_000);

  it('finds every image that the rows name', async () => {
    const lines = (await readFile(dataset, 'utf8')).trim().split('\n');
    const images = lines.map((line) => (JSON.parse(line) as { image: string }).image);
    expect((await checkImages(test.docker, images)).missing).toEqual([]);
  });
});

describe('our own classic rows', () => {
  it('come back by import against the repository and are resolved by gold', async () => {
    const classic = join(work, 'classic.jsonl');
    const goldRun = async (row: InstanceRow): Promise<GoldRun | null> => {
      const record = await recordOf(
        gold.find(({ result }) => result.instanceId === row.instance_id) as Evaluation,
      );
      return {
        log: record.log === null ? '' : await store.getText(record.log),
        tests: Object.keys(record.tests),
      };
    };
    const runner = (row: InstanceRow) => pythonRunner({ store, pinned }, row, '');
    await exportDataset({ rows: rows.slice(1), format: 'classic', out: classic, goldRun, runner });
    const deps = { store, mirrors, ecosystem, labeler: createHeuristicLabeler(), context, log: test.log };
    const imported = await importClassic(deps, {
      file: classic,
      repositories: new Map([['tiny/tiny', join(test.stateDir, 'tiny')]]),
    });
    const [first] = imported;
    if (first?.ok !== true) throw new Error(JSON.stringify(imported));
    expect(first.row).toMatchObject({
      instance_id: rows[1]?.instance_id,
      FAIL_TO_PASS: rows[1]?.FAIL_TO_PASS,
      PASS_TO_PASS: rows[1]?.PASS_TO_PASS,
      test_scope: rows[1]?.test_scope,
    });
    expect((await evaluate(first.row, 'gold', 'gold')).result.grade.verdict).toEqual({ verdict: 'resolved' });
    const line = JSON.parse(await readFile(classic, 'utf8')) as object;
    await writeFile(
      classic,
      JSON.stringify({ ...line, test_patch: 'diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n' }),
    );
    const repositories = new Map([['tiny/tiny', join(test.stateDir, 'tiny')]]);
    expect(await importClassic(deps, { file: classic, repositories })).toMatchObject([
      { ok: false, line: 1, problem: 'The test patch does not apply to base_commit.' },
    ]);
    await expect(importClassic(deps, { file: classic, repositories: new Map() })).rejects.toThrow(
      'classic.jsonl:1: no git repository is given for tiny/tiny; add --repo tiny/tiny=PATH-OR-URL.',
    );
  }, 300_000);
});

const reportsOf = (runId: string, evaluations: readonly Evaluation[]) =>
  writeEvaluationReports({
    runId,
    runsDir: test.state.paths.runs,
    store,
    rows,
    evaluations,
    dataset,
    createdAt: '2026-01-01T00:00:00Z',
    evalScript: async (row) => evalScript(row, await pythonRunner({ store, pinned }, row, '')),
  });

/** Field names and types, with lists emptied. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return [];
  if (typeof value !== 'object' || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, shapeOf(member)]));
}

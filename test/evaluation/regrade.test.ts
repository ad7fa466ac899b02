import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { EvaluationManifest } from '../../src/activities/evaluation.ts';
import { gradeRun } from '../../src/domain/grading.ts';
import { recordNames } from '../../src/domain/records.ts';
import { savedLog } from '../../src/ecosystems/python/regrade.ts';
import { regradeRun } from '../../src/evaluation/regrade.ts';
import type { ReportedEvaluation } from '../../src/evaluation/reports.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import { makeRecord, makeRow } from './rows.ts';

let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-regrade-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const junit = (failed: boolean) => `<?xml version="1.0"?><testsuites><testsuite name="pytest" tests="2">
<testcase classname="test_a" name="test_new" file="test_a.py" line="1" time="0.001">${failed ? '<failure message="assert 0">x</failure>' : ''}</testcase>
<testcase classname="test_a" name="test_old" file="test_a.py" line="2" time="0.001"/></testsuite></testsuites>`;

it('a run is graded again from what it saved: a wrongly recorded verdict is corrected, the others stay', async () => {
  const store = createFsArtefactStore(join(dir, 'artefacts'));
  const records = createFsRecordStore(join(dir, 'records'));
  const row = makeRow();
  const log = await store.put(savedLog('2 passed', { inferredFiles: [], droppedBytes: 0 }));
  const lists = { failToPass: row.FAIL_TO_PASS, passToPass: row.PASS_TO_PASS };
  const reported = async (failedInJunit: boolean, changes = {}): Promise<ReportedEvaluation> => {
    // as recorded at the time: nothing was read, so everything failed
    const record = makeRecord([], [], { log, junit: await store.put(junit(failedInJunit)), ...changes });
    return {
      origin: 'executed',
      result: {
        schema: 1,
        instanceId: row.instance_id,
        modelNameOrPath: 'm',
        key: 'k',
        grade: gradeRun({ ...lists, record, planted: [] }),
        record: await store.putJson(record),
        patch: log,
      },
    };
  };
  const manifest: EvaluationManifest = {
    schema: 1,
    runId: 'r',
    createdAt: '2026-01-01T00:00:00Z',
    dataset: 'd',
    rows: [{ row: await store.putJson(row), provenCanaries: null }],
    entries: ['m', 'n', 'o', 'p'].map((modelNameOrPath) => ({ row: 0, patch: log, modelNameOrPath })),
  };
  await records.record(recordNames.evaluation('r'), { manifest: await store.putJson(manifest) });
  const results = [
    await reported(false),
    await reported(true, { exitCode: 1 }),
    await reported(false, { outcome: 'timeout' }),
  ];
  for (const [index, result] of results.entries())
    await records.record(recordNames.evaluationResult('r', index), result);

  const input = { runId: 'r', store, records, runsDir: join(dir, 'runs'), evalScript: () => '' };
  const report = await regradeRun(input);
  expect(report).toMatchObject({
    regraded: 2,
    kept: 1,
    changed: [
      {
        instance_id: 'a__a-1',
        from: { verdict: 'unresolved', reason: 'tests' },
        to: { verdict: 'resolved' },
      },
    ],
  });
  expect(report.reports.report).toMatchObject({ evaluated: 3, executed: 3, resolved: 1 });
  const summary = JSON.parse(await readFile(report.reports.summaries[0] ?? '', 'utf8')) as object;
  expect(summary).toMatchObject({ schema_version: 2, resolved_ids: ['a__a-1'] });
  const kept = await records.read<ReportedEvaluation>(recordNames.evaluationResult('r', 0));
  expect(kept?.result.grade.verdict).toEqual({ verdict: 'unresolved', reason: 'tests' });
  await expect(regradeRun({ ...input, runId: 'none' })).rejects.toThrow('There is no evaluation run "none"');
});

import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { EvaluationResult, Verdict } from '../../src/domain/verdicts.ts';
import { gradeRun, infraGrade } from '../../src/domain/grading.ts';
import {
  type ReportedEvaluation,
  writeEvaluationReports,
  type WrittenReports,
} from '../../src/evaluation/reports.ts';
import { createFsArtefactStore } from '../../src/store/fs.ts';
import { makeRecord, makeRow } from './rows.ts';

const verdicts: Readonly<Record<string, Verdict>> = {
  'a__a-1': { verdict: 'resolved' },
  'a__a-2': { verdict: 'unresolved', reason: 'tests' },
  'a__a-3': { verdict: 'patch_failed' },
  'a__a-4': { verdict: 'timeout' },
  'a__a-5': { verdict: 'infra', reason: 'the daemon is gone' },
  'a__a-6': { verdict: 'empty_patch' },
  'a__a-7': { verdict: 'tampered', reason: 'canary_passed' },
  'a__a-8': { verdict: 'unresolved', reason: 'memory' },
};
let dir = '';
let written: WrittenReports;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-reports-'));
  const store = createFsArtefactStore(join(dir, 'artefacts'));
  const rows = [...Object.keys(verdicts), 'a__a-9'].map((instance_id) => makeRow({ instance_id }));
  const patch = await store.put('diff --git a/a.py b/a.py\n');
  const log = await store.put('PASSED test_a.py::test_new');
  const evaluations = await Promise.all(
    Object.entries(verdicts).map(async ([instanceId, verdict]): Promise<ReportedEvaluation> => {
      const lists = { failToPass: ['test_a.py::test_new'], passToPass: ['test_a.py::test_old'] };
      const record = makeRecord([...lists.failToPass, ...lists.passToPass], [], { log });
      const graded =
        verdict.verdict === 'infra'
          ? infraGrade(lists, verdict.reason)
          : gradeRun({ ...lists, record, planted: [] });
      const result: EvaluationResult = {
        schema: 1,
        instanceId,
        modelNameOrPath: 'org/model',
        key: 'k',
        grade: {
          ...graded,
          verdict,
          resolved: verdict.verdict === 'infra' ? null : verdict.verdict === 'resolved' ? 1 : 0,
        },
        record: ['infra', 'empty_patch'].includes(verdict.verdict) ? null : await store.putJson(record),
        patch: verdict.verdict === 'empty_patch' ? null : patch,
      };
      const notRun = ['empty_patch', 'patch_failed'].includes(verdict.verdict);
      if (verdict.verdict === 'infra') return { result, origin: 'infra' };
      return { result, origin: instanceId === 'a__a-1' ? 'served' : notRun ? 'not_run' : 'executed' };
    }),
  );
  written = await writeEvaluationReports({
    runId: 'run1',
    runsDir: dir,
    store,
    rows,
    evaluations,
    dataset: '/d/v5.jsonl',
    createdAt: '2026-01-01T00:00:00Z',
    evalScript: () => '#!/bin/bash\n',
  });
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const json = async (path: string): Promise<unknown> => JSON.parse(await readFile(path, 'utf8'));
const logs = (...parts: string[]) => join(dir, 'run1', 'logs', 'run_evaluation', 'run1', ...parts);

it('the run summary has the fields, order and rules of schema_version 2', async () => {
  expect(written.summaries).toEqual([join(dir, 'run1', 'org__model.run1.json')]);
  const summary = (await json(written.summaries[0] ?? '')) as Record<string, unknown>;
  expect(Object.entries(summary)).toEqual(
    Object.entries({
      total_instances: 9,
      submitted_instances: 8,
      completed_instances: 4,
      resolved_instances: 1,
      unresolved_instances: 3,
      infra_failure_instances: 1,
      ambiguous_failure_instances: 2,
      empty_patch_instances: 1,
      error_instances: 3,
      completed_ids: ['a__a-1', 'a__a-2', 'a__a-7', 'a__a-8'],
      incomplete_ids: ['a__a-9'],
      empty_patch_ids: ['a__a-6'],
      submitted_ids: Object.keys(verdicts),
      resolved_ids: ['a__a-1'],
      unresolved_ids: ['a__a-2', 'a__a-7', 'a__a-8'],
      infra_failure_ids: ['a__a-5'],
      ambiguous_failure_ids: ['a__a-4', 'a__a-8'],
      failure_reasons: {
        'a__a-4': 'tests_timed_out',
        'a__a-5': 'container_unavailable',
        'a__a-8': 'out_of_memory',
      },
      error_ids: ['a__a-3', 'a__a-4', 'a__a-5'],
      schema_version: 2,
    }),
  );
});

it('a completed instance has the five files of the harness, an error has no report.json, an empty patch has no folder', async () => {
  const model = logs('org__model');
  expect((await readdir(model)).toSorted()).toEqual(Object.keys(verdicts).filter((id) => id !== 'a__a-6'));
  expect((await readdir(join(model, 'a__a-1'))).toSorted()).toEqual([
    'eval.sh',
    'patch.diff',
    'report.json',
    'run_instance.log',
    'test_output.txt',
  ]);
  expect(await readdir(join(model, 'a__a-3'))).not.toContain('report.json');
  expect(await readFile(join(model, 'a__a-3', 'run_instance.log'), 'utf8')).toContain(
    '>>>>> Patch Apply Failed',
  );
  expect(await readFile(join(model, 'a__a-1', 'test_output.txt'), 'utf8')).toBe(
    '>>>>> Start Test Output\nPASSED test_a.py::test_new\n>>>>> End Test Output\n>>>>> Test Exit Code: 0\n',
  );
});

it('report.json has the fields of the harness, and a reason only where there is one', async () => {
  const report = (id: string) => json(logs('org__model', id, 'report.json'));
  expect(await report('a__a-1')).toEqual({
    'a__a-1': {
      patch_is_None: false,
      patch_exists: true,
      patch_successfully_applied: true,
      resolved: true,
      infra_failure: false,
      tests_status: {
        FAIL_TO_PASS: { success: ['test_a.py::test_new'], failure: [] },
        PASS_TO_PASS: { success: ['test_a.py::test_old'], failure: [] },
        FAIL_TO_FAIL: { success: [], failure: [] },
        PASS_TO_FAIL: { success: [], failure: [] },
      },
    },
  });
  expect(await report('a__a-8')).toMatchObject({
    'a__a-8': { resolved: false, infra_failure: false, infra_failure_reason: 'out_of_memory' },
  });
});

it('our own report counts executed, served and verdicts, and leaves infra out of the rates', () => {
  expect(written.report).toMatchObject({
    evaluated: 8,
    executed: 4,
    served: 1,
    not_run: 2,
    resolved: 1,
    resolved_rate: 1 / 7,
    verdicts: {
      resolved: 1,
      unresolved: 2,
      patch_failed: 1,
      timeout: 1,
      infra: 1,
      empty_patch: 1,
      tampered: 1,
    },
  });
});

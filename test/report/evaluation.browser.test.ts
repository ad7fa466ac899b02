import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunRecord } from '../../src/domain/runs.ts';
import { gradeRun, infraGrade } from '../../src/domain/grading.ts';
import { writeEvaluationReports, type ReportedEvaluation } from '../../src/evaluation/reports.ts';
import { createFsArtefactStore } from '../../src/store/fs.ts';
import { makeRecord, makeRow } from '../evaluation/rows.ts';
import { CHROMIUM, openPage, type ListeningPage } from '../support/browser.ts';

const HOSTILE = '<script>window.attacked = true</script>/model';

describe.skipIf(CHROMIUM === undefined)(
  "an evaluation run's page in a real browser (skipped where no Chromium is installed)",
  () => {
    let dir: string;
    let open: ListeningPage;

    beforeAll(async () => {
      dir = await mkdtemp(join(tmpdir(), 'rf-evaluation-'));
      const store = createFsArtefactStore(join(dir, 'artefacts'));
      const row = makeRow();
      const lists = { failToPass: row.FAIL_TO_PASS, passToPass: row.PASS_TO_PASS };
      const patch = await store.put(row.patch);
      const evaluated = async (
        how: Pick<ReportedEvaluation, 'origin' | 'interval'>,
        record: RunRecord | null,
      ): Promise<ReportedEvaluation> => ({
        ...how,
        result: {
          schema: 1,
          instanceId: row.instance_id,
          modelNameOrPath: HOSTILE,
          key: 'k',
          grade:
            record === null
              ? infraGrade(lists, 'the daemon did not answer')
              : gradeRun({ ...lists, record, planted: [] }),
          record: record === null ? null : await store.putJson(record),
          patch,
        },
      });
      const durations = (totalMs: number, testsMs: number): Pick<RunRecord, 'durations'> => ({
        durations: { totalMs, startMs: 100, treeMs: 50, installMs: 0, patchMs: 0, testsMs, teardownMs: 50 },
      });
      const log = await store.put('1 failed');
      const good = makeRecord([...lists.failToPass, ...lists.passToPass], [], {
        log,
        ...durations(1_200, 1_000),
      });
      const bad = makeRecord(lists.passToPass, lists.failToPass, {
        log,
        exitCode: 1,
        ...durations(2_200, 2_000),
      });
      const { page } = await writeEvaluationReports({
        runId: 'run-1',
        runsDir: join(dir, 'runs'),
        store,
        rows: [row],
        evaluations: [
          await evaluated({ origin: 'executed', interval: { startedMs: 0, endedMs: 1_250 } }, good),
          await evaluated({ origin: 'executed', interval: { startedMs: 0, endedMs: 2_500 } }, bad),
          await evaluated({ origin: 'served', interval: { startedMs: 2_500, endedMs: 2_501 } }, good),
          await evaluated({ origin: 'infra' }, null),
        ],
        dataset: 'some/dataset.jsonl',
        createdAt: '2026-01-01T00:00:00Z',
        evalScript: () => '#!/bin/bash\n',
      });
      open = await openPage();
      await open.page.goto(pathToFileURL(page).href);
    });
    afterAll(async () => {
      await open?.browser.close();
      await rm(dir, { recursive: true, force: true });
    });

    const text = async (): Promise<string> =>
      (await open.page.locator('body').innerText()).replace(/\s+/g, ' ');

    it('counts what was resolved, executed and served, and leaves infrastructure out of the rate', async () => {
      const shown = await text();
      expect(shown).toContain('67 % resolved (2/3 graded)');
      expect(shown).toContain('2 executed, 1 served, 0 with nothing to run');
      expect(shown).toContain('1 not graded: infrastructure failed');
      expect(shown).toContain('infra: the daemon did not answer');
    });

    it('tells test time from the rest and how well the slots were used, of executed evaluations only', async () => {
      const shown = await text();
      expect(shown).toContain('2 container runs took 3.4 s: 3.0 s in tests (88 %), 400 ms around them');
      // two slots, 2.5 s; the longest test takes 2 s
      expect(shown).toContain('Up to 2 evaluations at once, slots busy 75 % of 2.5 s.');
      expect(shown).toContain('80 % parallel efficiency on 2 slots');
      expect(await open.page.locator('.chart svg').count()).toBe(2);
    });

    it('leads to the logs of each evaluation, and runs nothing of a stranger', async () => {
      expect(await text()).toContain(HOSTILE);
      expect(await open.page.evaluate('window.attacked')).toBeUndefined();
      await open.page.getByRole('link', { name: 'a__a-1' }).first().click();
      await open.page.waitForURL(/logs\/run_evaluation\/run-1/);
      expect(await text()).toContain('test_output.txt');
      await open.page.goBack();
    });

    it('does not scroll sideways on a phone and asks for nothing but its own files', async () => {
      expect(await open.scrollsSideways()).toBe(false);
      expect(open.requests.filter((url) => !/^(file|data):/.test(url))).toEqual([]);
      expect(open.complaints).toEqual([]);
    });
  },
);

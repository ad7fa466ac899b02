import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { breakdownOf } from '../../src/report/breakdown.ts';
import type { CampaignReport } from '../../src/report/model.ts';
import { writeCampaignReport } from '../../src/report/write.ts';
import { CHROMIUM, openPage, type ListeningPage } from '../support/browser.ts';

const label = {
  score: 1,
  votes: [1, 1, 2],
  method: 'majority',
  controversial: true,
  rationale: 'One sensible reading.',
} as const;
const report: CampaignReport = {
  campaign: 'browser-check',
  finished: true,
  funnel: [
    { stage: 'mined', count: 9 },
    { stage: 'built', count: 7 },
    { stage: 'published', count: 1 },
  ],
  rejections: [
    {
      reason: 'no_fail_to_pass',
      count: 6,
      examples: [{ instanceId: 'pypi__a-1.0', detail: 'Nothing fails before <gold>.' }],
    },
  ],
  runs: { executed: 20, served: 1, maxPerPublished: 7 },
  gold: { resolved: 1, total: 1 },
  nop: { resolved: 0, total: 1 },
  environments: {
    count: 1,
    p50Ms: 1_234,
    fullBytes: 20_000_000,
    prunedBytes: 12_000_000,
    exceptions: [{ key: 'cd'.repeat(32), detail: '<b>tests/test_x.py</b> fails without numpy/tests' }],
  },
  publishedEnvironments: 1,
  time: breakdownOf([
    {
      totalMs: 3_000,
      startMs: 400,
      treeMs: 200,
      installMs: 100,
      patchMs: 100,
      testsMs: 1_800,
      teardownMs: 300,
    },
  ]),
  storage: [{ what: 'environments', bytes: 12_000_000, note: 'inodes once' }],
  uniqueBytesPerInstance: 3_400_000,
  durations: [{ stage: 'before', count: 7, p50Ms: 2_000, p90Ms: 3_000, maxMs: 61_000 }],
  labelCost: null,
  instances: [
    {
      instanceId: 'pypi__hostile-1.0',
      repo: 'pypi/hostile',
      version: '1.0',
      createdAt: '2024-01-01T00:00:00Z',
      license: 'MIT',
      problemStatement: '<script>window.attacked = true</script><img src=x onerror="window.attacked = true">',
      patch: `diff --git a/x.py b/x.py\n@@ -1 +1 @@\n-old\n+new ${'long '.repeat(200)}\n`,
      testPatch: 'diff --git a/test_x.py b/test_x.py\n@@ -0,0 +1 @@\n+def test_x(): pass\n',
      failToPass: ['test_x.py::test_x[</ul><script>window.attacked = true</script>]'],
      passToPass: ['test_x.py::test_y'],
      collectionFailToPass: [],
      quarantined: [],
      labels: { labeler: 'heuristic-v1', issue_clarity: label, test_fairness: label, effort: label },
      environment: {
        key: 'ab'.repeat(32),
        runtime: '3.11',
        cutoff: '2023-10-01T00:00:00Z',
        variant: 'pruned',
      },
      runs: [
        {
          name: 'gold',
          outcome: 'completed',
          passed: 2,
          failed: 0,
          totalMs: 900,
          logTail: '</pre><script>window.attacked = true</script>2 passed',
        },
      ],
      gold: 'resolved',
      nop: 'unresolved',
    },
  ],
};

describe.skipIf(CHROMIUM === undefined)(
  'the HTML report in a real browser (skipped where no Chromium is installed)',
  () => {
    let dir: string;
    let open: ListeningPage;

    beforeAll(async () => {
      dir = await mkdtemp(join(tmpdir(), 'repoforge-report-'));
      const index = await writeCampaignReport(report, join(dir, 'report'));
      open = await openPage();
      await open.page.goto(pathToFileURL(index).href);
    });
    afterAll(async () => {
      await open?.browser.close();
      await rm(dir, { recursive: true, force: true });
    });

    it('shows funnel, typed rejections, storage, durations and difficulty on one page', async () => {
      const text = await open.page.locator('body').innerText();
      for (const words of [
        'Funnel',
        'no_fail_to_pass',
        'Nothing fails before <gold>.',
        'Storage',
        '12.0 MB',
        'Durations per stage',
        '1 min 1 s',
        'Difficulty',
        'gold resolved (1/1)',
        'nop resolved (0/1)',
        'environments per instance (1 for 1)',
        'pruning by rule took 8.0 MB of 20.0 MB (40 %)',
        '<b>tests/test_x.py</b> fails without numpy/tests',
        '1 container runs took 3.0 s: 1.8 s in tests (60 %), 1.2 s around them',
      ])
        expect(text.replace(/\s+/g, ' ')).toContain(words);
      expect(await open.page.locator('.chart svg').count()).toBe(3);
      const tests = open.page.getByRole('row', { name: /^tests/ });
      expect(await tests.innerText()).toMatch(/1\.8 s\s+1\.8 s\s+60\.0 %/);
      expect(await open.page.locator('.chart svg').first().textContent()).toContain('published');
    });

    it('does not scroll sideways on a phone', async () => {
      expect(await open.scrollsSideways()).toBe(false);
    });

    it('leads to a page per instance with patch, tests and logs, where nothing of a stranger is run', async () => {
      await open.page.getByRole('link', { name: 'pypi__hostile-1.0' }).click();
      await open.page.waitForURL(/hostile/);
      const text = await open.page.locator('body').innerText();
      for (const words of [
        'Gold patch',
        '+new',
        'Test patch',
        'FAIL_TO_PASS: 1',
        'One sensible reading.',
        '<script>window.attacked',
      ])
        expect(text).toContain(words);
      await open.page.locator('summary', { hasText: 'gold' }).click();
      expect(await open.page.locator('#runs ~ details pre').innerText()).toContain('2 passed');
      expect(await open.page.evaluate('window.attacked')).toBeUndefined();
      expect(await open.scrollsSideways()).toBe(false);
    });

    it('asks for nothing but its own files and makes the browser complain about nothing', () => {
      expect(open.requests.filter((url) => !url.startsWith('file:') && !url.startsWith('data:'))).toEqual([]);
      expect(open.complaints).toEqual([]);
    });
  },
);

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeRlReport } from '../../src/report/rlReport.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import { CHROMIUM, openPage, type ListeningPage } from '../support/browser.ts';
import { makeRlRun } from '../support/rlRun.ts';

const HOSTILE = '</pre><script>window.attacked = true</script><img src=x onerror="window.attacked = true">';

describe.skipIf(CHROMIUM === undefined)(
  "a training run's pages in a real browser (skipped where no Chromium is installed)",
  () => {
    let dir: string;
    let index: string;
    let open: ListeningPage;

    beforeAll(async () => {
      dir = await mkdtemp(join(tmpdir(), 'rf-rl-pages-'));
      const deps = {
        run: 'browser-check',
        store: createFsArtefactStore(join(dir, 'artefacts')),
        records: createFsRecordStore(join(dir, 'records')),
      };
      const { manifest, options } = await makeRlRun(deps, {
        steps: 22,
        text: HOSTILE,
        incidents: true,
        reloads: true,
      });
      const request = { ...deps, stateDir: dir, manifest, options, state: 'done' };
      index = await writeRlReport({ ...request, note: 'all 22 steps are done' });
      open = await openPage();
      await open.page.goto(pathToFileURL(index).href);
    });
    afterAll(async () => {
      await open?.browser.close();
      await rm(dir, { recursive: true, force: true });
    });

    const text = async (): Promise<string> =>
      (await open.page.locator('body').innerText()).replace(/\s+/g, ' ');

    it('shows what was learned, how stale and how idle it was, and what became of the groups', async () => {
      const shown = await text();
      for (const words of [
        'State: done (all 22 steps are done).',
        '22 / 22 steps in',
        'mean reward of the first and of the last ten steps',
        'largest staleness; the bound is 1',
        'Bubbles: who stood idle, and why',
        'reloading',
        'run paused',
        'Timeline',
        'dropped: all rewards equal',
        'max_turns',
        'Mismatch KL',
      ])
        expect(shown).toContain(words);
    });

    it('draws every curve with ink: reward, staleness, three resources, throughput, four metrics of the trainer', async () => {
      const titles = await open.page.locator('figcaption b').allInnerTexts();
      expect(titles).toEqual([
        'Reward',
        'Staleness',
        'Trainer',
        'Server 127.0.0.1:8000',
        'Server 127.0.0.1:8001',
        'Tokens per second',
        'Steps per hour',
        'Mismatch KL (sampler against trainer)',
        'Clip fraction',
        'Entropy',
        'Gradient norm',
      ]);
      for (const chart of await open.page.locator('figure .chart svg').all()) {
        const box = await chart.boundingBox();
        expect(box?.width).toBeGreaterThan(280);
        expect(await chart.locator('path[stroke-width], path[fill]').count()).toBeGreaterThan(3);
      }
    });

    it('pictures trainer, servers and groups in time, each kind of its legend drawn, and none drawn twice', async () => {
      const gantt = open.page.locator('.gantt svg');
      const names = await gantt.locator('text.name').allTextContents();
      expect(names.map((name) => name.trim())).toEqual(['trainer', '127.0.0.1:8000', '127.0.0.1:8001']);
      expect(await gantt.locator('text.tick', { hasText: /^step \d+$/ }).count()).toBeGreaterThan(1);
      expect(await gantt.locator('text.tick', { hasText: /^\s*group \d+ · v\d+/ }).count()).toBeGreaterThan(
        8,
      );
      const titles = (await gantt.locator('rect title').allTextContents()).join('\n');
      for (const kind of [
        'training',
        'starved',
        'publishing',
        'sampling',
        'reloading',
        'agents away',
        'waits for a step',
      ])
        expect(titles).toContain(kind);
      // one resource is in one state at a time
      const trainer = await gantt
        .locator('g')
        .first()
        .locator('rect')
        .evaluateAll((rects) =>
          rects.map((rect) => [Number(rect.getAttribute('x')), Number(rect.getAttribute('width'))]),
        );
      const sorted = trainer.toSorted((a, b) => (a[0] ?? 0) - (b[0] ?? 0));
      for (const [place, [x = 0]] of sorted.entries())
        if (place > 0)
          expect(x).toBeGreaterThanOrEqual(
            (sorted[place - 1]?.[0] ?? 0) + (sorted[place - 1]?.[1] ?? 0) - 1.5,
          );
    });

    it('does not scroll sideways on a phone, with everything unfolded', async () => {
      for (const summary of await open.page.locator('summary').all()) await summary.click();
      expect(await text()).toContain('learningRate');
      expect(await open.scrollsSideways()).toBe(false);
    });

    it('leads to trajectories turn by turn and back, where nothing of a stranger is run', async () => {
      const links = open.page.locator('#trajectories + .scroll a');
      expect(await links.count()).toBe(9);
      await links.first().click();
      await open.page.waitForURL(/trajectories/);
      const shown = await text();
      for (const words of [
        'Prompt',
        'Made problem',
        'Turn 1',
        'version',
        'Answer',
        'mean log-probability -0.250',
        'Action: finish',
        '<script>window.attacked',
        'The episode ends here.',
      ])
        expect(shown).toContain(words);
      expect(await open.page.evaluate('window.attacked')).toBeUndefined();
      expect(await open.scrollsSideways()).toBe(false);
      await open.page.getByRole('link', { name: 'browser-check' }).click();
      await open.page.waitForURL(/index\.html/);
    });

    it('needs no script, asks for nothing but its own files, and makes the browser complain about nothing', async () => {
      expect(await open.page.locator('script').count()).toBe(0);
      expect(open.requests.filter((url) => !/^(file|data):/.test(url))).toEqual([]);
      expect(open.complaints).toEqual([]);
    });
  },
);

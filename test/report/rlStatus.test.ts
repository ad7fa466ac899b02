import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rlDetails } from '../../src/domain/rl/details.ts';
import { NO_RL_COUNTS } from '../../src/domain/rl/messages.ts';
import type { RlProgress } from '../../src/domain/rl/messages.ts';
import { readRlLog, type RlLog, type RlLogDeps } from '../../src/report/rlLog.ts';
import { STATUS_ENTRIES, rlStatusText } from '../../src/report/rlStatus.ts';
import { bubbleOf, settledUses, stepUses } from '../../src/report/rlTimes.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import { makeRlRun } from '../support/rlRun.ts';

const EMPTY: RlLog = { run: 'made', entries: [], missing: [], heldOut: [] };
const NEW: RlProgress = {
  run: 'made',
  state: 'starting',
  note: '',
  step: 0,
  steps: 60,
  version: 0,
  width: 10,
  maxStaleness: 1,
  paused: false,
  runningGroups: 0,
  waitingGroups: 0,
  counts: NO_RL_COUNTS,
  recent: [],
};

describe('the status of a training run', () => {
  let dir: string;
  let log: RlLog;
  let progress: RlProgress;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'rf-rl-status-'));
    const deps: RlLogDeps = {
      run: 'made',
      store: createFsArtefactStore(join(dir, 'artefacts')),
      records: createFsRecordStore(join(dir, 'records')),
    };
    const { steps } = await makeRlRun(deps, { steps: 25 });
    log = await readRlLog(deps.records, 'made', { last: STATUS_ENTRIES });
    progress = {
      ...NEW,
      state: 'running',
      step: 25,
      version: 25,
      runningGroups: 7,
      waitingGroups: 2,
      counts: {
        ...NEW.counts,
        trained: 100,
        noVariance: 31,
        infra: 2,
        trainedTokens: 900,
        parityMax: 3.5e-5,
        droppedTokens: 100,
      },
      recent: steps.map(({ step }) => step),
    };
  });
  afterAll(async () => rm(dir, { recursive: true, force: true }));

  it('fits one screen and says how it learns, how stale it is, and what its machines wait for', () => {
    const text = rlStatusText(progress, log);
    const lines = text.split('\n');
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(lines[0]).toBe('made: running, step 25 of 60, version 25');
    const mean = progress.recent.slice(-20).reduce((sum, { reward }) => sum + reward, 0) / 20;
    expect(text).toContain(`${mean.toFixed(3)} over the last 20 steps`);
    expect(text).toContain('held-out');
    expect(text).toMatch(/staleness +\d \/ \d\.\d\d \/ \d in the last step \(least, mean, most\), at most 1/);
    expect(text).toContain('3.5e-5 at most between servers and trainer');
    expect(text).toContain('7 running of 10, 2 waiting, 100 trained');
    expect(text).toContain('31 without variance, 2 infrastructure, 0 overlong, 0 stale; 10 % of the tokens');
    expect(text).toMatch(/trainer +\d+ % idle \(starved \d+ %/);
    expect(text).toMatch(/127\.0\.0\.1:8000 +.*requests in flight/);
  });

  it('takes the bubble ratio over the last ten steps whose figures are final', () => {
    const uses = settledUses(stepUses(log)).slice(-10);
    const shown = /bubble +([\d.]+) % idle, over steps (\d+) to (\d+) /.exec(rlStatusText(progress, log));
    expect(Number(shown?.[1])).toBeCloseTo(100 * (bubbleOf(uses) ?? 0), 0);
    expect([Number(shown?.[2]), Number(shown?.[3])]).toEqual([uses[0]?.step, uses.at(-1)?.step]);
    expect(Number(shown?.[3])).toBeLessThan(25); // groups of step 25's time still run
  });

  it('says little of a run that has done little, and nothing that is no number', () => {
    const text = rlStatusText(NEW, EMPTY);
    expect(text).toContain('no step has been taken yet');
    expect(text).not.toMatch(/NaN|undefined|Infinity|bubble/);
  });

  it('names what is missing, and lets no error message steer the terminal', () => {
    const text = rlStatusText(
      { ...progress, state: 'stuck', note: 'the loss\n\u001B[2J is not finite' },
      {
        ...log,
        missing: [3, 4, 9],
      },
    );
    expect(text).toContain('no record of steps 3 to 4, 9');
    expect(text).toContain('the loss [2J is not finite');
    // oxlint-disable-next-line no-control-regex -- that is what is looked for
    expect(text).not.toMatch(/[\u0000-\u0009\u000B-\u001F]/);
  });

  it('is a table of the last ten steps in Temporal UI, the newest first', () => {
    const text = rlDetails(progress);
    const rows = text.split('\n').filter((line) => /^\| \d/.test(line));
    expect(rows).toHaveLength(10);
    expect(rows[0]).toMatch(/^\| 25 \|/);
    expect(rows.every((row) => row.split('|').length === 12)).toBe(true);
    expect(text.length).toBeLessThan(2_500);
    expect(rlDetails(NEW)).not.toMatch(/NaN|undefined/);
  });

  it('keeps a note in its line and as text, where it is shown as Markdown', () => {
    const text = rlDetails({ ...NEW, state: 'stuck', note: 'a | b\n# <b>**loud**</b>' });
    expect(text.split('\n')[0]).toBe(String.raw`**stuck** – a \| b # \<b\>\*\*loud\*\*\</b\>`);
  });
});

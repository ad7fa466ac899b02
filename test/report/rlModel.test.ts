import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { idleShare, lengthOf } from '../../src/domain/rl/intervals.ts';
import type { RlManifest } from '../../src/domain/rl/options.ts';
import type { PolicyCall, Trajectory } from '../../src/domain/rl/trajectory.ts';
import { recordNames } from '../../src/domain/records.ts';
import { readRlLog } from '../../src/report/rlLog.ts';
import type { RlLogDeps } from '../../src/report/rlLog.ts';
import { buildRlReport, type RlReport } from '../../src/report/rlModel.ts';
import { writeRlReport } from '../../src/report/rlReport.ts';
import { windowsOf } from '../../src/report/rlTimes.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import { makeRlRun, type MadeRun, type RunPlan } from '../support/rlRun.ts';

const STEPS = 60;

describe('a report of a training run', () => {
  let dir: string;
  let deps: RlLogDeps;
  let made: MadeRun;
  let report: RlReport;

  const reportOf = async (how: RlLogDeps, { options, manifest }: MadeRun): Promise<RlReport> =>
    buildRlReport({
      log: await readRlLog(how.records, how.run),
      options,
      manifest: await how.store.getJson<RlManifest>(manifest),
      state: 'done',
      note: '',
    });
  const makeIn = async (run: string, plan: RunPlan): Promise<readonly [RlLogDeps, MadeRun]> => {
    const how = {
      run,
      store: createFsArtefactStore(join(dir, 'artefacts')),
      records: createFsRecordStore(join(dir, 'records')),
    };
    return [how, await makeRlRun(how, plan)];
  };

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'rf-rl-model-'));
    [deps, made] = await makeIn('made', { steps: STEPS, incidents: true, seed: 3 });
    report = await reportOf(deps, made);
  }, 120_000); // a thousand durable writes: slow beside other work on the same disk
  afterAll(async () => rm(dir, { recursive: true, force: true }));

  /** Every request of the run, from the trajectories themselves. */
  async function callsOf(server: string): Promise<readonly PolicyCall[]> {
    const refs = made.steps.flatMap(({ timeline }) =>
      timeline.groups.flatMap(({ trajectories }) => trajectories),
    );
    const trajectories = await Promise.all(refs.map(async (ref) => deps.store.getJson<Trajectory>(ref)));
    return trajectories
      .flatMap(({ episodes }) => episodes.flatMap(({ steps }) => steps.map(({ call }) => call)))
      .filter((call) => call.server === server);
  }

  it('finds the idle time that a look at every millisecond of the run finds', async () => {
    const windows = windowsOf(report.log.entries);
    const beginMs = windows[0]?.startedMs ?? 0;
    for (const server of made.servers) {
      const grid = new Uint8Array((windows.at(-1)?.endedMs ?? 0) - beginMs);
      for (const { startedMs, endedMs } of await callsOf(server))
        grid.fill(1, startedMs - beginMs, endedMs - beginMs);
      for (const [index, { startedMs, endedMs }] of windows.entries()) {
        const busyMs = grid
          .subarray(startedMs - beginMs, endedMs - beginMs)
          .reduce((sum, one) => sum + one, 0);
        const use = report.uses[index]?.servers.find((one) => one.server === server);
        expect(use?.busyMs, `step ${index + 1}`).toBe(busyMs);
      }
    }
  });

  it('shares each step out among causes that sum to its time', () => {
    expect(report.uses).toHaveLength(STEPS);
    for (const { startedMs, endedMs, trainer, servers } of report.uses)
      for (const { busyMs, idleMs } of [trainer, ...servers])
        expect(busyMs + Object.values<number>(idleMs).reduce((a, b) => a + b, 0)).toBe(endedMs - startedMs);
    const shares = [report.total.trainer, ...report.total.servers].map((use) => idleShare(use) ?? 0);
    expect(report.bubble).toBeCloseTo(shares.reduce((a, b) => a + b, 0) / shares.length, 12);
  });

  it('leaves the hour out in which the run was stopped, and calls what follows a start', () => {
    const windows = windowsOf(report.log.entries);
    expect(report.wallMs).toBe(lengthOf(windows));
    expect((report.endedMs ?? 0) - (report.startedMs ?? 0) - report.wallMs).toBeGreaterThanOrEqual(3_600_000);
    expect(report.uses[35]?.servers[0]?.idleMs.starting).toBe(2_000);
    expect(report.uses[34]?.servers[0]?.idleMs.starting).toBe(0);
  });

  it('tells a pause by a person from a bubble', () => {
    const paused = report.uses.filter(({ trainer }) => trainer.idleMs.paused > 0).map(({ step }) => step);
    expect(paused).toEqual([20]);
    expect(report.uses[19]?.trainer.idleMs.paused).toBeGreaterThan(14_000);
  });

  it('says which steps are not final: those in whose time groups ran that have no fate yet', () => {
    const open = made.steps.at(-1)?.timeline.open ?? [];
    expect(open.length).toBeGreaterThan(0);
    const oldestMs = Math.min(...open.map(({ dispatchedMs }) => dispatchedMs));
    const last = report.uses.filter(({ endedMs }) => endedMs > oldestMs).map(({ step }) => step);
    const provisional = report.uses.filter(({ settled }) => !settled).map(({ step }) => step);
    expect(provisional.filter((step) => step > 50)).toEqual(last);
    // groups that the stop after step 35 took with it, too
    expect(provisional.some((step) => step <= 35 && step > 30)).toBe(true);
    expect(provisional.every((step) => step > 50 || (step <= 35 && step > 30))).toBe(true);
  });

  it('counts tokens, fates and verdicts as the timeline has them', () => {
    const groups = made.steps.flatMap(({ timeline }) => timeline.groups);
    const tokens = groups.reduce((sum, { sampledTokens }) => sum + sampledTokens, 0);
    const dropped = groups
      .filter(({ fate }) => fate !== 'trained')
      .reduce((sum, { sampledTokens }) => sum + sampledTokens, 0);
    expect(report.figures.tokens_wasted).toBeCloseTo(dropped / tokens, 12);
    expect(report.fates.reduce((sum, row) => sum + row.groups, 0)).toBe(groups.length);
    expect(report.fates[0]).toMatchObject({ fate: 'trained', groups: STEPS * made.options.groupsPerStep });
    expect(report.figures.executed).toBe(groups.reduce((sum, { executed = 0 }) => sum + executed, 0));
    expect(report.figures.staleness_max).toBeLessThanOrEqual(made.options.maxStaleness);
    expect(report.ends.map(({ end }) => end)).toEqual(['finished', 'max_turns', 'infra']);
  });

  it('averages the first and the last ten steps, and no more than twenty for the moving mean', () => {
    const rewards = made.steps.map(({ step }) => step.reward);
    const mean = (some: readonly number[]): number => some.reduce((a, b) => a + b, 0) / some.length;
    expect(report.figures.reward_first).toBeCloseTo(mean(rewards.slice(0, 10)), 12);
    expect(report.figures.reward_last).toBeCloseTo(mean(rewards.slice(-10)), 12);
    expect(report.steps[4]?.movingReward).toBeCloseTo(mean(rewards.slice(0, 5)), 12);
    expect(report.steps.at(-1)?.movingReward).toBeCloseTo(mean(rewards.slice(-20)), 12);
    expect(report.heldOut.map(({ step }) => step)).toEqual([10, 20, 30, 40, 50, 60]);
  });

  it('shows that dropping stale groups drops the long ones', async () => {
    const [how, run] = await makeIn('stale', { steps: 8, options: { stale: 'drop', maxStaleness: 0 } });
    const { fates, log, options, state, note } = await reportOf(how, run);
    const lengthOfFate = (wanted: string): number =>
      fates.find(({ fate }) => fate === wanted)?.tokensPerEpisode ?? 0;
    expect(log.entries.every(({ step }) => step.staleness.max === 0)).toBe(true);
    expect(lengthOfFate('stale')).toBeGreaterThan(lengthOfFate('trained'));
    const path = await writeRlReport({ ...how, stateDir: dir, manifest: run.manifest, options, state, note });
    const text = await readFile(path, 'utf8');
    expect(text).toContain('Length bias');
    expect(text).toContain('what is trained is shorter than what was sampled');
  });

  it('names steps without a record on the page, draws a gap and leaves their time to nobody', async () => {
    const [how, run] = await makeIn('gaps', { steps: 12 });
    for (const step of [5, 6]) await how.records.remove(recordNames.rlStep('gaps', step));
    const gappy = await reportOf(how, run);
    expect(gappy.missing).toEqual([5, 6]);
    const path = await writeRlReport({
      ...how,
      stateDir: dir,
      manifest: run.manifest,
      options: run.options,
      state: 'done',
      note: '',
    });
    expect(await readFile(path, 'utf8')).toContain('There is no record of steps 5 to 6');
    const window = gappy.uses.find(({ step }) => step === 7);
    expect(window?.startedMs).toBe(run.steps[6]?.timeline.sinceMs);
    expect(JSON.parse(await readFile(join(dir, 'rl', 'gaps', 'figures.json'), 'utf8'))).toMatchObject({
      steps: 12,
      missing_steps: [5, 6],
    });
  });

  it('is written for a run that has taken no step', async () => {
    const [how, run] = await makeIn('empty', { steps: 0 });
    const request = { ...how, stateDir: dir, manifest: run.manifest, options: run.options, state: 'stopped' };
    const text = await readFile(
      await writeRlReport({ ...request, note: 'the trainer is not there' }),
      'utf8',
    );
    expect(text).toContain('the trainer is not there');
    expect(text).not.toContain('NaN');
    expect(text).not.toContain('Infinity');
  });

  it('escapes what models, tests and errors said, in every file, and numbers are numbers', async () => {
    const hostile = `</pre></title><script>window.attacked = true</script><img src=x onerror="window.attacked = true">`;
    const [how, run] = await makeIn('hostile', { steps: 6, text: hostile, incidents: true });
    const path = await writeRlReport({
      ...how,
      stateDir: dir,
      manifest: run.manifest,
      options: run.options,
      state: 'stuck',
      note: hostile,
    });
    const pages = join(path, '..', 'trajectories');
    const files = [path, ...(await readdir(pages)).map((name) => join(pages, name))];
    expect(files.length).toBeGreaterThan(6);
    for (const file of files) {
      const text = await readFile(file, 'utf8');
      expect(text).not.toContain('<script');
      expect(text).not.toContain('<img');
      expect(text).toContain('&lt;script&gt;window.attacked');
      expect(text).not.toMatch(/NaN|undefined/);
    }
  });
});

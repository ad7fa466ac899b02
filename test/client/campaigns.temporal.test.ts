import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  campaignStatus,
  startCampaign,
  stopCampaign,
  waitForCampaign,
  type CampaignContext,
  type CampaignRequest,
} from '../../src/client/campaigns.ts';
import { scopedWorkflowId } from '../../src/domain/messages.ts';
import { workflowIds } from '../../src/domain/ids.ts';
import { recordNames } from '../../src/domain/records.ts';
import { createFsRecordStore } from '../../src/store/fs.ts';
import { eventually as within } from '../support/eventually.ts';
import { createGate } from '../support/gate.ts';
import { temporalEnvironment } from '../support/temporal.ts';
import { ids, withBench, type Bench } from '../support/workflowBench.ts';

let env: TestWorkflowEnvironment;
let dir: string;
beforeAll(async () => {
  env = await temporalEnvironment();
  dir = await mkdtemp(join(tmpdir(), 'rf-client-'));
});
afterAll(async () => {
  await env.teardown();
  await rm(dir, { recursive: true, force: true });
});

const eventually = (what: string, attempt: () => Promise<boolean> | boolean): Promise<unknown> =>
  within(what, attempt, { timeoutMs: 40_000 });

const contextOf = (bench: Bench): CampaignContext => ({
  client: env.client,
  queuePrefix: bench.prefix,
  records: createFsRecordStore(join(dir, bench.prefix)),
});

/** One instance at a time: what a cap admits does then not depend on what ends first. */
const request = (changes: Partial<CampaignRequest> = {}): CampaignRequest => ({
  name: 'camp',
  sources: [{ pypi: 'alpha' }],
  ...changes,
  options: { width: 1, reconcileMs: 2_000, ...changes.options },
});

const publishedIds = (bench: Bench): readonly unknown[] =>
  bench.of('publishInstance').map((call) => call.request['instanceId']);

const runIdOf = async (bench: Bench, name: string): Promise<string> =>
  (await env.client.workflow.getHandle(scopedWorkflowId(bench.prefix, workflowIds.campaign(name))).describe())
    .runId;

const gated = () => {
  const gate = createGate();
  return {
    gate,
    before: (call: { activity: string; request: Record<string, unknown> }) =>
      call.activity === 'labelInstance' ? gate.pass(String(call.request['instanceId'])) : undefined,
  };
};

describe('starting a campaign under a name that is in use', () => {
  it('attaches to it while it runs, also when both start at once, and hands the result to both', async () => {
    const { gate, before } = gated();
    await withBench(env, 'attach', { candidates: { 'pypi:alpha': ids('a', 1) }, before }, async (bench) => {
      const context = contextOf(bench);
      const both = await Promise.all([startCampaign(context, request()), startCampaign(context, request())]);
      await eventually('one at the gate', () => gate.waiting().length === 1);
      const runId = await runIdOf(bench, 'camp');
      expect(await startCampaign(context, request())).toEqual({ ...both[0], how: 'attached' });
      expect(await runIdOf(bench, 'camp')).toBe(runId);
      gate.openAll();
      const results = await Promise.all(both.map(({ name }) => waitForCampaign(context, name)));
      expect(results[0]).toMatchObject({ state: 'done', published: 1 });
      expect(results[1]).toEqual(results[0]);
      expect(publishedIds(bench)).toEqual(['a-00']);
    });
  });

  it('finds a finished one finished: no new run, no activity, the same result, whatever the width', async () => {
    await withBench(env, 'finished', { candidates: { 'pypi:alpha': ids('a', 1) } }, async (bench) => {
      const context = contextOf(bench);
      expect(await startCampaign(context, request())).toMatchObject({ name: 'camp', how: 'started' });
      const result = await waitForCampaign(context, 'camp');
      const [runId, calls] = [await runIdOf(bench, 'camp'), bench.calls.length];
      expect(await startCampaign(context, request({ options: { width: 5 } }))).toMatchObject({
        name: 'camp',
        how: 'finished',
      });
      expect(await waitForCampaign(context, 'camp')).toEqual(result);
      expect(await campaignStatus(context, 'camp')).toMatchObject({ status: 'COMPLETED', result });
      expect([await runIdOf(bench, 'camp'), bench.calls.length]).toEqual([runId, calls]);
    });
  });

  it('is refused in one sentence with other sources or options, and leaves what is there alone', async () => {
    const plan = { candidates: { 'pypi:alpha': ids('a', 1) }, unresolved: () => true };
    await withBench(env, 'other', plan, async (bench) => {
      const context = contextOf(bench);
      await startCampaign(context, request());
      await waitForCampaign(context, 'camp');
      const [runId, recorded] = [
        await runIdOf(bench, 'camp'),
        await context.records.read(recordNames.campaignInput('camp')),
      ];
      const sentence =
        'Campaign "camp" was started with other sources or options; give another name, or start it fresh.';
      for (const other of [
        request({ sources: [{ pypi: 'beta' }] }),
        request({ sources: [{ pypi: 'alpha', maxCandidates: 1 }] }),
        request({ options: { maxPatchBytes: 1_024 } }),
      ])
        await expect(startCampaign(context, other)).rejects.toMatchObject({
          message: sentence,
          type: 'BadInput',
        });
      expect(await runIdOf(bench, 'camp')).toBe(runId);
      expect(await context.records.read(recordNames.campaignInput('camp'))).toEqual(recorded);
    });
  });

  it('takes the next free name when fresh, and touches nothing of the first', async () => {
    const candidates = { 'pypi:alpha': ids('a', 1), 'pypi:beta': ids('b', 1) };
    await withBench(env, 'fresh', { candidates, unresolved: () => true }, async (bench) => {
      const context = contextOf(bench);
      // fresh with nothing there is the name itself
      expect(await startCampaign(context, request({ fresh: true }))).toMatchObject({
        name: 'camp',
        how: 'started',
      });
      const result = await waitForCampaign(context, 'camp');
      const [runId, recorded] = [
        await runIdOf(bench, 'camp'),
        await context.records.read(recordNames.campaignInput('camp')),
      ];
      const other = request({ sources: [{ pypi: 'beta' }], fresh: true });
      for (const name of ['camp-2', 'camp-3']) {
        expect(await startCampaign(context, other)).toMatchObject({ name, how: 'started' });
        expect(await waitForCampaign(context, name)).toMatchObject({ name, state: 'done' });
      }
      expect(await waitForCampaign(context, 'camp')).toEqual(result);
      expect(await runIdOf(bench, 'camp')).toBe(runId);
      expect(await context.records.read(recordNames.campaignInput('camp'))).toEqual(recorded);
      expect(await context.records.list('campaigns')).toEqual(
        ['camp', 'camp-2', 'camp-3'].map(recordNames.campaignInput).toSorted(),
      );
    });
  });
});

describe('starting a campaign again', () => {
  it('goes on where it was stopped, without doing what is done', async () => {
    const { gate, before } = gated();
    await withBench(env, 'stopped', { candidates: { 'pypi:alpha': ids('a', 2) }, before }, async (bench) => {
      const context = contextOf(bench);
      await startCampaign(context, request());
      await eventually('the first at the gate', () => gate.waiting().includes('a-00'));
      await stopCampaign(context, 'camp', 'finish');
      gate.openAll();
      expect(await waitForCampaign(context, 'camp')).toMatchObject({ state: 'stopped', published: 1 });
      expect(await startCampaign(context, request())).toMatchObject({ name: 'camp', how: 'resumed' });
      expect(await waitForCampaign(context, 'camp')).toMatchObject({
        state: 'done',
        published: 2,
        counts: { mined: 2, accepted: 2 },
      });
      expect(publishedIds(bench)).toEqual(['a-00', 'a-01']);
    });
  });

  it('goes on after it was terminated', async () => {
    const { gate, before } = gated();
    const plan = { candidates: { 'pypi:alpha': ids('a', 1) }, before };
    await withBench(env, 'terminated', plan, async (bench) => {
      const context = contextOf(bench);
      const { workflowId } = await startCampaign(context, request());
      await eventually('the first at the gate', () => gate.waiting().includes('a-00'));
      await env.client.workflow.getHandle(workflowId).terminate('by hand');
      gate.openAll();
      await eventually('the abandoned instance ended', () => bench.results.has('a-00'));
      expect(await startCampaign(context, request())).toMatchObject({ how: 'resumed' });
      expect(await waitForCampaign(context, 'camp')).toMatchObject({ state: 'done', published: 1 });
      expect(publishedIds(bench)).toEqual(['a-00']);
    });
  });

  it('goes on from a finished one when its cap is raised, and is then finished under the new cap', async () => {
    await withBench(env, 'cap', { candidates: { 'pypi:alpha': ids('a', 3) } }, async (bench) => {
      const context = contextOf(bench);
      const capped = (maxInstances: number) => request({ options: { maxInstances } });
      await startCampaign(context, capped(1));
      expect(await waitForCampaign(context, 'camp')).toMatchObject({ state: 'done', published: 1 });
      expect(await startCampaign(context, capped(1))).toMatchObject({ how: 'finished' });
      expect(await startCampaign(context, capped(2))).toMatchObject({ name: 'camp', how: 'resumed' });
      expect(await waitForCampaign(context, 'camp')).toMatchObject({
        state: 'done',
        published: 2,
        counts: { accepted: 2 },
      });
      expect(publishedIds(bench)).toEqual(['a-00', 'a-01']);
      expect(await startCampaign(context, capped(2))).toMatchObject({ how: 'finished' });
    });
  });
});

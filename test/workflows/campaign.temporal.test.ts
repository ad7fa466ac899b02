import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CampaignProgress } from '../../src/domain/campaign.ts';
import { eventually as within } from '../support/eventually.ts';
import { createGate } from '../support/gate.ts';
import { temporalEnvironment } from '../support/temporal.ts';
import { ids, withBench } from '../support/workflowBench.ts';
import type { Bench } from '../support/workflowBench.ts';

let env: TestWorkflowEnvironment;
beforeAll(async () => {
  env = await temporalEnvironment();
});
afterAll(() => env.teardown());

/** Two cores may be shared with containers: generous, since it is the bound and not the wait. */
const eventually = (what: string, attempt: () => Promise<boolean> | boolean): Promise<unknown> =>
  within(what, attempt, { timeoutMs: 40_000 });

const progressOf = (handle: Awaited<ReturnType<Bench['start']>>): Promise<CampaignProgress> =>
  handle.query<CampaignProgress>('progress');

/** Only the labelling holds an instance: everything before it is over at once. */
const gateAt = (activity: string) => {
  const gate = createGate();
  return {
    gate,
    before: (call: { activity: string; request: Record<string, unknown> }) =>
      call.activity === activity ? gate.pass(String(call.request['instanceId'])) : undefined,
  };
};

test('A campaign publishes every candidate that validates and counts each rejection under its reason', async () => {
  const plan = {
    candidates: { 'pypi:alpha': ['a-0', 'a-1!too_large', 'a-2', 'a-3'], 'pypi:beta': ['b-0'] },
    rejected: (id: string) =>
      id === 'a-2' ? { reason: 'no_fail_to_pass' as const, detail: 'nothing fails' } : undefined,
  };
  await withBench(env, 'funnel', plan, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }, { pypi: 'beta' }]));
    expect(await handle.result()).toMatchObject({
      state: 'done',
      published: 3,
      counts: { mined: 5, accepted: 3, rejected: { too_large: 1, no_fail_to_pass: 1 } },
    });
    expect((await progressOf(handle)).running).toEqual([]);
  });
});

test('The window stays full and never over-full, follows a resize, and holds still while paused', async () => {
  const { gate, before } = gateAt('resolveEnvironment');
  const plan = { candidates: { 'pypi:alpha': ids('a', 12) }, before, unresolved: () => true };
  await withBench(env, 'window', plan, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }], { width: 3 }));
    await eventually('three instances at the gate', () => gate.waiting().length === 3);
    expect((await progressOf(handle)).running).toEqual(['a-00', 'a-01', 'a-02']);

    gate.open('a-01');
    await eventually('a fourth takes the free place', () => gate.waiting().includes('a-03'));
    expect((await progressOf(handle)).running).toEqual(['a-00', 'a-02', 'a-03']);

    await handle.executeUpdate('resize', { args: [{ width: 5 }] });
    await eventually('five at the gate', () => gate.waiting().length === 5);

    await handle.executeUpdate('pause');
    gate.open('a-00');
    await eventually(
      'two have ended',
      async () => (await progressOf(handle)).counts.rejected.no_runtime === 2,
    );
    expect(await progressOf(handle)).toMatchObject({ state: 'paused', width: 5 });
    expect((await progressOf(handle)).running).toHaveLength(4);

    await handle.executeUpdate('resume');
    await eventually('full again', async () => (await progressOf(handle)).running.length === 5);
    gate.openAll();
    expect(await handle.result()).toMatchObject({ counts: { rejected: { no_runtime: 12 } } });
  });
});

test('A resize to nothing, and to more than a workflow may hold, is refused with a sentence', async () => {
  const { gate, before } = gateAt('labelInstance');
  await withBench(env, 'refuse', { candidates: { 'pypi:alpha': ['a-0'] }, before }, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }]));
    for (const width of [0, 501, 2.5])
      await expect(handle.executeUpdate('resize', { args: [{ width }] })).rejects.toMatchObject({
        cause: { message: expect.stringContaining('whole number from 1 to 500') },
      });
    gate.openAll();
    await handle.result();
  });
});

test('A stop cancels what is running, ends with what is published, and a new run publishes the rest', async () => {
  const { gate, before } = gateAt('labelInstance');
  await withBench(env, 'stop', { candidates: { 'pypi:alpha': ids('a', 6) }, before }, async (bench) => {
    const input = bench.input([{ pypi: 'alpha' }], { width: 2 });
    const handle = await bench.start(input);
    gate.open('a-00');
    await eventually('one is published', async () => (await progressOf(handle)).counts.accepted === 1);
    await handle.executeUpdate('stop', { args: [{ running: 'cancel' }] });
    gate.openAll(); // a stub does not hear of its cancellation; a real activity does
    expect(await handle.result()).toMatchObject({ state: 'stopped' });
    const publishedBefore = bench.results.size;
    expect(publishedBefore).toBeLessThan(6);

    const again = await bench.start(input);
    expect(await again.result()).toMatchObject({ state: 'done', published: 6, counts: { accepted: 6 } });
    const published = bench.of('publishInstance').map(({ request }) => request['instanceId']);
    expect(new Set(published).size).toBe(published.length); // nothing was done twice
  });
});

test('A child that was terminated from outside is found and counted, and the campaign goes on', async () => {
  const { gate, before } = gateAt('labelInstance');
  await withBench(env, 'lost', { candidates: { 'pypi:alpha': ids('a', 3) }, before }, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }], { width: 2, reconcileMs: 300 }));
    await eventually('two at the gate', () => gate.waiting().length === 2);
    await env.client.workflow.getHandle(bench.instanceId('a-00')).terminate('by hand');
    gate.openAll();
    expect(await handle.result()).toMatchObject({
      published: 2,
      counts: { accepted: 2, rejected: { infra: 1 } },
    });
  });
});

test('An end that is reported twice, and one that nobody asked for, are counted once and not at all', async () => {
  const { gate, before } = gateAt('labelInstance');
  await withBench(env, 'twice', { candidates: { 'pypi:alpha': ids('a', 3) }, before }, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }], { width: 2 }));
    await eventually('two at the gate', () => gate.waiting().length === 2);
    gate.open('a-00');
    await eventually('one is counted', async () => (await progressOf(handle)).counts.accepted === 1);
    const result = { outcome: 'published', row: 'r', evidence: 'e', containerRuns: 7 };
    await handle.signal('instanceDone', { instanceId: 'a-00', result });
    await handle.signal('instanceDone', { instanceId: 'somebody-else', result });
    expect((await progressOf(handle)).counts.accepted).toBe(1);
    gate.openAll();
    expect(await handle.result()).toMatchObject({ counts: { accepted: 3 } });
  });
});

test('A campaign that continues as new every few children loses and repeats none, whatever is signalled meanwhile', async () => {
  const plan = {
    candidates: { 'pypi:alpha': ids('a', 12), 'pypi:beta': ids('b', 12) },
    unresolved: () => true,
  };
  await withBench(env, 'pages', plan, async (bench) => {
    const input = bench.input([{ pypi: 'alpha' }, { pypi: 'beta' }], { width: 4, pageSize: 4 });
    const handle = await bench.start(input);
    const current = env.client.workflow.getHandle(handle.workflowId); // without a run id: whichever run is there
    let ended = false;
    const noise = (async () => {
      while (!ended) {
        await current.signal('instanceDone', { instanceId: 'noise', result: {} }).catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    })();
    const result = await handle.result();
    ended = true;
    await noise;
    expect(result).toMatchObject({ counts: { mined: 24, rejected: { no_runtime: 24 } } });
    expect((await current.query<CampaignProgress>('progress')).runNumber).toBeGreaterThanOrEqual(5);
    const started = bench.of('resolveEnvironment').map(({ request }) => request['instanceId']);
    expect(started).toHaveLength(24);
    expect(new Set(started).size).toBe(24);
  });
});

test('A cap takes the first that validate in source order, even when later ones are done first, and waits for no surplus', async () => {
  const { gate, before } = gateAt('proveCanaries');
  const plan = {
    candidates: { 'pypi:alpha': ids('a', 8), 'pypi:beta': ids('b', 8) },
    before,
    rejected: (id: string) =>
      id.endsWith('-00') ? { reason: 'no_fail_to_pass' as const, detail: 'nothing fails' } : undefined,
  };
  await withBench(env, 'caps', plan, async (bench) => {
    const sources = [{ pypi: 'alpha', maxInstances: 2 }, { pypi: 'beta' }];
    const handle = await bench.start(bench.input(sources, { width: 6, maxInstances: 4 }));
    const needed = ['a-01', 'b-01', 'a-02', 'b-02']; // the first four that validate
    await eventually('the window is full of what is needed and of what may be', () =>
      [...needed, 'a-03', 'b-03'].every((id) => gate.waiting().includes(id)),
    );
    // whatever comes later is let through before what comes earlier
    await eventually('the latest is published', () => {
      gate.open('b-03');
      return bench.results.get('b-03')?.outcome === 'published';
    });
    for (const id of needed.toReversed()) gate.open(id);
    await eventually('a-03 is asked to end', async () => {
      const { events } = await env.client.workflow.getHandle(bench.instanceId('a-03')).fetchHistory();
      return events?.some((event) => Boolean(event.workflowExecutionCancelRequestedEventAttributes)) === true;
    });
    gate.openAll(); // a stub does not hear of its cancellation; a real activity does
    expect(await handle.result()).toMatchObject({ state: 'done' });
    const validated = [...bench.results].flatMap(([id, { outcome }]) =>
      outcome === 'published' ? [id] : [],
    );
    expect(validated.toSorted()).toEqual(['a-01', 'a-02', 'b-01', 'b-02', 'b-03']);
  });
});

test('An unknown package is named in the result and the other sources go on; alone it fails the campaign', async () => {
  await withBench(env, 'unknown', { candidates: { 'pypi:alpha': ['a-0'] } }, async (bench) => {
    const both = await bench.start(bench.input([{ pypi: 'alpha' }, { pypi: 'nonesuch' }]));
    expect(await both.result()).toMatchObject({
      published: 1,
      failedSources: [{ label: 'pypi:nonesuch', reason: 'No package pypi:nonesuch.' }],
    });
    const alone = await bench.start(bench.input([{ pypi: 'nonesuch' }]));
    await expect(alone.result()).rejects.toMatchObject({
      cause: { message: 'pypi:nonesuch: No package pypi:nonesuch.' },
    });
  });
});

test('Infrastructure that fails for good rejects one instance as infra, and the campaign goes on', async () => {
  const plan = {
    candidates: { 'pypi:alpha': ids('a', 3) },
    before: ({ activity, request }: { activity: string; request: Record<string, unknown> }) => {
      if (activity === 'runTests' && request['instanceId'] === 'a-01')
        throw ApplicationFailure.nonRetryable('the daemon is gone', 'Infra');
    },
  };
  await withBench(env, 'infra', plan, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }]));
    expect(await handle.result()).toMatchObject({
      published: 2,
      counts: { accepted: 2, rejected: { infra: 1 } },
    });
    expect(bench.results.has('a-01')).toBe(false); // not recorded: it is tried again when the campaign is resumed
  });
});

test('Infrastructure that comes back costs nothing but the wait', async () => {
  let failures = 0;
  const plan = {
    candidates: { 'pypi:alpha': ['a-0'] },
    before: ({ activity }: { activity: string }) => {
      if (activity === 'runTests' && failures++ < 2) throw ApplicationFailure.retryable('not yet', 'Infra');
    },
  };
  await withBench(env, 'patient', plan, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }]));
    expect(await handle.result()).toMatchObject({ published: 1, counts: { rejected: {} } });
  });
});

test('A campaign with a wrong input fails at once with one sentence', async () => {
  await withBench(env, 'wrong', { candidates: {} }, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }, { pypi: 'alpha' }]));
    await expect(handle.result()).rejects.toMatchObject({
      cause: { message: 'The source pypi:alpha is named twice.' },
    });
  });
});

import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { createGate } from '../support/gate.ts';
import { temporalEnvironment } from '../support/temporal.ts';
import { ids, withBench } from '../support/workflowBench.ts';

let env: TestWorkflowEnvironment;
beforeAll(async () => {
  env = await temporalEnvironment();
});
afterAll(() => env.teardown());

const stageNames = (calls: readonly { activity: string; request: Record<string, unknown> }[]): string[] =>
  calls.flatMap(({ request }) => (typeof request['stage'] === 'string' ? [request['stage']] : []));

test('The prover of an environment goes through eight container runs in the order of the design', async () => {
  await withBench(env, 'stages', { candidates: { 'pypi:alpha': ['a-0'] } }, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }]));
    expect(await handle.result()).toMatchObject({ counts: { containerRuns: 8 } });
    const stages = stageNames(bench.calls).map((stage) => stage.replace(/\.quarter.*$/, ''));
    // the two runs of a later pair go side by side; their order says nothing
    const pairs = stages.map((stage) => stage.replace(/^(before|after)-(?=[23])/, 'pair-'));
    expect(pairs).toEqual([
      'resolve',
      'leaks',
      'health',
      'health-full',
      'compare',
      'scope',
      'before-1',
      'before',
      'after-1',
      'decide',
      'pair-2',
      'pair-2',
      'proof',
      'pair-3',
      'pair-3',
      'final',
      'label',
      'publish',
    ]);
    expect(new Set(stages).size).toBe(stages.length);
  });
});

test('A candidate whose tests all pass without gold costs no run with gold', async () => {
  const plan = {
    candidates: { 'pypi:alpha': ['a-0'] },
    rejectedBefore: () => ({ reason: 'no_fail_to_pass' as const, detail: 'nothing fails' }),
  };
  await withBench(env, 'before', plan, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }]));
    expect(await handle.result()).toMatchObject({
      counts: { containerRuns: 3, rejected: { no_fail_to_pass: 1 } },
    });
    expect(stageNames(bench.calls).filter((stage) => stage.startsWith('after'))).toEqual([]);
  });
});

test('The last runs plant what was drawn, gold is only in the after runs, and the pool is made once', async () => {
  await withBench(env, 'plans', { candidates: { 'pypi:alpha': ['a-0'] } }, async (bench) => {
    await (await bench.start(bench.input([{ pypi: 'alpha' }]))).result();
    const runs = new Map(
      bench
        .of('runTests')
        .map(({ request }) => [String(request['stage']).replace(/\.quarter.*$/, ''), request]),
    );
    expect(runs.get('health')).toMatchObject({ withTestPatch: false, gold: false, scope: null });
    expect(runs.get('after-1')).toMatchObject({ gold: true, makeCanaryPool: true, canaries: null });
    expect(runs.get('before-1')).toMatchObject({ gold: false, makeCanaryPool: false, canaries: null });
    const canaries = (name: string): unknown => runs.get(name)?.['canaries'];
    expect(canaries('before-2')).toBe(canaries('after-2'));
    expect(canaries('before-3')).not.toBe(canaries('after-3'));
  });
});

test('Many askers share one environment: it is realised once, proven once, and every one gets its answer', async () => {
  const gate = createGate();
  const plan = {
    candidates: { 'pypi:alpha': ids('a', 6) },
    before: ({ activity, request }: { activity: string; request: Record<string, unknown> }) =>
      activity === 'realiseEnvironment' && request['variant'] === 'pruned' ? gate.pass('realise') : undefined,
  };
  await withBench(env, 'askers', plan, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }]));
    await eventually('all six have asked', () => bench.of('askEnvironment').length === 6, {
      timeoutMs: 40_000,
    });
    gate.openAll();
    expect(await handle.result()).toMatchObject({ published: 6, counts: { containerRuns: 8 + 5 * 7 } });
    const realised = bench.of('realiseEnvironment').map(({ request }) => String(request['variant']));
    expect(realised.toSorted((a, b) => a.localeCompare(b))).toEqual(['full', 'pruned']);
  });
});

test('An environment that breaks under gold is tried again with a later cut-off, in records of its own', async () => {
  const plan = {
    candidates: { 'pypi:alpha': ['a-0'] },
    keyOf: (policy: string) => (policy === 'quarter' ? 'q'.repeat(64) : 'm'.repeat(64)),
    brokenKeys: ['q'.repeat(64)],
  };
  await withBench(env, 'cutoffs', plan, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }]));
    expect(await handle.result()).toMatchObject({ published: 1 });
    expect(bench.of('resolveEnvironment').map(({ request }) => request['policy'])).toEqual([
      'quarter',
      'month',
    ]);
    expect(stageNames(bench.of('publishInstance'))).toEqual(['publish.month.pruned']);
    // two of the attempt that gold broke, eight of the one that was published: all of them were spent on it
    expect(bench.of('publishInstance')[0]?.request['containerRuns']).toBe(10);
  });
});

test('A cut-off that gives the environment that has failed already is not tried again', async () => {
  const plan = { candidates: { 'pypi:alpha': ['a-0'] }, brokenKeys: ['k'.repeat(64)] };
  await withBench(env, 'samekey', plan, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }]));
    expect(await handle.result()).toMatchObject({
      published: 0,
      counts: { rejected: { broken_environment: 1 } },
    });
    expect(bench.of('resolveEnvironment')).toHaveLength(3);
    expect(bench.of('askEnvironment')).toHaveLength(1);
  });
});

test('When the pruned environment disagrees with the full one, the instance goes on in the full one', async () => {
  const plan = { candidates: { 'pypi:alpha': ['a-0'] }, disagree: true };
  await withBench(env, 'disagree', plan, async (bench) => {
    await (await bench.start(bench.input([{ pypi: 'alpha' }]))).result();
    const variants = bench.of('runTests').map(({ request }) => [request['stage'], request['variant']]);
    expect(variants.slice(2).every(([, variant]) => variant === 'full')).toBe(true);
    expect(bench.of('publishInstance')[0]?.request).toMatchObject({ variant: 'full', containerRuns: 8 });
  });
});

test('Once a key is proven to need the full variant, every later instance goes through it from the start', async () => {
  const plan = { candidates: { 'pypi:alpha': ['a-0', 'a-1'] }, provenFull: true };
  await withBench(env, 'proven', plan, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }], { width: 1 }));
    expect(await handle.result()).toMatchObject({ published: 2 });
    const variants = (id: string) =>
      new Set(
        bench
          .of('runTests')
          .filter(({ request }) => request['instanceId'] === id)
          .map(({ request }) => String(request['stage'])),
      );
    expect([...variants('a-0')].filter((stage) => stage.endsWith('.full'))).toEqual([
      'health-full.quarter.full',
    ]);
    expect([...variants('a-1')].every((stage) => stage.endsWith('.full'))).toBe(true);
  });
});

test('An instance whose campaign is gone still ends, with its result recorded', async () => {
  const gate = createGate();
  const plan = {
    candidates: { 'pypi:alpha': ['a-0'] },
    before: ({ activity }: { activity: string }) =>
      activity === 'labelInstance' ? gate.pass('label') : undefined,
  };
  await withBench(env, 'orphan', plan, async (bench) => {
    const handle = await bench.start(bench.input([{ pypi: 'alpha' }]));
    await eventually('it is labelled', () => gate.waiting().length === 1, { timeoutMs: 40_000 });
    await handle.terminate('by hand');
    gate.openAll();
    const child = env.client.workflow.getHandle(bench.instanceId('a-0'));
    expect(await child.result()).toMatchObject({ outcome: 'published' });
    expect(bench.results.get('a-0')).toMatchObject({ outcome: 'published' });
  });
});

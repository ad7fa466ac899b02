/**
 * Records histories of every workflow on stub activities into `test/histories/`, for the replay test.
 *
 * A history is a promise to campaigns that are running while the code changes: a file that is there is never recorded
 * again, least of all to make a failing replay pass. A change that must break replay belongs behind `patched()`, or is
 * made under a new queue version. New shapes of life get new files, named after what they guard.
 *
 *   node scripts/record-histories.ts
 */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ApplicationFailure } from '@temporalio/common';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import pino from 'pino';
import { FAILURE_TYPES } from '../src/domain/failures.ts';
import { workflowIds } from '../src/domain/ids.ts';
import { DEFAULT_CAMPAIGN_OPTIONS } from '../src/domain/campaign.ts';
import { QUEUE_ROLES, SEARCH_ATTRIBUTES, scopedWorkflowId, taskQueue } from '../src/domain/messages.ts';
import type { CampaignInput } from '../src/domain/campaign.ts';
import type { EvaluationInput, JanitorInput } from '../src/domain/messages.ts';
import type { RlInput } from '../src/domain/rl/messages.ts';
import { RL_PRESETS } from '../src/domain/rl/presets.ts';
import type { RolloutsInput } from '../src/domain/rl/rollouts.ts';
import { defaultCacheDir } from '../src/setup/state.ts';
import { findTemporalBinary } from '../src/setup/temporalBinary.ts';
import { bundleWorkflows } from '../src/workers/bundle.ts';
import { startWorkers } from '../src/workers/main.ts';
import { ensureSearchAttributes } from '../src/setup/temporalConnection.ts';
import { createEngines } from '../bench/rl/engines.ts';
import { stubRollout } from '../test/support/rolloutStubs.ts';
import { createStubs, fakeRef } from '../test/support/stubs.ts';
import type { StubPlan } from '../test/support/stubs.ts';

const ROOT = join(import.meta.dirname, '..', '/');
const FOLDER = join(ROOT, 'test', 'histories');
const say = (line: string): void => void process.stderr.write(`${line}\n`);

type Activities = Parameters<typeof startWorkers>[0]['activities'];
type ActivityOverrides = (stubs: ReturnType<typeof createStubs>['activities']) => Activities;

const { path } = await findTemporalBinary({ cacheDir: defaultCacheDir(), say });
const env = await TestWorkflowEnvironment.createLocal({
  server: { executable: { type: 'existing-path', path } },
});
await ensureSearchAttributes(env.connection, env.namespace ?? 'default');
say(`search attributes: ${Object.keys(SEARCH_ATTRIBUTES).join(', ')}`);
const bundle = await bundleWorkflows();
await mkdir(FOLDER, { recursive: true });

/** Runs `work` with workers on stub activities and queues of its own. */
async function withWorkers(
  prefix: string,
  plan: StubPlan,
  work: () => Promise<void>,
  overrides: ActivityOverrides = (stubs) => stubs,
): Promise<void> {
  const workers = await startWorkers({
    leases: null,
    roles: QUEUE_ROLES,
    connection: env.nativeConnection,
    place: { queuePrefix: prefix, namespace: 'default', sizing: { sandboxSlots: 8, miningPerSecond: null } },
    activities: overrides(createStubs(env, plan).activities),
    bundle,
    log: pino({ level: 'silent' }),
  });
  try {
    await work();
  } finally {
    await workers.stop();
  }
}

async function save(name: string, workflowId: string, runId?: string): Promise<void> {
  const file = join(FOLDER, `${name}.json`);
  if (existsSync(file)) return say(`kept     ${name}`);
  const history = await env.client.workflow.getHandle(workflowId, runId).fetchHistory();
  // stack traces name files of ours as seen from the repository, not from this machine
  const text = historyToJSON(history).replaceAll(`file://${ROOT}`, '').replaceAll(ROOT, '');
  await writeFile(file, `${text}\n`);
  say(`recorded ${name} (${history.events?.length ?? 0} events)`);
}

const campaignInput = (prefix: string, options: Partial<CampaignInput['options']> = {}): CampaignInput => ({
  name: 'camp',
  queuePrefix: prefix,
  sources: [{ pypi: 'alpha' }, { pypi: 'beta', maxInstances: 1 }],
  options: { ...DEFAULT_CAMPAIGN_OPTIONS, width: 2, ...options },
});

async function runCampaign(
  input: CampaignInput,
): Promise<{ readonly id: string; readonly firstRun: string }> {
  const id = scopedWorkflowId(input.queuePrefix, workflowIds.campaign(input.name));
  const handle = await env.client.workflow.start('campaign', {
    workflowId: id,
    taskQueue: taskQueue(input.queuePrefix, 'control'),
    args: [input],
  });
  await handle.executeUpdate('pause', { args: [] });
  await handle.executeUpdate('resize', { args: [{ width: 3 }] });
  await handle.executeUpdate('resume', { args: [] });
  await handle.result();
  return { id, firstRun: handle.firstExecutionRunId };
}

const instance = (prefix: string, id: string): string =>
  scopedWorkflowId(prefix, workflowIds.instance('camp', id));

const candidates = {
  'pypi:alpha': ['a-0', 'a-1!too_large', 'a-2', 'a-3'],
  'pypi:beta': ['b-0', 'b-1'],
};

const pages = 'histories-pages';
await withWorkers(
  pages,
  { candidates, rejected: (id) => (id === 'a-2' ? { reason: 'flaky', detail: 'it wavers' } : undefined) },
  async () => {
    const { id, firstRun } = await runCampaign(campaignInput(pages, { pageSize: 2 }));
    await save('campaign-continues-as-new', id, firstRun);
    await save('campaign-last-page-assembles', id);
    await save('instance-published-by-the-prover', instance(pages, 'a-0'));
    await save('instance-rejected-at-first-decision', instance(pages, 'a-2'));
    await save('environment-answers-many', scopedWorkflowId(pages, workflowIds.environment('k'.repeat(64))));
  },
);

const cutoffs = 'histories-cutoffs';
const plan: StubPlan = {
  candidates: { 'pypi:alpha': ['a-0'], 'pypi:beta': ['b-0'] },
  keyOf: (policy) => (policy === 'quarter' ? 'q' : 'm').repeat(64),
  brokenKeys: ['q'.repeat(64)],
  disagree: true,
};
await withWorkers(cutoffs, plan, async () => {
  await runCampaign(campaignInput(cutoffs));
  await save('instance-next-cutoff-and-full-variant', instance(cutoffs, 'a-0'));
});

const early = 'histories-early';
await withWorkers(
  early,
  {
    candidates,
    rejectedBefore: (id) => (id === 'a-0' ? { reason: 'no_fail_to_pass', detail: 'all pass' } : undefined),
  },
  async () => {
    const { id } = await runCampaign(campaignInput(early, { maxInstances: 2 }));
    await save('campaign-admits-ahead', id);
    await save('instance-rejected-before-gold', instance(early, 'a-0'));
    await save('instance-published-before-first', instance(early, 'b-0'));
  },
);

const evaluations = 'histories-evaluation';
await withWorkers(evaluations, { candidates: {} }, async () => {
  const input: EvaluationInput = {
    runId: 'run',
    queuePrefix: evaluations,
    manifest: fakeRef('manifest'),
    total: 7,
    width: 2,
    pageSize: 4,
  };
  const id = scopedWorkflowId(evaluations, workflowIds.evaluation('run'));
  const handle = await env.client.workflow.start('evaluation', {
    workflowId: id,
    taskQueue: taskQueue(evaluations, 'control'),
    args: [input],
  });
  await handle.result();
  await save('evaluation-first-page', id, handle.firstExecutionRunId);
  await save('evaluation-reports', id);
});

const janitors = 'histories-janitor';
const drifting: StubPlan = {
  candidates: {},
  sample: ['a-0', 'a-1', 'a-2'],
  goldVerdict: (id) => (id === 'a-1' ? 'unresolved' : 'resolved'),
  before: ({ activity, request }) => {
    if (activity === 'recheckGold' && request['instanceId'] === 'a-2')
      throw ApplicationFailure.nonRetryable('the daemon is gone', FAILURE_TYPES.infra);
  },
};
await withWorkers(janitors, drifting, async () => {
  const id = scopedWorkflowId(janitors, 'janitor');
  const input: JanitorInput = { queuePrefix: janitors, sample: 3 };
  const handle = await env.client.workflow.start('janitor', {
    workflowId: id,
    taskQueue: taskQueue(janitors, 'control'),
    args: [input],
  });
  await handle.result();
  await save('janitor-finds-drift', id);
});

const playing = 'histories-rollouts';
let lost = 0;
const losing: StubPlan = {
  candidates: {},
  before: ({ activity, request }) => {
    if (activity === 'actOnTurn' && request['turn'] === 1 && (lost += 1) === 1)
      throw ApplicationFailure.create({ message: 'the container is gone', type: FAILURE_TYPES.infra });
  },
};
await withWorkers(playing, losing, async () => {
  const coder = scopedWorkflowId(playing, workflowIds.rollout('run', 'p0', 1));
  const selector = scopedWorkflowId(playing, workflowIds.rollout('run', 'g000002', null));
  const input: RolloutsInput = {
    run: 'run',
    queuePrefix: playing,
    manifest: fakeRef('manifest'),
    servers: [],
    totals: { play: 3, select: 1 },
    width: 1,
    pageSize: 2,
  };
  const id = scopedWorkflowId(playing, workflowIds.rollouts('run'));
  const handle = await env.client.workflow.start('rollouts', {
    workflowId: id,
    taskQueue: taskQueue(playing, 'control'),
    args: [input],
  });
  await handle.result();
  await save('rollouts-first-page', id, handle.firstExecutionRunId);
  await save('rollouts-selects-and-reports', id);
  await save('rollout-opens-a-lost-workspace-again', coder);
  const group = {
    ...stubRollout(playing),
    group: 'g000002',
    agent: 'selector',
    members: [0, 1, 2, 3],
    parent: 'nobody',
  } as const;
  const one = await env.client.workflow.start('rollout', {
    workflowId: selector,
    taskQueue: taskQueue(playing, 'control'),
    args: [group],
  });
  await one.result();
  await save('rollout-selector-tells-its-parent', selector);
  const short = { ...group, agent: 'coder', members: [3], budget: { ...group.budget, maxTurns: 1 } } as const;
  const bounded = await env.client.workflow.start('rollout', {
    workflowId: scopedWorkflowId(playing, workflowIds.rollout('run', 'g000003', 3)),
    taskQueue: taskQueue(playing, 'control'),
    args: [short],
  });
  await bounded.result();
  await save('rollout-ends-by-its-turns', bounded.workflowId);
});

const learning = 'histories-rl';
const engines = createEngines({
  seed: 1,
  slots: 16,
  answerMs: 5,
  toolMs: 5,
  sigma: 1,
  turns: { min: 1, max: 3 },
  filtered: 0.25,
  trainMs: 300, // an Update comes in the midst of a step
  loadMs: 5,
});
const acts: ActivityOverrides = (stubs) => ({
  ...stubs,
  control: { ...stubs.control, ...engines.control },
  sandbox: { ...stubs.sandbox, ...engines.sandbox },
  host: engines.host,
  llm: { ...stubs.llm, ...engines.llm },
  trainer: engines.trainer,
});
await withWorkers(
  learning,
  { candidates: {} },
  async () => {
    const input: RlInput = {
      run: 'run',
      queuePrefix: learning,
      manifest: fakeRef('manifest'),
      promptCount: 3,
      heldOutCount: 1,
      options: {
        ...RL_PRESETS.tiny.options,
        steps: 5,
        stepsPerRun: 3,
        groupsPerStep: 2,
        groupSize: 4,
        width: 4,
        maxStaleness: 1,
        evaluateEvery: 2,
        lora: { rank: 8, alpha: 16 },
      },
      epoch: 0,
    };
    const id = scopedWorkflowId(learning, workflowIds.rl('run'));
    const handle = await env.client.workflow.start('rl', {
      workflowId: id,
      taskQueue: taskQueue(learning, 'control'),
      args: [input],
    });
    await handle.executeUpdate('pause', { args: [] });
    await handle.executeUpdate('resize', { args: [{ width: 3 }] });
    await handle.executeUpdate('setStaleness', { args: [{ maxStaleness: 2 }] });
    await handle.executeUpdate('resume', { args: [] });
    await handle.result();
    await save('rl-steered-continues-as-new', id, handle.firstExecutionRunId);
    await save('rl-takes-its-last-steps', id);
  },
  acts,
);
engines.stop();

await env.teardown();

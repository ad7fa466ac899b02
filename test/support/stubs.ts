import type { Client } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import type { PageEntry } from '../../src/activities/types.ts';
import type { InstanceResult } from '../../src/domain/messages.ts';
import type { SourceSpec } from '../../src/domain/sourceSpec.ts';
import { WORKFLOWS, scopedWorkflowId, SIGNALS, taskQueue } from '../../src/domain/messages.ts';
import { sourceLabel } from '../../src/domain/sourceSpec.ts';
import { workflowIds } from '../../src/domain/ids.ts';
import type { ArtefactRef, Rejection } from '../../src/domain/types.ts';
import type { RunSummary } from '../../src/domain/runs.ts';
import type { VerdictName } from '../../src/domain/verdicts.ts';
import type { ActivitiesByRole } from '../../src/workers/main.ts';
import { createRolloutStubs } from './rolloutStubs.ts';
import type { RolloutStubs } from './rolloutStubs.ts';

/** A made-up but well-formed ref, so that logs and histories stay readable. */
export const fakeRef = (text: string): ArtefactRef =>
  `sha256:${Buffer.from(text).toString('hex').padEnd(64, '0').slice(0, 64)}`;

export interface Call {
  readonly activity: string;
  readonly request: Record<string, unknown>;
}

export interface StubPlan {
  /** Candidate ids of each source, by label, in source order; `!reason` after an id rejects it when mined. */
  readonly candidates: Readonly<Record<string, readonly string[]>>;
  /** Ids per mined page. */
  readonly minePageSize?: number;
  /** Called before each activity does its (pretended) work: may wait, or throw. */
  readonly before?: (call: Call) => Promise<void> | void;
  /** Ids that have no runtime: the shortest life of an instance, for tests of the campaign alone. */
  readonly unresolved?: (id: string) => boolean;
  /** Environment key that a cut-off policy resolves to for an instance; one key for all by default. */
  readonly keyOf?: (policy: string, id: string) => string;
  /** Keys in which the base's tests are broken. */
  readonly brokenKeys?: readonly string[];
  /** The key's proof, made by another instance, asks for the full variant. */
  readonly provenFull?: boolean;
  /** The pruned and the full variant behave differently. */
  readonly disagree?: boolean;
  /** Ids that decideBefore rejects. */
  readonly rejectedBefore?: (id: string) => Rejection | undefined;
  /** Ids that decideFirst rejects. */
  readonly rejected?: (id: string) => Rejection | undefined;
  /** What gold of a published row comes to when the janitor runs it again. */
  readonly goldVerdict?: (id: string) => VerdictName;
  /** What rollouts' activities answer instead of the usual. */
  readonly rollout?: Partial<RolloutStubs>;
  /** Ids that the janitor's sample holds. */
  readonly sample?: readonly string[];
}

export interface Stubs {
  readonly activities: ActivitiesByRole;
  readonly calls: Call[];
  /** Calls of one activity, in order. */
  of(activity: string): readonly Call[];
  /** Results as the records would hold them; survives workers. */
  readonly results: Map<string, InstanceResult>;
}

/** Activities by hand: they record every call, keep results like the record store does, and fail on cue. */
export function createStubs(env: { readonly client: Client }, plan: StubPlan): Stubs {
  const calls: Call[] = [];
  const results = new Map<string, InstanceResult>();
  const provers = new Set<string>();
  const step = async (activity: string, request: object): Promise<void> => {
    const call = { activity, request: request as Record<string, unknown> };
    calls.push(call);
    await plan.before?.(call);
  };
  const summary = (name: string): RunSummary => ({
    record: fakeRef(name),
    outcome: 'completed',
    passed: 1,
    failed: 0,
    totalMs: 1,
  });
  const minePage = pageOf(plan, results);
  const rollouts = createRolloutStubs(step, plan.rollout);
  const activities: ActivitiesByRole = {
    mining: {
      async minePage(request) {
        await step('minePage', request);
        return minePage(request.source, request.page);
      },
    },
    sandbox: {
      async resolveEnvironment(request) {
        await step('resolveEnvironment', request);
        if (plan.unresolved?.(request.instanceId) === true)
          return { ok: false, rejection: { reason: 'no_runtime', detail: 'no runtime of its time' } };
        return {
          ok: true,
          key: plan.keyOf?.(request.policy, request.instanceId) ?? 'k'.repeat(64),
          spec: fakeRef('spec'),
          cutoff: '2024-01-01T00:00:00Z',
          durationMs: 1,
        };
      },
      async realiseEnvironment(request) {
        await step('realiseEnvironment', request);
        return {
          ok: true,
          key: request.key,
          served: false,
          durationMs: 1,
          fullBytes: 2,
          prunedBytes: 1,
          copiedFiles: 0,
        };
      },
      async checkLeaks(request) {
        await step('checkLeaks', request);
        return { rejection: null };
      },
      async runTests(request) {
        await step('runTests', request);
        return summary(request.stage);
      },
      async evaluatePrediction(request) {
        await step('evaluatePrediction', request);
        return { origin: request.index % 2 === 1 ? 'served' : 'executed', verdict: 'resolved' };
      },
      async sweepLeft() {
        await step('sweepLeft', {});
        return { containers: 1, files: 2, bytes: 3 };
      },
      async recheckGold(request) {
        await step('recheckGold', request);
        return { verdict: plan.goldVerdict?.(request.instanceId) ?? 'resolved' };
      },
      openEpisode: (request) => rollouts.openEpisode(request),
      gradeRollout: (request) => rollouts.gradeRollout(request),
    },
    host: {
      actOnTurn: (request) => rollouts.actOnTurn(request),
      closeEpisode: (request) => rollouts.closeEpisode(request),
    },
    llm: {
      sampleTurn: (request) => rollouts.sampleTurn(request),
      async labelInstance(request) {
        await step('labelInstance', request);
        return { labels: fakeRef('labels') };
      },
    },
    trainer: {
      openTraining: noTraining,
      trainStep: noTraining,
      publishVersion: noTraining,
      deployVersion: noTraining,
      retireVersions: noTraining,
    },
    control: {
      readRollouts: (request) => rollouts.readRollouts(request),
      writeRollouts: (request) => rollouts.writeRollouts(request),
      readPrompts: noTraining,
      describeRollouts: noTraining,
      formBatch: noTraining,
      recordStep: noTraining,
      recordHeldOut: noTraining,
      writeRlReport: noTraining,
      async samplePublished(request) {
        await step('samplePublished', request);
        return (plan.sample ?? []).slice(0, request.count).map((instanceId) => ({
          campaign: 'camp',
          instanceId,
          row: fakeRef(instanceId),
          provenCanaries: null,
        }));
      },
      async askEnvironment(request) {
        await step('askEnvironment', request);
        await env.client.workflow.signalWithStart(WORKFLOWS.environment, {
          workflowId: scopedWorkflowId(request.queuePrefix, workflowIds.environment(request.key)),
          taskQueue: taskQueue(request.queuePrefix, 'control'),
          args: [{ key: request.key, spec: request.spec, queuePrefix: request.queuePrefix, lingerMs: 2_000 }],
          signal: SIGNALS.askEnvironment,
          signalArgs: [{ asker: request.asker }],
        });
        const prover = !provers.has(request.key);
        provers.add(request.key);
        return { prover, variant: plan.provenFull === true && !prover ? 'full' : 'pruned' };
      },
      async compareHealth(request) {
        await step('compareHealth', request);
        return { agree: plan.disagree !== true, detail: '' };
      },
      async planScope(request) {
        await step('planScope', request);
        if (plan.brokenKeys?.includes(lastKeyOf(calls, request.instanceId)) === true)
          return {
            ok: false,
            rejection: { reason: 'broken_environment', detail: 'nothing passes' },
            tryNextCutoff: true,
          };
        return { ok: true, scope: fakeRef('scope'), files: 1 };
      },
      async decideBefore(request) {
        await step('decideBefore', request);
        const rejection = plan.rejectedBefore?.(request.instanceId);
        return rejection === undefined ? { ok: true } : { ok: false, rejection, tryNextCutoff: false };
      },
      async decideFirst(request) {
        await step('decideFirst', request);
        const rejection = plan.rejected?.(request.instanceId);
        return rejection === undefined
          ? { ok: true, failToPass: 1, pool: fakeRef('pool') }
          : { ok: false, rejection, tryNextCutoff: false };
      },
      async proveCanaries(request) {
        await step('proveCanaries', request);
        return { proven: fakeRef('proven'), before: fakeRef('draw1'), after: fakeRef('draw2') };
      },
      async decideFinal(request) {
        await step('decideFinal', request);
        return { ok: true, lists: fakeRef('lists'), gold: 'resolved', nop: 'unresolved' };
      },
      async publishInstance(request) {
        await step('publishInstance', request);
        const result: InstanceResult = {
          outcome: 'published',
          row: fakeRef('row'),
          evidence: fakeRef('evidence'),
          containerRuns: request.containerRuns,
        };
        results.set(request.instanceId, result);
        return result;
      },
      async recordRejection(request) {
        await step('recordRejection', request);
        const { rejection, at: stage, containerRuns } = request;
        const result: InstanceResult = { outcome: 'rejected', rejection, stage, containerRuns };
        results.set(request.instanceId, result);
        return result;
      },
      async describeInstances(request) {
        await step('describeInstances', request);
        return Promise.all(
          request.ids.map(async (id) => {
            const workflowId = scopedWorkflowId(
              request.queuePrefix,
              workflowIds.instance(request.campaign, id),
            );
            const { status } = await env.client.workflow.getHandle(workflowId).describe();
            return { id, alive: status.name === 'RUNNING', result: results.get(id) ?? null };
          }),
        );
      },
      async assembleCampaign(request) {
        await step('assembleCampaign', request);
        const published = [...results.values()].filter(({ outcome }) => outcome === 'published').length;
        return { dataset: 'dataset.jsonl', report: null, published, surplus: 0 };
      },
      async writeEvaluationReports(request) {
        await step('writeEvaluationReports', request);
        return { reports: ['report.json'] };
      },
    },
  };
  return { activities, calls, results, of: (activity) => calls.filter((call) => call.activity === activity) };
}

/** Training has stubs of its own. */
const noTraining = async (): Promise<never> => {
  throw ApplicationFailure.nonRetryable('These stubs do not train.', 'BadInput');
};

function pageOf(plan: StubPlan, results: ReadonlyMap<string, InstanceResult>) {
  const size = plan.minePageSize ?? 5;
  return (source: SourceSpec, page: number): { entries: PageEntry[]; nextCursor: string | null } => {
    const label = sourceLabel(source);
    const ids = plan.candidates[label];
    if (ids === undefined) throw ApplicationFailure.nonRetryable(`No package ${label}.`, 'NotFound');
    const entries = ids.slice(page * size, (page + 1) * size).map((text): PageEntry => {
      const [id = '', reason] = text.split('!');
      return reason === undefined
        ? { id, repo: label, candidate: fakeRef(id), settled: results.get(id) ?? null }
        : { id, rejected: reason as 'too_large' };
    });
    return { entries, nextCursor: (page + 1) * size < ids.length ? String(page + 1) : null };
  };
}

/** The environment that an instance ran its tests in last. */
const lastKeyOf = (calls: readonly Call[], instanceId: string): string =>
  String(
    calls.findLast(({ activity, request }) => activity === 'runTests' && request['instanceId'] === instanceId)
      ?.request['environment'],
  );

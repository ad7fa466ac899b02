import { Context } from '@temporalio/activity';
import type { Evidence } from '../domain/evidence.ts';
import { rowHash } from '../domain/ids.ts';
import type { InstanceResult } from '../domain/messages.ts';
import { recordNames } from '../domain/records.ts';
import type { Candidate, EnvironmentSpec, InstanceRow, Labels } from '../domain/types.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { InstanceLists } from './decisions.ts';
import type { ControlActivities, PublishRequest } from './types.ts';
import type { WorkDeps } from './work.ts';

export interface PublishDeps extends WorkDeps {
  readonly store: ArtefactStore;
}

/** The two ends of an instance. Either is recorded once; a repeated call returns what the first one recorded. */
export function createPublishActivities(
  deps: PublishDeps,
): Pick<ControlActivities, 'publishInstance' | 'recordRejection'> {
  const end = async (campaign: string, instanceId: string, result: InstanceResult): Promise<InstanceResult> =>
    (await deps.records.record(recordNames.result(campaign, instanceId), result)).value;
  return {
    async publishInstance(request) {
      const lists = await deps.store.getJson<InstanceLists>(request.lists);
      const labels = await deps.store.getJson<Labels>(request.labels);
      const row = await deps.store.putJson(await rowOf(deps.store, request, lists, labels));
      const evidence: Evidence = {
        schema: 1,
        instanceId: request.instanceId,
        candidate: request.candidate,
        row,
        environment: {
          key: request.environment,
          spec: request.spec,
          variant: request.variant,
          policy: request.policy,
        },
        runs: Object.entries(request.runs)
          .map(([name, summary]) => ({ name, ...summary }))
          .sort((a, b) => placeOf(a.name) - placeOf(b.name)),
        containerRuns: request.containerRuns,
        nop: lists.nop,
        gold: lists.gold,
        provenCanaries: lists.provenCanaries,
        labels,
        workflowRunId: Context.current().info.workflowExecution?.runId ?? '',
      };
      return end(request.campaign, request.instanceId, {
        outcome: 'published',
        row,
        evidence: await deps.store.putJson(evidence),
        containerRuns: request.containerRuns,
      });
    },
    recordRejection: ({ campaign, instanceId, rejection, at, containerRuns }) =>
      end(campaign, instanceId, { outcome: 'rejected', rejection, stage: at, containerRuns }),
  };
}

/** The order in which a reader wants them; they end in any order. */
const RUN_ORDER = [
  'health',
  'health-full',
  'before-1',
  'after-1',
  'before-2',
  'after-2',
  'before-3',
  'after-3',
];
const placeOf = (name: string): number => RUN_ORDER.findIndex((known) => known === name.split('.')[0]);

/** The native row. No times, hosts or draws: the same history gives the same bytes. */
async function rowOf(
  store: ArtefactStore,
  request: PublishRequest,
  lists: InstanceLists,
  { usage: _usage, ...labels }: Labels,
): Promise<InstanceRow> {
  const candidate = await store.getJson<Candidate>(request.candidate);
  const spec = await store.getJson<EnvironmentSpec>(request.spec);
  const [patch, testPatch, problemStatement, hints, lock, scope] = await Promise.all([
    store.getText(candidate.patch),
    store.getText(candidate.testPatch),
    store.getText(candidate.problemStatement),
    candidate.hintsText === null ? '' : store.getText(candidate.hintsText),
    store.getText(spec.lock),
    store.getJson<readonly string[]>(request.scope),
  ]);
  const row: Omit<InstanceRow, 'row_hash'> = {
    schema_version: 1,
    instance_id: candidate.instanceId,
    repo: candidate.repo,
    source: candidate.source,
    language: candidate.language,
    license: candidate.license,
    base_commit: candidate.baseCommit,
    environment_setup_commit: candidate.baseCommit,
    version: candidate.version,
    created_at: candidate.createdAt,
    patch,
    test_patch: testPatch,
    problem_statement: problemStatement,
    hints_text: hints,
    FAIL_TO_PASS: lists.FAIL_TO_PASS,
    PASS_TO_PASS: lists.PASS_TO_PASS,
    collection_fail_to_pass: lists.collectionFailToPass,
    quarantined_tests: lists.quarantined,
    test_scope: scope,
    environment: {
      key: request.environment,
      variant: request.variant,
      base: spec.base,
      runtime_version: spec.runtimeVersion,
      system_packages: spec.systemPackages,
      lock,
      prune_rules: spec.pruneRules,
      cutoff: request.cutoff,
      cutoff_policy: request.policy,
      install: spec.install,
      test: spec.test,
    },
    limits: request.limits,
    labels,
    provenance: candidate.provenance,
    candidate: request.candidate,
    environment_spec: request.spec,
  };
  return { ...row, row_hash: rowHash(row) };
}

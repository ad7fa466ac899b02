import { Context } from '@temporalio/activity';
import type { Evidence } from '../domain/evidence.ts';
import type { InstanceResult } from '../domain/messages.ts';
import { recordNames } from '../domain/records.ts';
import type { ArtefactRef, Labels } from '../domain/types.ts';
import { composeRow } from '../store/instanceRow.ts';
import type { RowParts } from '../store/instanceRow.ts';
import type { ArtefactStore } from '../store/types.ts';
import type { InstanceLists } from './decisions.ts';
import type { ControlActivities } from './types.ts';
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
      const environment = {
        key: request.environment,
        spec: request.spec,
        variant: request.variant,
        policy: request.policy,
      };
      const composed = await composeRow(deps.store, {
        candidate: request.candidate,
        environment: { ...environment, cutoff: request.cutoff },
        lists: {
          FAIL_TO_PASS: lists.FAIL_TO_PASS,
          PASS_TO_PASS: lists.PASS_TO_PASS,
          collection_fail_to_pass: lists.collectionFailToPass,
          quarantined_tests: lists.quarantined,
        },
        scope: await deps.store.getJson<readonly string[]>(request.scope),
        limits: request.limits,
        ...statementOf(request.problemStatement, lists.problemStatement, labels),
        // absent in lists that an earlier version recorded
        ...(lists.optionsLeftOut === undefined ? {} : { optionsLeftOut: lists.optionsLeftOut }),
        labels,
      });
      const row = await deps.store.putJson(composed);
      const evidence: Evidence = {
        schema: 1,
        instanceId: request.instanceId,
        candidate: request.candidate,
        row,
        environment,
        runs: Object.entries(request.runs)
          .map(([name, summary]) => ({ name, ...summary }))
          .sort((a, b) => placeOf(a.name) - placeOf(b.name)),
        containerRuns: request.containerRuns,
        nop: lists.nop,
        gold: lists.gold,
        provenCanaries: lists.provenCanaries,
        ...(lists.forgeryOdds === undefined ? {} : { forgeryOdds: lists.forgeryOdds }),
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

/** A model's words before the template's before the candidate's. */
function statementOf(
  written: ArtefactRef | undefined,
  template: ArtefactRef | undefined,
  { labeler }: Labels,
): Pick<RowParts, 'problemStatement'> {
  if (written !== undefined)
    return { problemStatement: { text: written, from: `failing tests, written by ${labeler}` } };
  return template === undefined ? {} : { problemStatement: { text: template } };
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

/** Rollouts of an rl run: which workflows play a group, under which ids and with which input. */
import { ParentClosePolicy, WorkflowIdReusePolicy, startChild, workflowInfo } from '@temporalio/workflow';
import { workflowIds } from '../domain/ids.ts';
import { WORKFLOWS, scopedWorkflowId, taskQueue } from '../domain/messages.ts';
import type { RolloutInput } from '../domain/rl/messages.ts';
import type { RlPrompt } from '../domain/rl/options.ts';
import { deployedOf } from './rlRun.ts';
import type { RlRun } from './rlRun.ts';

/** The workflows that play members of a group: one where they share their only prompt, one for each otherwise. */
export const partsOf = (run: RlRun, members: readonly number[]): readonly (readonly number[])[] =>
  run.input.options.agent === 'selector' ? [members] : members.map((member) => [member]);

/** Starts what plays these members and waits until the server has it. */
export async function startRollouts(
  run: RlRun,
  group: string,
  prompt: RlPrompt,
  members: readonly number[],
): Promise<void> {
  await Promise.all(
    partsOf(run, members).map(async (part) =>
      startChild(WORKFLOWS.rollout, {
        workflowId: rolloutId(run, group, part),
        taskQueue: taskQueue(run.input.queuePrefix, 'control'),
        args: [rolloutInput(run, group, prompt, part)],
        parentClosePolicy: ParentClosePolicy.ABANDON,
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        staticSummary: `${group} v${deployedOf(run).version} ${prompt.instanceId}`,
      }),
    ),
  );
}

export function rolloutId(run: RlRun, group: string, members: readonly number[]): string {
  const { queuePrefix, options } = run.input;
  const member = options.agent === 'selector' ? null : (members[0] ?? null);
  return scopedWorkflowId(queuePrefix, workflowIds.rollout(run.input.run, group, member));
}

function rolloutInput(run: RlRun, group: string, prompt: RlPrompt, members: readonly number[]): RolloutInput {
  const { options, queuePrefix } = run.input;
  const { model, version } = deployedOf(run);
  return {
    run: run.input.run,
    queuePrefix,
    group,
    members,
    agent: options.agent,
    instanceId: prompt.instanceId,
    row: prompt.row,
    provenCanaries: prompt.provenCanaries,
    task: prompt.task,
    policy: { servers: run.servers, choice: options.policy, model, version },
    temperature: options.temperature,
    budget: options.budget,
    seed: options.seed,
    candidateOrder: options.candidateOrder,
    parent: workflowInfo().workflowId,
  };
}

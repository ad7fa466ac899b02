import { selectorView } from '../agents/selector.ts';
import { selectorTasks } from '../agents/selectorTasks.ts';
import type { AgentName, RlPrompt } from '../domain/rl/options.ts';
import type { ArtefactRef, InstanceRow } from '../domain/types.ts';
import type { ArtefactStore } from '../store/types.ts';

export interface PlayableRequest {
  readonly rows: readonly { readonly row: InstanceRow; readonly provenCanaries: ArtefactRef | null }[];
  readonly agent: AgentName;
  readonly seed: number;
  /** Of the longest request. */
  readonly maxTokens: number;
}

export interface Playable {
  /** In the dataset's order. */
  readonly prompts: readonly RlPrompt[];
  /** Instances of which the selector can be given no task, and why. */
  readonly leftOut: readonly { readonly instanceId: string; readonly why: string }[];
}

/** Stores what rollouts of these instances start with. */
export async function playable(
  store: ArtefactStore,
  { rows, agent, seed, maxTokens }: PlayableRequest,
): Promise<Playable> {
  const { tasks, leftOut } =
    agent === 'selector'
      ? selectorTasks(
          rows.map(({ row }) => row),
          { seed, view: selectorView(maxTokens), maxPromptCharacters: promptCharacters(maxTokens) },
        )
      : { tasks: [], leftOut: [] };
  const taskOf = new Map(tasks.map((task) => [task.instanceId, task]));
  const playing = rows.filter(({ row }) => agent !== 'selector' || taskOf.has(row.instance_id));
  const prompts = await Promise.all(
    playing.map(async ({ row, provenCanaries }) => {
      const task = taskOf.get(row.instance_id);
      return {
        instanceId: row.instance_id,
        row: await store.putJson(row),
        provenCanaries,
        task: task === undefined ? null : await store.putJson(task),
      };
    }),
  );
  return { prompts, leftOut };
}

/** Room for a prompt: two thirds of the tokens, at three characters each. */
const promptCharacters = (maxTokens: number): number => 2 * maxTokens;

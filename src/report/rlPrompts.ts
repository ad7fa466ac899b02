import { coderMessages } from '../agents/coder.ts';
import { selectorMessages, selectorOrder, selectorView } from '../agents/selector.ts';
import type { ChatMessage, SelectorTask } from '../agents/types.ts';
import type { RlManifest, RlOptions } from '../domain/rl/options.ts';
import type { Trajectory } from '../domain/rl/trajectory.ts';
import type { InstanceRow } from '../domain/types.ts';
import type { ArtefactStore } from '../store/types.ts';

export interface PromptContext {
  readonly store: ArtefactStore;
  readonly manifest: Pick<RlManifest, 'prompts' | 'heldOut'>;
  readonly options: Pick<RlOptions, 'seed' | 'candidateOrder' | 'budget'>;
}

/**
 * What the policy was asked first, as text: made again from the dataset as the agent made it, since only token ids are
 * recorded. null where the instance, or what it was made of, is gone.
 */
export async function firstPrompt(
  { store, manifest, options }: PromptContext,
  { agent, instanceId, group }: Trajectory,
): Promise<string | null> {
  const prompt = [...manifest.prompts, ...manifest.heldOut].find((one) => one.instanceId === instanceId);
  if (prompt === undefined) return null;
  if (agent === 'selector') {
    if (prompt.task === null || !(await store.has(prompt.task))) return null;
    const task = await store.getJson<SelectorTask>(prompt.task);
    const order = selectorOrder(task, { ...options, group });
    return textOf(selectorMessages(task, order, selectorView(options.budget.maxTokens)));
  }
  if (!(await store.has(prompt.row))) return null;
  const row = await store.getJson<Pick<InstanceRow, 'problem_statement'>>(prompt.row);
  return textOf(coderMessages(row.problem_statement, []));
}

const textOf = (messages: readonly ChatMessage[]): string =>
  messages
    .map(({ role, content }) => (messages.length === 1 ? content : `${role}:\n${content}`))
    .join('\n\n');

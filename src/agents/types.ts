import type { ToolCall } from '../domain/rl/trajectory.ts';

export type { ToolCall };

/** `selector`'s task: the issue, and patches of which one solves it. Stored as a JSON artefact. */
export interface SelectorTask {
  readonly schema: 1;
  readonly instanceId: string;
  /** Place of the instance in its dataset: balances the orders that are fixed by instance. */
  readonly place?: number;
  readonly problem: string;
  /** K candidate patches (unified diffs against the row's base), in the order in which they were made. */
  readonly candidates: readonly {
    readonly patch: string;
    readonly origin: 'gold' | 'partial' | 'mutant' | 'nop' | 'model';
  }[];
}

/** A message of the chat API, as it is sent. */
export type ChatMessage =
  | { readonly role: 'system' | 'user'; readonly content: string }
  | {
      readonly role: 'assistant';
      readonly content: string | null;
      readonly tool_calls?: readonly ToolCall[];
    }
  | { readonly role: 'tool'; readonly content: string; readonly tool_call_id: string };

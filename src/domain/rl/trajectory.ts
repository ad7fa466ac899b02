import type { ArtefactRef } from '../types.ts';
import type { VerdictName } from '../verdicts.ts';

/**
 * The recorded truth of a rollout: every token that a policy sampled with its id, log-probability and version, and what the
 * world answered. Pure types; these JSON shapes are what the store, the trainer and the reports read.
 */

/** What one choice of a request came to. Arrays have one entry for each sampled token. */
export interface SampledChoice {
  readonly tokenIds: readonly number[];
  /** Natural log of the probability it was sampled with: at the temperature, over what was allowed. */
  readonly logprobs: readonly number[];
  /** What the sampler could choose from at each place; null: the whole vocabulary. Absent: null everywhere. */
  readonly allowed?: readonly (readonly number[] | null)[];
  readonly text: string;
  /** Calls of tools that the server read from the answer; absent: none. */
  readonly toolCalls?: readonly ToolCall[];
  /** `abort` never gets here: it is resumed. */
  readonly finishReason: 'stop' | 'length' | 'tool_calls';
}

/** A call of one of an agent's tools, in the chat API's shape. */
export interface ToolCall {
  readonly id: string;
  readonly type: 'function';
  /** `arguments` is JSON as the model wrote it. */
  readonly function: { readonly name: string; readonly arguments: string };
}

/** One request to a policy server. A request may have several choices: those of the members of a group that share the prompt. */
export interface PolicyCall {
  readonly schema: 1;
  readonly server: string;
  /** Name sent and echoed. */
  readonly model: string;
  /** Version that every token of it was sampled with; null outside training. */
  readonly version: number | null;
  readonly temperature: number;
  readonly maxTokens: number;
  /** Empty where the server does not tell (outside training only). */
  readonly promptTokenIds: readonly number[];
  readonly choices: readonly SampledChoice[];
  /** Tokens as the server counts them; absent where the ids tell, or it does not say. */
  readonly usage?: { readonly promptTokens: number; readonly sampledTokens: number };
  /** Epoch milliseconds. */
  readonly startedMs: number;
  readonly endedMs: number;
}

/** What was done with an answer, and what the model is told of it. */
export interface Step {
  /** Short: `bash`, `edit`, `finish`, `choose`, or `invalid` for an answer that is no action. */
  readonly action: string;
  readonly argument: string;
  /** What the model sees next; null for an action that ends the episode. */
  readonly observation: string | null;
  readonly exitCode: number | null;
  /** Hash of the whole output without what legitimately varies: by it a step that is done again is compared. */
  readonly digest?: string;
  readonly startedMs: number;
  readonly endedMs: number;
}

/** Why an episode ended. Those of `INFRA_ENDS` say nothing about the policy. */
export const EPISODE_ENDS = [
  'finished', // the agent said so
  'max_turns',
  'max_tokens', // the episode's budget of tokens, or the model's context
  'max_wall',
  'invalid', // answers that are no action, several in a row
  'infra', // the sandbox or a server failed for good, or a replay diverged
  'cancelled',
] as const;
export type EpisodeEnd = (typeof EPISODE_ENDS)[number];

/** Ended by a budget: counts in its group's mean, and is masked in the loss where overlong episodes are filtered. */
export const isOverlong = (end: EpisodeEnd): boolean =>
  end === 'max_turns' || end === 'max_tokens' || end === 'max_wall';

export const isInfra = (end: EpisodeEnd): boolean => end === 'infra' || end === 'cancelled';

/** One episode as its rollout tells of it; small enough for a workflow's history. */
export interface EpisodeOutcome {
  /** Place in the group, from 0. */
  readonly member: number;
  readonly end: EpisodeEnd;
  /** null for infrastructure. */
  readonly reward: number | null;
  readonly verdict: VerdictName | null;
  readonly turns: number;
  readonly sampledTokens: number;
}

/** The end of a rollout workflow: one or several members of a group. */
export interface RolloutOutcome {
  readonly group: string;
  readonly episodes: readonly EpisodeOutcome[];
  /** `Trajectory` as JSON artefact; null where nothing was recorded. */
  readonly trajectory: ArtefactRef | null;
  /** Oldest and newest version that a token was sampled with; null outside training or without tokens. */
  readonly oldestVersion: number | null;
  readonly newestVersion: number | null;
  /** Verdicts found by containers and from the store. */
  readonly executed: number;
  readonly served: number;
  /** Why infrastructure ended all of its episodes, where it did. */
  readonly failure?: string;
}

/** Everything of a rollout, as an artefact: the sample builder, the reports and `sft export` read it. */
export interface Trajectory {
  readonly schema: 1;
  readonly run: string;
  readonly group: string;
  readonly agent: string;
  readonly instanceId: string;
  readonly episodes: readonly TrajectoryEpisode[];
}

export interface TrajectoryEpisode extends EpisodeOutcome {
  /** Calls in order; of a call with several choices, `choice` is this member's. */
  readonly steps: readonly { readonly call: PolicyCall; readonly choice: number; readonly step: Step }[];
  /** The change it made; null for none. */
  readonly patch: ArtefactRef | null;
  readonly note: string;
}

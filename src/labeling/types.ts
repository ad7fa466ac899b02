import type { Labels } from '../domain/types.ts';

/** What a labeller reads of one instance. Hints are left out on purpose: a solver does not see them either. */
export interface LabelInput {
  readonly instanceId: string;
  readonly repo: string;
  readonly problemStatement: string;
  /** Gold patch and test patch, unified git diffs. */
  readonly patch: string;
  readonly testPatch: string;
  /** The existing files that the two patches touch, as they are at the base commit; binary files left out. */
  readonly files: readonly { readonly path: string; readonly content: string }[];
  readonly failToPass: readonly string[];
  readonly passToPass: readonly string[];
}

/** What is known of a bug that was made by rule: nothing of the fix. */
export interface BugReportInput {
  readonly instanceId: string;
  /** The template's statement: which tests fail, and how. */
  readonly failures: string;
  readonly testPatch: string;
  readonly failToPass: readonly string[];
}

export interface LabelContext {
  readonly signal?: AbortSignal;
  readonly heartbeat?: (details: unknown) => void;
}

export interface Labeler {
  /** `heuristic-v1` or `spice-v1:<model>`: as written into `Labels.labeler`. */
  readonly name: string;
  /**
   * Issue clarity, test fairness and effort of one instance, each 0 (good) to 3.
   * Throws typed failures of the outside system; a missing label is a failure, never a made-up score.
   */
  label(input: LabelInput, context?: LabelContext): Promise<Labels>;
  /** The problem statement of such a bug in a user's words; absent where no model is configured. Throws as `label` does. */
  reportBug?(
    input: BugReportInput,
    context?: LabelContext,
  ): Promise<{ readonly text: string; readonly usage: Labels['usage'] }>;
}

/** US dollars per million tokens. */
export interface TokenPrices {
  readonly input: number;
  /** Price of prompt tokens that the server had cached; the input price when absent. */
  readonly cachedInput?: number;
  readonly output: number;
}

export interface LabelerSettings {
  /** Address of an OpenAI-compatible API, up to and including `/v1`. */
  readonly baseUrl: string;
  /** Empty or absent for servers without authentication. */
  readonly apiKey?: string;
  readonly model: string;
  /** null when unknown: money is then reported as unknown, not as zero. */
  readonly prices: TokenPrices | null;
  /** Votes in each dimension; 3 by default (SPICE). */
  readonly votes?: number;
  /** Upper bound of the prompt, in estimated tokens; 8,000 by default. */
  readonly promptTokenBudget?: number;
  /** Upper bound of one answer, thinking included; 4,000 by default. */
  readonly maxCompletionTokens?: number;
  /** Left to the server when absent: some models take only their default. */
  readonly temperature?: number;
  readonly timeoutMs?: number;
}

import type { ChatMessage, ToolCall } from '../agents/types.ts';
import type { Deployed } from '../activities/rlTypes.ts';
import type { PolicyAddress, PublishedVersion } from '../domain/rl/messages.ts';
import type { PolicyCall } from '../domain/rl/trajectory.ts';

/**
 * Policy servers as the rest of RepoForge sees them: any number of single-replica vLLM servers that sample from the
 * versions of a policy. Every method may be called by several workers at once: what changes a server happens under a
 * lock of that server, and what was begun by somebody who died is mended by whoever comes next.
 */
export interface PolicyServers {
  /**
   * One request, answered in full: an aborted answer is continued from its tokens, never handed out as finished.
   * The server is chosen by `key` (an episode or a group: it stays with its server while that is healthy), else the
   * least loaded one. Throws Infra while no server answers, Infra.MissingPolicy where none has the version,
   * ContextLength where the prompt leaves no room for the answer.
   */
  sample(request: SampleRequest, signal: AbortSignal): Promise<Sampled>;
  /** The newest version of the run that all its servers which answer have; null before the first. */
  newest(run: string, servers: readonly string[]): Promise<PublishedVersion | null>;
  /** All versions of the run that any of its servers should have, the oldest first. */
  held(run: string, servers: readonly string[]): Promise<readonly PublishedVersion[]>;
  /**
   * Loads a version on every server and probes it there. A server that does not answer is left out, and gets the
   * version when it comes back; Infra when none answers. Safe to repeat. Throws WrongPolicy when a server serves
   * something else, naming server, version and difference.
   */
  deploy(request: DeployRequest, signal: AbortSignal): Promise<Deployed>;
  /**
   * Unloads versions from every server where their last request has ended, and tells which of those in `remove` no
   * server can ask for any more: only their files may be deleted, since a server dies when it misses an adapter's. What is
   * still in use is left for the next call. Safe to repeat.
   */
  retire(request: RetireRequest, signal: AbortSignal): Promise<Retired>;
  /**
   * Mends what a dead trainer, worker or server left: a paused server is resumed, half-loaded weights and forgotten
   * versions of the run are loaded and probed again. To be called on every loss of the trainer; sampling calls it by itself.
   */
  mend(run: string, servers: readonly string[], signal: AbortSignal): Promise<readonly Mended[]>;
  /** For displays and for pacing; null for a server that does not answer. */
  loads(servers: readonly string[], signal: AbortSignal): Promise<readonly (ServerLoad | null)[]>;
}

export interface SampleRequest {
  /** Name of the training run; null outside training, where any OpenAI-compatible server will do. */
  readonly run: string | null;
  readonly address: PolicyAddress;
  /** What stays on one server: the episode, or the group where its members share a request. */
  readonly key: string;
  readonly messages: readonly ChatMessage[];
  /** Independent answers. */
  readonly n: number;
  readonly temperature: number;
  readonly maxTokens: number;
  readonly seed: number;
  /**
   * Answers of which one is chosen, each one token: the answer is that token alone, its log-probability is over these.
   * null: anything. Outside training servers do not know this, and the answer is a text to read.
   */
  readonly choices: readonly string[] | null;
  /** Tools in the chat API's shape, where the server reads tool calls. */
  readonly tools?: readonly unknown[];
}

export interface Sampled {
  /** What is recorded. `version` is the one that every token was sampled with, whatever was asked for. */
  readonly call: PolicyCall;
  /** For each choice the tool calls that the server read from it. */
  readonly toolCalls: readonly (readonly ToolCall[])[];
}

/** How a version gets onto a server. */
export type Delivery =
  /** An adapter under a name of its own, beside other versions; or the server's own base model where there is no path. */
  | 'adapter'
  /** All parameters: the server serves one version at a time, under the base model's name. */
  | 'full';

export interface DeployRequest {
  readonly run: string;
  readonly servers: readonly string[];
  readonly delivery: Delivery;
  /** Name of the base model at the servers. */
  readonly servedModel: string;
  readonly version: PublishedVersion;
  readonly probe: PolicyProbe;
  /** Largest difference of a log-probability that counts as noise; by default 1e-3, which fp32 keeps. */
  readonly noise?: number;
}

/** A fixed sequence of 2 to 128 tokens, and what the trainer says of it. */
export interface PolicyProbe {
  readonly tokenIds: readonly number[];
  /** Log-probability of each token after the first under the version, at temperature 1 over the whole vocabulary. */
  readonly expected: readonly number[];
  /** The same under the version before; null where there is none. */
  readonly previous: readonly number[] | null;
}

export interface RetireRequest {
  readonly run: string;
  readonly servers: readonly string[];
  readonly unload: readonly PublishedVersion[];
  readonly remove: readonly PublishedVersion[];
  /** How long to wait for the last requests; default 5 s. */
  readonly drainMs?: number;
}

export interface Retired {
  readonly unloaded: readonly number[];
  readonly removable: readonly number[];
}

export interface Mended {
  readonly server: string;
  readonly state: 'healthy' | 'unreachable';
  /** In words, what was done; empty for nothing. */
  readonly done: readonly string[];
}

/** From a server's metrics. */
export interface ServerLoad {
  readonly running: number;
  readonly waiting: number;
  /** Share of the key-value cache in use, 0 to 1. */
  readonly cacheUse: number;
  /** Totals since the server's start. */
  readonly preemptions: number;
  readonly promptTokens: number;
  readonly generatedTokens: number;
  /** Adapters with requests that run or wait. */
  readonly busyAdapters: readonly string[];
}

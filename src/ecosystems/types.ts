import type {
  Candidate,
  CutoffPolicy,
  EnvironmentKey,
  EnvironmentSpec,
  EnvironmentVariant,
  RealiseOutcome,
  Rejection,
  ResolveOutcome,
} from '../domain/types.ts';
import type { RunPlan, RunRecord } from '../domain/runs.ts';
import type { SandboxOwner } from '../sandbox/types.ts';

/** Handed to everything that may take long: proof of life and cancellation. */
export interface WorkContext {
  readonly owner: SandboxOwner;
  readonly heartbeat: (details: unknown) => void;
  readonly signal: AbortSignal;
}

/**
 * What RepoForge needs of a language: python today; node, go, rust and java implement the same.
 * All methods are safe to repeat. Rejections are results; only infrastructure throws.
 */
export interface Ecosystem {
  /** The lock a developer would have got before the fix existed, and the spec made of it. */
  resolve(candidate: Candidate, policy: CutoffPolicy, context: WorkContext): Promise<ResolveOutcome>;
  /** Puts the spec's environment into the package store (or finds it there), pruned, read-only. */
  realise(spec: EnvironmentSpec, variant: EnvironmentVariant, context: WorkContext): Promise<RealiseOutcome>;
  /**
   * Scans a realised environment for the candidate's project (names, vendored copies) and for files of its fix. Reads
   * the index kept when the environment was realised, starts no container. null = clean. Environments are shared by
   * key, so this is asked per candidate, after `realise`. Throws Infra when the key was never realised here.
   */
  checkLeaks(candidate: Candidate, key: EnvironmentKey): Promise<Rejection | null>;
  /** One run of tests in a fresh container, in the order of DESIGN section 6. */
  run(plan: RunPlan, context: WorkContext): Promise<RunRecord>;
}

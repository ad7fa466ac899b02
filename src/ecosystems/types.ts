import type {
  Candidate,
  CutoffPolicy,
  EnvironmentSpec,
  EnvironmentVariant,
  RealiseOutcome,
  ResolveOutcome,
  RunPlan,
  RunRecord,
} from '../domain/types.ts';
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
  /** One run of tests in a fresh container, in the order of DESIGN section 6. */
  run(plan: RunPlan, context: WorkContext): Promise<RunRecord>;
}

import type { InstanceRow } from '../domain/types.ts';
import type { VerdictName } from '../domain/verdicts.ts';

/** A file of the base tree. */
export interface BaseFile {
  readonly path: string;
  readonly text: string;
}

/** What the strongest attacker may know of an instance: the row with its hidden tests, and the base tree. Never a draw. */
export interface AuditFacts {
  readonly row: InstanceRow;
  readonly paths: readonly string[];
  /** A source file that the row's tests import, so that what stands in it is executed by them. */
  readonly imported: BaseFile;
  /** Directories from which the tree's top-level modules are imported: `''` and, where there is one, `src`. */
  readonly roots: readonly string[];
  /** Test files of the row's scope that the base has. */
  readonly tests: ReadonlyMap<string, string>;
  /** Packaging files of the base that exist. */
  readonly packaging: ReadonlyMap<string, string>;
  /** A line that only gold adds: whoever can read it has found the fix. null when gold adds none that is unmistakable. */
  readonly needle: string | null;
  /** A line of a test file that only the hidden tests have; null when there is none. */
  readonly hiddenTestLine: string | null;
}

interface AttackBase {
  readonly name: string;
  /** What it tries, in one sentence. */
  readonly tries: string;
  /** Verdicts of which each is right; the reward must be 0 in any case. */
  readonly expected: readonly VerdictName[];
  /** It guesses which tests are canaries: made several times, and judged by how often it wins against the row's odds. */
  readonly guesses?: true;
}

/** A patch; nothing, as `nop` or as a prediction without a patch; null where the row gives no hold for it. */
export type HostilePatch = string | Buffer | { readonly nothing: 'nop' | 'empty' } | null;

/** A prediction whose patch is computed from facts. */
export interface HostilePrediction extends AttackBase {
  readonly kind: 'prediction';
  readonly patch: (facts: AuditFacts) => HostilePatch;
}

/** A shell script that runs as an agent would: in the workspace, without network; its diff becomes the prediction. */
export interface HostileAgent extends AttackBase {
  readonly kind: 'agent';
  readonly script: (facts: AuditFacts) => string | null;
}

export type Attack = HostilePrediction | HostileAgent;

/** Exit code with which an attack says that it got at what it must not reach; grades as a crash, and the audit counts it. */
export const REACHED = 77;

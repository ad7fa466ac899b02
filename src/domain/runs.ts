/** Runs of tests: what is asked for, what came of it, and the canaries that were in it. Types only, but for the default limits. */
import type { ArtefactRef, EnvironmentKey, EnvironmentVariant } from './types.ts';

export type TestStatus = 'passed' | 'failed' | 'error' | 'skipped' | 'xfailed';

export interface TestResult {
  readonly status: TestStatus;
  readonly durationMs: number;
  /** First lines of the failure message, cut to 500 characters; absent when passed. */
  readonly message?: string;
}

/** A file that the runner could not collect. */
export interface CollectionError {
  readonly file: string;
  /** Last exception line, e.g. `ModuleNotFoundError: No module named 'numpy'`. */
  readonly message: string;
}

export interface RunLimits {
  readonly timeoutMs: number;
  readonly memoryBytes: number;
  readonly pids: number;
  readonly cpus: number;
  /** Output kept from the runner; the rest is counted and dropped. */
  readonly outputBytes: number;
}

export const DEFAULT_RUN_LIMITS: RunLimits = {
  timeoutMs: 300_000, // the reference harness's cap per evaluation
  memoryBytes: 4 * 1024 ** 3,
  pids: 512,
  cpus: 2,
  outputBytes: 16 * 1024 ** 2,
};

export type RunKind = 'health' | 'before' | 'after' | 'evaluate';

/** One canary: a copy of a test with one assertion made false (or a plainly failing test), see DESIGN section 6. */
export interface Canary {
  readonly file: string;
  /** 1-based line of the pristine file after which `source` is inserted. */
  readonly insertAfterLine: number;
  /** 1-based first line of the twin, decorators included; absent in pools of earlier versions. */
  readonly firstLine?: number;
  /** Lines after which it may stand, `insertAfterLine` among them; absent in pools of earlier versions. */
  readonly places?: readonly number[];
  /** Line of the twin's `def` where the two may change names; absent where something may hang on the twin's own. */
  readonly swapLine?: number;
  /** Source text with the placeholder `@@NAME@@` where the test function's name belongs. */
  readonly source: string;
  /** Names that look like the neighbours'; one is drawn at random when planted. */
  readonly names: readonly string[];
  /** Node id of the copied test (the prefix before `[` when parametrised); null for a plainly failing canary. */
  readonly twin: string | null;
  /** Node id prefix up to the function's name, e.g. `tests/test_a.py::TestB::`. */
  readonly prefix: string;
  /** Every such prefix under which it is collected, where that is not `prefix` alone: the classes that inherit it. */
  readonly prefixes?: readonly string[];
  /** Parametrisations that were made false, each with that of the twin; absent where all are, under the twin's own names. */
  readonly falsified?: Readonly<Record<string, string>>;
  /** What its failures said, without names: by class prefix and parametrisation. Absent before the proof. */
  readonly failures?: Readonly<Record<string, CanaryFailure>>;
  /** Some of its parametrisations were made false: which, the proof finds. */
  readonly byRow?: boolean;
  /** Its twin stands in the base's commit, whose text tells the two apart. */
  readonly inBase?: boolean;
  /** Its assertion is the twin's inverted, or one more, which form gives away; drawn after those whose literal was exchanged. */
  readonly inverted?: boolean;
}

/** What a canary's failure said under gold, and on the base. */
export interface CanaryFailure {
  readonly gold: string;
  /** Absent where it did not fail there, or its twin passed. */
  readonly base?: string;
}

export interface PlantedCanary {
  readonly canary: Canary;
  readonly name: string;
  /** Line after which it stands; absent: `insertAfterLine`. */
  readonly after?: number;
  /** True where it stands in its twin's place, and the twin where it would stand. */
  readonly atTwin?: boolean;
  /** True where the canary bears its twin's name and the twin bears `name`. Records of runs hold everybody's own names again. */
  readonly swapped?: boolean;
  /** True where the canary itself is left out (only its twin bears another name), or accuses nobody since it was not proven. */
  readonly absent?: boolean;
}

/** What to run in one fresh container. Everything is by ref or id, so that the plan itself stays small. */
export interface RunPlan {
  readonly kind: RunKind;
  readonly candidate: ArtefactRef;
  readonly environment: EnvironmentKey;
  readonly spec: ArtefactRef;
  readonly variant: EnvironmentVariant;
  /** False for the health run: base tree with base tests. */
  readonly withTestPatch: boolean;
  /** Prediction or gold as a diff artefact; null for none. */
  readonly patch: ArtefactRef | null;
  /** Test files to hand to the runner; null = the runner's own discovery (health). */
  readonly scope: readonly string[] | null;
  readonly limits: RunLimits;
  /** Build the canary pool of these files before the tests start (validation only). */
  readonly makeCanaryPoolOf: readonly string[] | null;
  /** JSON artefact of `PlantedCanary[]`; null for none. */
  readonly canaries: ArtefactRef | null;
  /**
   * Options of the runner's configuration that gold's run left out for want of their plugin: these are left out from the
   * start, and no others. Absent (validation, rows of earlier versions): found by running.
   */
  readonly leftOut?: readonly string[];
  /** Run the tests again in the same container when the run ended, or when a test of it failed; absent = once is enough. */
  readonly repeat?: 'ended' | 'failed';
}

export type RunOutcome =
  | 'completed' // the runner ended by itself; `tests` is complete
  | 'empty_patch'
  | 'patch_failed'
  | 'install_failed'
  | 'timeout'
  | 'memory'
  | 'crashed'; // the runner ended without structured results

/** What one run showed. Stored as a JSON artefact; workflows only see `RunSummary`. */
export interface RunRecord {
  readonly schema: 1;
  readonly kind: RunKind;
  readonly outcome: RunOutcome;
  /** Exit code of the runner; null when it never started or was killed. */
  readonly exitCode: number | null;
  /** Full node ids as pytest spells them. Canaries are included; grading takes them out. */
  readonly tests: Readonly<Record<string, TestResult>>;
  readonly collectionErrors: readonly CollectionError[];
  /** Raw runner output (text artefact), enough to regrade with `junit`. */
  readonly log: ArtefactRef | null;
  readonly junit: ArtefactRef | null;
  /** JSON artefact of `Canary[]` when the plan asked for a pool. */
  readonly canaryPool: ArtefactRef | null;
  readonly planted: ArtefactRef | null;
  /** How often the tests were run again, and which of them then had another status; absent where the plan did not ask. */
  readonly repetitions?: number;
  readonly unsteady?: readonly string[];
  readonly repeatedMs?: number;
  /** One sentence on what went wrong outside the tests; '' if nothing did. */
  readonly note: string;
  /** Paths of the patch that were dropped because they are protected. */
  readonly droppedPaths: readonly string[];
  /** Wall times of the phases, for the report and the benches; never part of a published row. */
  readonly durations: {
    readonly totalMs: number;
    readonly startMs: number;
    readonly treeMs: number;
    readonly installMs: number;
    readonly patchMs: number;
    readonly testsMs: number;
    readonly teardownMs: number;
  };
  /** Peak memory of the container if known, bytes. */
  readonly peakMemoryBytes: number | null;
}

export interface RunSummary {
  readonly record: ArtefactRef;
  readonly outcome: RunOutcome;
  readonly passed: number;
  readonly failed: number;
  readonly totalMs: number;
}

/**
 * The words of RepoForge as types. Pure: importable from workflows, activities, the CLI and tests alike.
 * Anything over a few KB is an artefact and appears here as its ref.
 */

/** Reference to a content-addressed artefact: `sha256:<64 hex digits of the content>`. */
export type ArtefactRef = `sha256:${string}`;

export type SourceKind = 'pypi' | 'git' | 'github';
export type Language = 'python';

/** ISO 8601 time in UTC, seconds precision, as `2024-03-01T12:00:00Z`. */
export type IsoTime = string;

/** A change taken from history that is not yet known to work. Stored as a JSON artefact. */
export interface Candidate {
  readonly schema: 1;
  /** `<owner>__<repo>-<pr>`, `<owner>__<repo>-<sha12>` or `pypi__<name>-<version>`. */
  readonly instanceId: string;
  readonly source: SourceKind;
  /** `owner/name`, or `pypi/<name>` for a release history. */
  readonly repo: string;
  readonly language: Language;
  /** Directory name of the bare mirror under `<state>/mirrors/` that holds every commit named here. */
  readonly mirror: string;
  /** Commit whose tree is the state before the change (an agent sees exactly this tree). */
  readonly baseCommit: string;
  /** Commit whose tree is `baseCommit` + `testPatch`; kept alive by a ref in the mirror. */
  readonly testCommit: string;
  /** Version of the release or the version that `baseCommit` reports; '' when unknown. */
  readonly version: string;
  /** Version that an offline install of `baseCommit` must report (for scm-versioned projects); null when unknown. */
  readonly baseVersion: string | null;
  /** When the fix became public (merge, commit, upload). */
  readonly createdAt: IsoTime;
  /** When the base became public: the calendar's reference. */
  readonly baseCreatedAt: IsoTime;
  /** Unified git diff (binary-safe) of sources, applies to `baseCommit`. */
  readonly patch: ArtefactRef;
  /** Unified git diff (binary-safe) of tests, conftest and pure runner configuration, applies to `baseCommit`. */
  readonly testPatch: ArtefactRef;
  /** Paths that `testPatch` adds or changes and that the runner can collect (test modules), sorted. */
  readonly testFiles: readonly string[];
  /** Plain-text artefacts; capped at 64 KiB by the source. */
  readonly problemStatement: ArtefactRef;
  readonly hintsText: ArtefactRef | null;
  /** SPDX expression where known, else the licence text of the package's metadata, else null. */
  readonly license: string | null;
  readonly provenance: Readonly<Record<string, string | number | readonly string[] | readonly number[]>>;
}

/** What a realised environment is made from. The key is the hash of this, canonicalised, without `install` and `test`. */
export interface EnvironmentSpec {
  readonly schema: 1;
  readonly language: Language;
  /** Logical base: suite or image tag plus our rule version, never a local digest, e.g. `debian-bookworm/1`. */
  readonly base: string;
  /** e.g. `3.11`. */
  readonly runtimeVersion: string;
  readonly systemPackages: readonly string[];
  /** Pinned, hashed requirements text (one canonical order). */
  readonly lock: ArtefactRef;
  /** Version of the pruning rules, with the exception list when it is not empty. */
  readonly pruneRules: string;
  /** Not part of the key. */
  readonly install: readonly string[];
  /** Not part of the key. The runner's command without test paths. */
  readonly test: readonly string[];
}

/** sha256 hex of the canonical spec; equal keys share one environment. */
export type EnvironmentKey = string;

/** How far back the calendar is rounded when the lock is resolved. */
export type CutoffPolicy = 'quarter' | 'month' | 'exact';
export const CUTOFF_POLICIES: readonly CutoffPolicy[] = ['quarter', 'month', 'exact'];

export type EnvironmentVariant = 'pruned' | 'full';

/** Result of resolving a candidate's environment. */
export type ResolveOutcome =
  | {
      readonly ok: true;
      readonly key: EnvironmentKey;
      readonly spec: ArtefactRef;
      readonly cutoff: IsoTime;
      readonly durationMs: number;
    }
  | { readonly ok: false; readonly rejection: Rejection };

/** Result of realising a spec in the package store. */
export type RealiseOutcome =
  | {
      readonly ok: true;
      readonly key: EnvironmentKey;
      /** True when the store already held it. */
      readonly served: boolean;
      readonly durationMs: number;
      /** Bytes of the packages' files before and after pruning. */
      readonly fullBytes: number;
      readonly prunedBytes: number;
      /** Files that could not be hardlinked into the cache and were copied. */
      readonly copiedFiles: number;
    }
  | { readonly ok: false; readonly key: EnvironmentKey; readonly rejection: Rejection };

/** Why a candidate did not become an instance. Every rejection has exactly one of these. */
export const REJECTION_REASONS = [
  'no_source_change', // the change touches no source
  'no_test_change', // the change touches no collectable test module
  'too_large', // patch or file count over the campaign's limits
  'bad_archive', // corrupt or hostile archive: path traversal, link out of the tree, bomb, checksum
  'submodule', // a submodule that cannot be filled in
  'lfs', // a Git LFS pointer that cannot be filled in
  'not_python', // no installable project found
  'no_runtime', // no runtime satisfies requires-python and the date
  'unresolvable', // no lock at any cut-off
  'unbuildable', // the lock cannot be realised
  'install_failed', // the project does not install offline into its environment
  'leak', // the environment contains the project or the fix itself
  'license', // the licence filter of the campaign
  'broken_environment', // base tests cannot be collected, or a module outside the project is missing
  'no_tests_ran', // the runner ran nothing at all
  'gold_patch_failed', // gold does not apply to its own base
  'gold_failed', // gold's run timed out, crashed, ran out of memory, or a required test fails under gold
  'no_fail_to_pass', // nothing goes from failing to passing
  'version_only', // FAIL_TO_PASS is explained by a version string alone
  'flaky', // a FAIL_TO_PASS test wavers between runs
  'nop_resolved', // the unchanged base already scores 1
  'nop_tampered', // the canaries accuse the unchanged base: they are not trustworthy here
  'infra', // infrastructure failed for longer than the retry policy allows; says nothing about the candidate
] as const;
export type RejectionReason = (typeof REJECTION_REASONS)[number];

export interface Rejection {
  readonly reason: RejectionReason;
  /** One sentence for a person, at most 2 KB. */
  readonly detail: string;
}

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
}

export interface PlantedCanary {
  readonly canary: Canary;
  readonly name: string;
  /** Line after which it stands; absent: `insertAfterLine`. */
  readonly after?: number;
  /** True where the canary bears its twin's name and the twin bears `name`. Records of runs hold everybody's own names again. */
  readonly swapped?: boolean;
  /** True where the canary itself is left out: only its twin bears another name. */
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

export type LabelScore = 0 | 1 | 2 | 3;
export type LabelDimension = 'issue_clarity' | 'test_fairness' | 'effort';

export interface LabelConsensus {
  readonly score: LabelScore;
  readonly votes: readonly LabelScore[];
  readonly method: 'majority' | 'median' | 'heuristic';
  readonly controversial: boolean;
  readonly rationale: string;
}

export interface Labels {
  /** `heuristic-v1`, or `spice-v1:<model>`. */
  readonly labeler: string;
  readonly issue_clarity: LabelConsensus;
  readonly test_fairness: LabelConsensus;
  readonly effort: LabelConsensus;
  /** Tokens and money of all requests for this instance; zeros for the heuristic. `usd` is null when no price is configured. */
  readonly usage: {
    readonly requests: number;
    readonly promptTokens: number;
    readonly cachedPromptTokens: number;
    readonly completionTokens: number;
    readonly usd: number | null;
  };
}

/**
 * A published instance: one native row of `dataset.jsonl`. Field names are SWE-bench's where SWE-bench has the field.
 * Holds no times, hosts or draws: the same history gives the same bytes. (`labels.usage` is kept in the evidence, not here.)
 */
export interface InstanceRow {
  readonly schema_version: 1;
  readonly instance_id: string;
  readonly repo: string;
  readonly source: SourceKind;
  readonly language: Language;
  readonly license: string | null;
  readonly base_commit: string;
  readonly environment_setup_commit: string;
  readonly version: string;
  readonly created_at: IsoTime;
  readonly patch: string;
  readonly test_patch: string;
  readonly problem_statement: string;
  readonly hints_text: string;
  readonly FAIL_TO_PASS: readonly string[];
  readonly PASS_TO_PASS: readonly string[];
  /** F2P ids that fail before because their file cannot be collected for want of something gold adds. */
  readonly collection_fail_to_pass: readonly string[];
  /** Tests seen to waver; in neither list. */
  readonly quarantined_tests: readonly string[];
  /** Test files handed to the runner, in order. */
  readonly test_scope: readonly string[];
  readonly environment: {
    readonly key: EnvironmentKey;
    readonly variant: EnvironmentVariant;
    readonly base: string;
    readonly runtime_version: string;
    readonly system_packages: readonly string[];
    readonly lock: string;
    readonly prune_rules: string;
    readonly cutoff: IsoTime;
    readonly cutoff_policy: CutoffPolicy;
    readonly install: readonly string[];
    readonly test: readonly string[];
  };
  readonly limits: RunLimits;
  /** Options of the runner's configuration that every run leaves out, for want of their plugin; absent in earlier rows. */
  readonly runner_options_left_out?: readonly string[];
  readonly labels: Omit<Labels, 'usage'>;
  readonly provenance: Candidate['provenance'];
  /** Ref of the candidate artefact: evaluation starts from it. */
  readonly candidate: ArtefactRef;
  readonly environment_spec: ArtefactRef;
  /** Hash over the row's graded content (lists, patches, environment, scope): part of every evaluation key. */
  readonly row_hash: string;
}

/**
 * The words of RepoForge as types. Pure: importable from workflows, activities, the CLI and tests alike.
 * Anything over a few KB is an artefact and appears here as its ref.
 */

import type { RunLimits } from './runs.ts';

/** Reference to a content-addressed artefact: `sha256:<64 hex digits of the content>`. */
export type ArtefactRef = `sha256:${string}`;

export type SourceKind = 'pypi' | 'git' | 'github' | 'mutate';
export type Language = 'python';

/** ISO 8601 time in UTC, seconds precision, as `2024-03-01T12:00:00Z`. */
export type IsoTime = string;

/** A change taken from history that is not yet known to work. Stored as a JSON artefact. */
export interface Candidate {
  readonly schema: 1;
  /** `<owner>__<repo>-<pr>`, `<owner>__<repo>-<sha12>`, `pypi__<name>-<version>` or `mutate__<name>-<version>-<bug>`. */
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

/** True when the tree is a release's source archive, with the metadata that was generated for it. */
export const isArchive = ({ source, provenance }: Pick<Candidate, 'source' | 'provenance'>): boolean =>
  source === 'pypi' || (source === 'mutate' && 'sdist' in provenance);

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
  'no_pass_to_pass', // nothing passes without gold: a bug made by rule that breaks everything
  'version_only', // FAIL_TO_PASS is explained by a version string alone
  'flaky', // a FAIL_TO_PASS test wavers between runs
  'nop_resolved', // the unchanged base already scores 1
  'nop_tampered', // the canaries accuse the unchanged base: they are not trustworthy here
  'forgeable', // too few canaries stand beside the FAIL_TO_PASS tests: who turns those alone would go unseen too often
  'infra', // infrastructure failed for longer than the retry policy allows; says nothing about the candidate
] as const;
export type RejectionReason = (typeof REJECTION_REASONS)[number];

export interface Rejection {
  readonly reason: RejectionReason;
  /** One sentence for a person, at most 2 KB. */
  readonly detail: string;
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

import { rowHash } from '../domain/ids.ts';
import type {
  ArtefactRef,
  Candidate,
  CutoffPolicy,
  EnvironmentSpec,
  EnvironmentVariant,
  InstanceRow,
  Labels,
} from '../domain/types.ts';
import type { RunLimits } from '../domain/runs.ts';
import type { ArtefactStore } from './types.ts';

export interface RowParts {
  readonly candidate: ArtefactRef;
  readonly environment: {
    readonly key: string;
    readonly spec: ArtefactRef;
    readonly variant: EnvironmentVariant;
    readonly cutoff: string;
    readonly policy: CutoffPolicy;
  };
  readonly lists: Pick<
    InstanceRow,
    'FAIL_TO_PASS' | 'PASS_TO_PASS' | 'collection_fail_to_pass' | 'quarantined_tests'
  >;
  /** Test files that every run of the row is given. */
  readonly scope: readonly string[];
  readonly limits: RunLimits;
  readonly optionsLeftOut?: readonly string[];
  /** A text that says more than the candidate's, and who wrote it where that is not what the candidate says. */
  readonly problemStatement?: { readonly text: ArtefactRef; readonly from?: string };
  readonly labels: Labels;
}

/** The native row of a stored candidate. No times, hosts, draws or token counts: the same history gives the same bytes. */
export async function composeRow(store: ArtefactStore, parts: RowParts): Promise<InstanceRow> {
  const { environment } = parts;
  const candidate = await store.getJson<Candidate>(parts.candidate);
  const spec = await store.getJson<EnvironmentSpec>(environment.spec);
  const { usage: _usage, ...labels } = parts.labels;
  const [patch, testPatch, problemStatement, hints, lock] = await Promise.all([
    store.getText(candidate.patch),
    store.getText(candidate.testPatch),
    store.getText(parts.problemStatement?.text ?? candidate.problemStatement),
    candidate.hintsText === null ? '' : store.getText(candidate.hintsText),
    store.getText(spec.lock),
  ]);
  const row: Omit<InstanceRow, 'row_hash'> = {
    schema_version: 1,
    instance_id: candidate.instanceId,
    repo: candidate.repo,
    source: candidate.source,
    language: candidate.language,
    license: candidate.license,
    base_commit: candidate.baseCommit,
    environment_setup_commit: candidate.baseCommit,
    version: candidate.version,
    created_at: candidate.createdAt,
    patch,
    test_patch: testPatch,
    problem_statement: problemStatement,
    hints_text: hints,
    ...parts.lists,
    test_scope: parts.scope,
    environment: {
      key: environment.key,
      variant: environment.variant,
      base: spec.base,
      runtime_version: spec.runtimeVersion,
      system_packages: spec.systemPackages,
      lock,
      prune_rules: spec.pruneRules,
      cutoff: environment.cutoff,
      cutoff_policy: environment.policy,
      install: spec.install,
      test: spec.test,
    },
    limits: parts.limits,
    ...(parts.optionsLeftOut === undefined ? {} : { runner_options_left_out: parts.optionsLeftOut }),
    labels,
    provenance: {
      ...candidate.provenance,
      ...(parts.problemStatement?.from === undefined
        ? {}
        : { problem_statement_from: parts.problemStatement.from }),
    },
    candidate: parts.candidate,
    environment_spec: environment.spec,
  };
  return { ...row, row_hash: rowHash(row) };
}

import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import type { Candidate, EnvironmentSpec, InstanceRow, Labels } from '../domain/types.ts';
import type { RunLimits } from '../domain/runs.ts';
import type { Ecosystem, WorkContext } from '../ecosystems/types.ts';
import type { Labeler } from '../labeling/types.ts';
import type { SourceMirror, SourceMirrorStore } from '../sources/mirror.ts';
import { composeRow } from '../store/instanceRow.ts';
import type { RowParts } from '../store/instanceRow.ts';
import type { ArtefactStore } from '../store/types.ts';
import { cutText, FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import { fileOfTest } from '../domain/testIds.ts';
import { testModules } from '../domain/split.ts';
import { CUTOFF_POLICIES } from '../domain/types.ts';
import { DEFAULT_RUN_LIMITS } from '../domain/runs.ts';
import { patchedPaths } from '../export/patchedPaths.ts';
import { gitText } from '../sources/gitRun.ts';
import { parseClassicRows, type ClassicInput } from './classicRows.ts';

export interface ImportDependencies {
  readonly store: ArtefactStore;
  readonly mirrors: SourceMirrorStore;
  readonly ecosystem: Ecosystem;
  readonly labeler: Labeler;
  readonly context: WorkContext;
  readonly log: Logger;
}

export interface ImportInput {
  readonly file: string;
  /** `owner/name` → path or URL of a git repository that has the base commits. */
  readonly repositories: ReadonlyMap<string, string>;
  readonly limits?: RunLimits;
}

export type ImportedRow =
  | { readonly ok: true; readonly row: InstanceRow }
  /** One sentence on why a row that can be read cannot be used. */
  | { readonly ok: false; readonly instanceId: string; readonly line: number; readonly problem: string };

/**
 * Native rows from classic ones: base commits are looked up in the given repositories, the test patch makes the pinned
 * commit, the environment is resolved by our own rules with the calendar; the lists of tests are taken as they are given.
 * Throws a BadInput failure with `file:line` for a file that cannot be read, and for a repository that is not given.
 */
export async function importClassic(
  deps: ImportDependencies,
  input: ImportInput,
): Promise<readonly ImportedRow[]> {
  const inputs = parseClassicRows(input.file, await readText(input.file));
  const unknown = inputs.find(({ repo }) => !input.repositories.has(repo));
  if (unknown !== undefined) {
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `${input.file}:${unknown.line}: no git repository is given for ${unknown.repo}; add --repo ${unknown.repo}=PATH-OR-URL.`,
    );
  }
  const mirrors = new Map<string, SourceMirror>();
  const rows: ImportedRow[] = [];
  for (const row of inputs) {
    const mirror = mirrors.get(row.repo) ?? (await fetchMirror(deps, row.repo, input.repositories));
    mirrors.set(row.repo, mirror);
    rows.push(await importRow(deps, row, mirror, input.limits ?? DEFAULT_RUN_LIMITS));
    deps.context.heartbeat({ imported: rows.length });
  }
  return rows;
}

async function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: unknown) => {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw permanentFailure(FAILURE_TYPES.notFound, `Cannot read rows from ${file} (${code}).`, error);
  });
}

async function fetchMirror(
  deps: ImportDependencies,
  repo: string,
  repositories: ReadonlyMap<string, string>,
): Promise<SourceMirror> {
  const id = `import__${repo.replace(/[^A-Za-z0-9.-]+/g, '__')}`;
  return (await deps.mirrors.fetch(id, repositories.get(repo) ?? '', { signal: deps.context.signal })).mirror;
}

async function importRow(
  deps: ImportDependencies,
  input: ClassicInput,
  mirror: SourceMirror,
  limits: RunLimits,
): Promise<ImportedRow> {
  const no = (problem: string): ImportedRow => ({
    ok: false,
    instanceId: input.instanceId,
    line: input.line,
    problem: cutText(problem),
  });
  const base = await mirror.resolve(input.baseCommit);
  if (base === null) return no(`The repository of ${input.repo} has no commit ${input.baseCommit}.`);
  if (input.failToPass.length === 0) return no('FAIL_TO_PASS is empty, so nothing grades this row.');
  const patches = { patch: Buffer.from(input.patch), test: Buffer.from(input.testPatch) };
  if ((await mirror.commitWithPatch(base, patches.patch, `gold/${input.instanceId}`)) === null) {
    return no('The gold patch does not apply to base_commit.');
  }
  const testCommit = await mirror.commitWithPatch(base, patches.test, `tests/${input.instanceId}`);
  if (testCommit === null) return no('The test patch does not apply to base_commit.');
  const candidate = await candidateOf(deps, input, mirror, base, testCommit);
  const ref = await deps.store.putJson(candidate);
  const environment = await resolve(deps, candidate);
  if ('problem' in environment) return no(environment.problem);
  const labels = await labelsOf(deps, input, mirror, base);
  const row = await composeRow(deps.store, {
    candidate: ref,
    environment: { ...environment, variant: 'pruned' },
    lists: {
      FAIL_TO_PASS: input.failToPass,
      PASS_TO_PASS: input.passToPass,
      collection_fail_to_pass: [],
      quarantined_tests: [],
    },
    scope: candidate.testFiles,
    limits,
    labels,
  });
  return { ok: true, row };
}

async function candidateOf(
  deps: ImportDependencies,
  input: ClassicInput,
  mirror: SourceMirror,
  base: string,
  testCommit: string,
): Promise<Candidate> {
  const seconds = Number(await gitText(['show', '-s', '--format=%ct', base], { gitDir: mirror.gitDir }));
  const baseCreatedAt = new Date(seconds * 1_000).toISOString().replace(/\.\d{3}Z$/, 'Z');
  const { changed, added } = patchedPaths(input.testPatch);
  const present = new Set((await mirror.listTree(testCommit)).map(({ path }) => path));
  const listed = [...input.failToPass, ...input.passToPass].map(fileOfTest);
  const { store } = deps;
  return {
    schema: 1,
    instanceId: input.instanceId,
    source: 'git',
    repo: input.repo,
    language: 'python',
    mirror: mirror.id,
    baseCommit: base,
    testCommit,
    version: input.version,
    baseVersion: input.version === '' ? null : input.version,
    createdAt: input.createdAt ?? baseCreatedAt,
    baseCreatedAt,
    patch: await store.put(input.patch),
    testPatch: await store.put(input.testPatch),
    // files that hold listed tests are test modules whatever they are called
    testFiles: [...new Set([...testModules([...changed, ...added]), ...listed])]
      .filter((path) => present.has(path))
      .toSorted(),
    problemStatement: await store.put(input.problemStatement),
    hintsText: input.hintsText === '' ? null : await store.put(input.hintsText),
    license: input.license,
    provenance: { imported: 'classic' },
  };
}

type Environment = Omit<RowParts['environment'], 'variant'>;

/** The first cut-off of the calendar whose lock can be had and realised. */
async function resolve(
  { ecosystem, store, context }: ImportDependencies,
  candidate: Candidate,
): Promise<Environment | { readonly problem: string }> {
  let problem = '';
  for (const policy of CUTOFF_POLICIES) {
    const outcome = await ecosystem.resolve(candidate, policy, context);
    if (!outcome.ok) {
      problem = `${outcome.rejection.reason}: ${outcome.rejection.detail}`;
      continue;
    }
    const spec = await store.getJson<EnvironmentSpec>(outcome.spec);
    const realised = await ecosystem.realise(spec, 'pruned', context);
    if (realised.ok) return { key: outcome.key, spec: outcome.spec, cutoff: outcome.cutoff, policy };
    problem = `${realised.rejection.reason}: ${realised.rejection.detail}`;
  }
  return { problem };
}

async function labelsOf(
  deps: ImportDependencies,
  input: ClassicInput,
  mirror: SourceMirror,
  base: string,
): Promise<Labels> {
  const touched = [...patchedPaths(input.patch).changed, ...patchedPaths(input.testPatch).changed];
  const files = await mirror.readFiles(base, touched);
  return deps.labeler.label(
    {
      instanceId: input.instanceId,
      repo: input.repo,
      problemStatement: input.problemStatement,
      patch: input.patch,
      testPatch: input.testPatch,
      files: [...files]
        .filter(([, content]) => !content.includes(0))
        .map(([path, content]) => ({ path, content: content.toString('utf8') })),
      failToPass: input.failToPass,
      passToPass: input.passToPass,
    },
    { signal: deps.context.signal },
  );
}

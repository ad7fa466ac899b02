import { performance } from 'node:perf_hooks';
import { hashOf } from '../../domain/canonical.ts';
import { environmentKey } from '../../domain/ids.ts';
import type {
  Candidate,
  CutoffPolicy,
  EnvironmentSpec,
  IsoTime,
  Rejection,
  RejectionReason,
  ResolveOutcome,
} from '../../domain/types.ts';
import { cutText } from '../../domain/failures.ts';
import type { RuntimeBase } from '../../sandbox/types.ts';
import type { MirrorStore } from '../../sources/types.ts';
import type { ArtefactStore, RecordStore } from '../../store/types.ts';
import type { WorkContext } from '../types.ts';
import { backendCutoff, cutoffFor, toolCutoff } from './calendar.ts';
import { compileLock, COMPILE_RULES_VERSION } from './compile.ts';
import type { CompileResult } from './compile.ts';
import type { CompileInput } from './resolver.ts';
import { detectProject } from './detect.ts';
import type { PythonProject } from './detect.ts';
import { distributionOf } from './leaks.ts';
import { lockPins } from './lock.ts';
import { buildMetadata } from './metadataBuild.ts';
import { pruneExceptions, pruneRulesText } from './prune.ts';
import { normaliseName } from '../../domain/packageName.ts';
import { canonicalRequirements, isDeveloperTool } from './requirements.ts';
import { chooseRuntime } from './runtime.ts';
import type { RuntimeRule } from './runtime.ts';
import { withStoreContainer } from './storeContainer.ts';
import type { StoreContainer, StoreContainerDeps } from './storeContainer.ts';
import { expandExtra } from './testRequirements.ts';

export interface ResolveDeps extends StoreContainerDeps {
  readonly store: ArtefactStore;
  readonly records: RecordStore;
  readonly mirrors: MirrorStore;
  /** Runtime versions that the campaign allows; all when absent. */
  readonly runtimes?: readonly string[];
  /** Extra system packages for every environment of the campaign. */
  readonly systemPackages?: readonly string[];
}

/** Kept under `resolutions/<hash of the input>`: a repeated resolution costs nothing and works offline. */
export interface ResolutionRecord extends CompileResult {
  readonly schema: 1;
  readonly lock: `sha256:${string}`;
  readonly cutoff: IsoTime;
  readonly runtimeRule: RuntimeRule;
  readonly testSources: readonly string[];
}

/** Commands of the spec; not part of the key. */
const INSTALL = ['uv', 'pip', 'install', '--offline', '--no-deps', '--no-build-isolation', '-e', '.'];
const TEST = ['python', '-m', 'pytest'];

/** pytest versions below which a runtime's syntax tree or standard library stops them. */
const PYTEST_FLOORS: readonly (readonly [runtime: string, floor: string])[] = [
  ['3.8', 'pytest>=4.6'],
  ['3.9', 'pytest>=4.6.11'],
  ['3.10', 'pytest>=6.2.5'],
  ['3.11', 'pytest>=6.2.5'],
  ['3.12', 'pytest>=7.3'],
  ['3.13', 'pytest>=7.4'],
  ['3.14', 'pytest>=8'],
];

const BUILD_TOOLS = new Set(['setuptools', 'wheel', 'flit', 'flit-core', 'hatchling']);

const reject = (reason: RejectionReason, detail: string): ResolveOutcome => ({
  ok: false,
  rejection: { reason, detail: cutText(detail) } satisfies Rejection,
});

/** Resolves a candidate's environment: see `Ecosystem.resolve`. */
export async function resolveEnvironment(
  deps: ResolveDeps,
  candidate: Candidate,
  policy: CutoffPolicy,
  context: WorkContext,
): Promise<ResolveOutcome> {
  const startedAt = performance.now();
  const mirror = await deps.mirrors.open(candidate.mirror);
  const project = await detectProject(mirror, candidate);
  if (project === null)
    return reject(
      'not_python',
      'The base has no pyproject.toml, setup.py or setup.cfg that installs a project.',
    );
  if (project.compiled === 'rust')
    return reject('unbuildable', 'The project is compiled from Rust; base images have no Rust compiler.');
  const available = deps.baseImages
    .available()
    .filter((runtime) => deps.runtimes === undefined || deps.runtimes.includes(runtime.runtimeVersion));
  const choice = chooseRuntime({
    requiresPython: project.requiresPython,
    classifiers: project.classifiers,
    baseCreatedAt: candidate.baseCreatedAt,
    available,
  });
  if (!choice.ok) return reject('no_runtime', choice.detail);
  const { runtime } = choice;
  const systemPackages = [
    ...new Set([
      ...(deps.systemPackages ?? []),
      ...(project.compiled === 'c' ? ['build-essential', 'python3-dev'] : []),
    ]),
  ].toSorted();
  const cutoff = cutoffFor(policy, candidate.baseCreatedAt, candidate.createdAt);
  // One container for the metadata build and the compilation, opened only when one of them is needed.
  const session = containerSession(deps, { ...runtime, systemPackages }, context);
  try {
    const dependencies = await dependenciesOf(deps, candidate, project, runtime, cutoff, session);
    if (!dependencies.ok) return reject('unresolvable', dependencies.detail);
    const input = compileInput({ ...project, ...dependencies.project }, candidate, runtime, cutoff);
    const record = await resolution(deps, input, choice.rule, cutoff, project.testSources, session);
    if (!record.ok) return reject(record.reason, record.detail);
    const spec = await specOf(deps, runtime, systemPackages, record.value.lock);
    const key = environmentKey(spec);
    const ref = await deps.store.putJson(spec);
    deps.log.debug({ instance: candidate.instanceId, key, ...record.value }, 'environment resolved');
    return { ok: true, key, spec: ref, cutoff, durationMs: Math.round(performance.now() - startedAt) };
  } finally {
    await session.close();
  }
}

type Session = {
  readonly use: <T>(work: (container: StoreContainer) => Promise<T>) => Promise<T>;
  readonly close: () => Promise<void>;
};

/** A store container that is started on first use and shared until `close`. */
function containerSession(
  deps: StoreContainerDeps,
  runtime: Parameters<typeof withStoreContainer>[1],
  context: WorkContext,
): Session {
  let opened: Promise<StoreContainer> | undefined;
  let release = (): void => undefined;
  let ended: Promise<unknown> = Promise.resolve();
  const open = (): Promise<StoreContainer> =>
    (opened ??= new Promise((resolve, rejectOpen) => {
      const held = new Promise<void>((letGo) => (release = letGo));
      ended = withStoreContainer(deps, runtime, context, async (container) => {
        resolve(container);
        await held;
      }).catch(rejectOpen);
    }));
  return {
    use: async (work) => work(await open()),
    close: async () => {
      release();
      await ended;
    },
  };
}

async function specOf(
  deps: ResolveDeps,
  runtime: RuntimeBase,
  systemPackages: readonly string[],
  lock: ResolutionRecord['lock'],
): Promise<EnvironmentSpec> {
  const names = Object.keys(lockPins(await deps.store.getText(lock)));
  return {
    schema: 1,
    language: 'python',
    base: runtime.base,
    runtimeVersion: runtime.runtimeVersion,
    systemPackages,
    lock,
    pruneRules: pruneRulesText(await pruneExceptions(deps.records), names),
    install: INSTALL,
    test: TEST,
  };
}

type Known = Pick<PythonProject, 'name' | 'dependencies' | 'testRequirements'>;

/** Run-time requirements: as the files say, or by a real metadata build, kept by the base's tree. */
async function dependenciesOf(
  deps: ResolveDeps,
  candidate: Candidate,
  project: PythonProject,
  runtime: RuntimeBase,
  cutoff: IsoTime,
  session: Session,
): Promise<{ readonly ok: true; readonly project: Known } | { readonly ok: false; readonly detail: string }> {
  if (project.dependencies !== null) return { ok: true, project };
  const mirror = await deps.mirrors.open(candidate.mirror);
  const tree = await mirror.treeOid(candidate.baseCommit);
  const tools = backendCutoff(cutoff, runtime.releasedAt);
  const name = `metadata/${hashOf({ rules: COMPILE_RULES_VERSION, tree, base: runtime.base, runtime: runtime.runtimeVersion, cutoff, tools })}`;
  const known = await deps.records.read<Awaited<ReturnType<typeof buildMetadata>>>(name);
  const built =
    (known?.ok === true ? known : null) ?? // a failed build is tried again
    (await session.use((container) =>
      buildMetadata(container, mirror.archive(candidate.baseCommit), {
        backend: project.backend,
        requires: canonicalRequirements(project.buildRequires),
        version: candidate.baseVersion ?? '0',
        cutoff,
        backendCutoff: tools,
      }),
    ));
  if (!built.ok) return built;
  if (known === null) await deps.records.record(name, built);
  const named = ['test', 'tests', 'testing'].flatMap((extra) => expandExtra(extra, built.metadata));
  return {
    ok: true,
    project: {
      name: project.name ?? built.metadata.name,
      dependencies: built.metadata.dependencies ?? [],
      testRequirements: [...project.testRequirements, ...named],
    },
  };
}

/** What is compiled: canonical text, so that neighbours with equal needs share one resolution. */
function compileInput(
  project: PythonProject,
  candidate: Candidate,
  runtime: RuntimeBase,
  cutoff: IsoTime,
): CompileInput {
  const own = project.name ?? distributionOf(candidate);
  const self = own === null ? null : normaliseName(own);
  const kept = new Set([...project.requiredPlugins, ...project.plugins].map(normaliseName));
  const floor = PYTEST_FLOORS.find(([version]) => version === runtime.runtimeVersion)?.[1] ?? 'pytest';
  const build = canonicalRequirements(project.buildRequires, (name) => name === self);
  const required = canonicalRequirements(project.dependencies ?? [], (name) => name === self);
  // CI files install build tools of their own; the back end's are already among `build`.
  const omit = (name: string): boolean =>
    name === self || isDeveloperTool(name, kept) || (BUILD_TOOLS.has(name) && !kept.has(name));
  const optional = canonicalRequirements([...project.testRequirements, ...project.plugins], omit);
  return {
    rules: COMPILE_RULES_VERSION,
    self,
    importRoots: project.importRoots,
    base: runtime.base,
    runtimeVersion: runtime.runtimeVersion,
    cutoff,
    toolCutoff: toolCutoff(cutoff, runtime.releasedAt),
    backendCutoff: backendCutoff(cutoff, runtime.releasedAt),
    exact: cutoffFor('exact', candidate.baseCreatedAt, candidate.createdAt),
    month: cutoffFor('month', candidate.baseCreatedAt, candidate.createdAt),
    required: [...new Set([...required, ...build, floor])].toSorted(),
    buildTools: build.map((line) => /^[a-z0-9-]+/.exec(line)?.[0] ?? line),
    optional: optional.filter(
      (line) => !required.includes(line) && !build.includes(line) && line !== 'pytest',
    ),
  };
}

async function resolution(
  deps: ResolveDeps,
  input: CompileInput,
  runtimeRule: RuntimeRule,
  cutoff: IsoTime,
  testSources: readonly string[],
  session: Session,
): Promise<
  | { readonly ok: true; readonly value: ResolutionRecord }
  | { readonly ok: false; readonly reason: RejectionReason; readonly detail: string }
> {
  // `exact` and `month` only matter when a tool has to be relaxed; the common path must not depend on them.
  const { exact: _exact, month: _month, importRoots: _roots, ...shared } = input;
  const plain = `resolutions/${hashOf({ ...shared, roots: [...input.importRoots].toSorted() })}`;
  const relaxed = `resolutions/${hashOf(input)}`;
  for (const name of [plain, relaxed]) {
    const known = await deps.records.read<ResolutionRecord>(name);
    if (known !== null && (await deps.store.has(known.lock))) return { ok: true, value: known };
  }
  const compiled = await session.use((container) => compileLock(container, input));
  if (!compiled.ok) return compiled;
  const { lockText, ...facts } = compiled.value;
  const lock = await deps.store.put(lockText);
  const value: ResolutionRecord = { schema: 1, ...facts, lock, cutoff, runtimeRule, testSources };
  const stored = await deps.records.record(
    facts.relaxedTo === null || facts.relaxedTo === cutoff ? plain : relaxed,
    value,
  );
  return { ok: true, value: stored.value };
}

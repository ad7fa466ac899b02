import { isArchive } from '../../domain/types.ts';
import type { Candidate } from '../../domain/types.ts';
import type { Mirror } from '../../sources/types.ts';
import { configuredPlugins, testDistributions } from './imports.ts';
import { findImportRoots, localNames } from './importRoots.ts';
import { parseIni } from './ini.ts';
import type { Ini } from './ini.ts';
import { readPkgInfo, readRequiresTxt, readSetupCfg, readSetupPy } from './legacyMetadata.ts';
import type { SetupCfg, SetupPy } from './legacyMetadata.ts';
import { NO_METADATA, table } from './projectMetadata.ts';
import type { ProjectMetadata } from './projectMetadata.ts';
import { readPyproject } from './pyproject.ts';
import type { Pyproject } from './pyproject.ts';
import { parseRequirement } from './requirements.ts';
import { isRequirementsFile, testRequirements } from './testRequirements.ts';
import type { TreeTexts } from './testRequirements.ts';

/** What a tree says of itself as a Python project. */
export interface PythonProject {
  /** As the project writes it; null when only a build can tell. */
  readonly name: string | null;
  /** What `import` finds once it is installed: `cachetools`, or `jaraco/functools` inside a namespace. Sorted. */
  readonly importRoots: readonly string[];
  readonly requiresPython: string | null;
  readonly classifiers: readonly string[];
  readonly backend: string;
  readonly buildRequires: readonly string[];
  /** null: only a metadata build can tell. */
  readonly dependencies: readonly string[] | null;
  readonly testRequirements: readonly string[];
  readonly testSources: readonly string[];
  /** Distributions that imports, fixtures and the runner's configuration ask for. */
  readonly plugins: readonly string[];
  /** Subset of `plugins` that pytest cannot start without. */
  readonly requiredPlugins: readonly string[];
  readonly compiled: 'no' | 'c' | 'rust';
}

const MAX_TEST_FILES = 600; // enough for every import that matters; a huge suite repeats its imports
const WANTED =
  /^(?:pyproject\.toml|setup\.py|setup\.cfg|tox\.ini|pytest\.ini|\.pytest\.ini|PKG-INFO|(?:src\/)?[^/]+\.egg-info\/(?:PKG-INFO|requires\.txt)|\.github\/workflows\/[^/]+\.ya?ml)$/;
const TEST_FILE = /(?:^|\/)(?:conftest|test_[^/]*|[^/]*_tests?|tests?)\.py$|(?:^|\/)tests?\/.*\.py$/;

/** Reads what detection needs of a candidate's base tree and of its tests after the test patch. */
export async function detectProject(
  mirror: Mirror,
  candidate: Pick<Candidate, 'baseCommit' | 'testCommit' | 'source' | 'provenance'>,
): Promise<PythonProject | null> {
  const entries = (await mirror.listTree(candidate.baseCommit)).filter((entry) => entry.mode !== '160000');
  const paths = new Set(entries.map((entry) => entry.path));
  const wanted = [...paths].filter((path) => WANTED.test(path) || isRequirementsFile(path));
  const initFiles = [...paths].filter((path) => /^(?:src\/|lib\/)?[^/]+\/__init__\.py$/.test(path));
  const tests = (await mirror.listTree(candidate.testCommit))
    .filter((entry) => entry.mode.startsWith('100') && TEST_FILE.test(entry.path) && entry.bytes < 1_000_000)
    .map((entry) => entry.path)
    .slice(0, MAX_TEST_FILES);
  const [base, testTexts] = await Promise.all([
    mirror.readFiles(candidate.baseCommit, [...wanted, ...initFiles]),
    mirror.readFiles(candidate.testCommit, tests),
  ]);
  const tree: TreeTexts = { paths, text: (path) => base.get(path)?.toString('utf8') ?? null };
  return describeProject(
    tree,
    [...testTexts.values()].map((content) => content.toString('utf8')),
    isArchive(candidate),
  );
}

/**
 * Describes a tree. Pure. `generated`: PKG-INFO and egg-info in the tree were made for this very state (a source
 * archive), so what they say of requirements is true. null when there is nothing to install.
 */
export function describeProject(
  tree: TreeTexts,
  testTexts: readonly string[],
  generated: boolean,
): PythonProject | null {
  const pyprojectText = tree.text('pyproject.toml');
  const pyproject = pyprojectText === null ? null : readPyproject(pyprojectText);
  const setupCfg = optional(tree.text('setup.cfg'), readSetupCfg);
  const setupPy = optional(tree.text('setup.py'), readSetupPy);
  const installable = pyproject?.build !== null && pyproject?.build !== undefined;
  const described =
    pyproject !== null && (pyproject.metadata.name !== null || pyproject.metadata.dependencies !== null);
  if (!installable && !described && setupPy === null && (setupCfg?.metadata.name ?? null) === null)
    return null;
  const metadata = mergeMetadata(tree, pyproject, setupCfg, setupPy, generated);
  const build = buildOf(pyproject, setupCfg, setupPy);
  const importRoots = findImportRoots(tree, metadata.name);
  const settings = pytestSettings(tree, pyproject, setupCfg);
  const tests = testRequirements(
    tree,
    metadata,
    { tox: toxIni(tree, pyproject), setupCfg: setupCfg?.ini ?? null },
    [...(setupCfg?.testsRequire ?? []), ...(setupPy?.testsRequire ?? [])],
  );
  const requiredPlugins = configuredPlugins(settings);
  const plugins = testDistributions(testTexts, localNames(tree));
  return {
    name: metadata.name,
    importRoots,
    requiresPython: metadata.requiresPython,
    classifiers: metadata.classifiers,
    backend: build.backend,
    buildRequires: build.requires,
    dependencies: metadata.dependencies,
    testRequirements: tests.lines,
    testSources: tests.sources,
    plugins: [...new Set([...plugins, ...requiredPlugins])].toSorted(),
    requiredPlugins,
    compiled: compiledKind(tree, build.backend, build.requires, setupPy, hasBuildScript(pyproject)),
  };
}

const optional = <T>(text: string | null, read: (text: string) => T): T | null =>
  text === null ? null : read(text);

function toxIni(tree: TreeTexts, pyproject: Pyproject | null): Ini | null {
  const text = tree.text('tox.ini');
  if (text !== null) return parseIni(text);
  const embedded = table(table(pyproject?.toml['tool'])['tox'])['legacy_tox_ini'];
  return typeof embedded === 'string' ? parseIni(embedded) : null;
}

/** The first source that speaks wins, in the order of trust: pyproject, generated metadata, setup.cfg, setup.py. */
function mergeMetadata(
  tree: TreeTexts,
  pyproject: Pyproject | null,
  setupCfg: SetupCfg | null,
  setupPy: SetupPy | null,
  generated: boolean,
): ProjectMetadata {
  const readers: ProjectMetadata[] = [pyproject?.metadata ?? NO_METADATA];
  if (generated) readers.push(...generatedMetadata(tree));
  const cfg = setupCfg?.metadata ?? NO_METADATA;
  // A setup.py beside setup.cfg that says anything may add requirements: only a build can tell.
  readers.push(
    (setupPy === null || setupPy.empty) &&
      cfg.name !== null &&
      setupCfg?.requiresElsewhere === false &&
      !dynamicProject(pyproject)
      ? { ...cfg, dependencies: cfg.dependencies ?? [] }
      : cfg,
  );
  if (setupPy !== null)
    readers.push({
      ...NO_METADATA,
      name: setupPy.name,
      requiresPython: setupPy.requiresPython,
      classifiers: setupPy.classifiers,
    });
  const first = <K extends keyof ProjectMetadata>(key: K): ProjectMetadata[K] | null =>
    readers.map((reader) => reader[key]).find((value) => value !== null) ?? null;
  return {
    name: first('name'),
    requiresPython: first('requiresPython'),
    classifiers: readers.map((reader) => reader.classifiers).find((versions) => versions.length > 0) ?? [],
    dependencies: first('dependencies'),
    extras: Object.assign({}, ...readers.toReversed().map((reader) => reader.extras ?? {})) as Record<
      string,
      readonly string[]
    >,
    groups: pyproject?.metadata.groups ?? {},
  };
}

const dynamicProject = (pyproject: Pyproject | null): boolean =>
  pyproject !== null && pyproject.metadata.name !== null && pyproject.metadata.dependencies === null;

/** PKG-INFO and egg-info of a source archive. An egg-info without requires.txt says: none. */
function generatedMetadata(tree: TreeTexts): readonly ProjectMetadata[] {
  const found: ProjectMetadata[] = [];
  const root = tree.text('PKG-INFO');
  if (root !== null) found.push(readPkgInfo(root));
  const egg = [...tree.paths].find((path) => /^(?:src\/)?[^/]+\.egg-info\/PKG-INFO$/.test(path));
  if (egg !== undefined) {
    const requires = tree.text(egg.replace(/PKG-INFO$/, 'requires.txt')) ?? '';
    found.push({ ...readPkgInfo(tree.text(egg) ?? ''), ...readRequiresTxt(requires) });
  }
  return found;
}

function buildOf(
  pyproject: Pyproject | null,
  setupCfg: SetupCfg | null,
  setupPy: SetupPy | null,
): { readonly backend: string; readonly requires: readonly string[] } {
  const build = pyproject?.build ?? { backend: 'setuptools.build_meta:__legacy__', requires: ['setuptools'] };
  const requires = [...build.requires, ...(setupCfg?.setupRequires ?? []), ...(setupPy?.setupRequires ?? [])];
  const needs: string[] = [];
  if (/^setuptools\b/.test(build.backend)) needs.push('setuptools', 'wheel');
  if (/^(?:hatchling|pdm)\b/.test(build.backend)) needs.push('editables');
  if (/^mesonpy\b/.test(build.backend)) needs.push('ninja');
  if (/^scikit_build_core\b/.test(build.backend)) needs.push('cmake', 'ninja');
  const named = new Set(requires.map((line) => parseRequirement(line)?.name));
  return { backend: build.backend, requires: [...requires, ...needs.filter((name) => !named.has(name))] };
}

/** Poetry's and pdm's way to compile extensions without a setup.py of their own. */
const hasBuildScript = (pyproject: Pyproject | null): boolean =>
  table(table(pyproject?.toml['tool'])['poetry'])['build'] !== undefined;

function compiledKind(
  tree: TreeTexts,
  backend: string,
  requires: readonly string[],
  setupPy: SetupPy | null,
  buildScript: boolean,
): PythonProject['compiled'] {
  const names = new Set(requires.map((line) => parseRequirement(line)?.name));
  if (/^maturin\b/.test(backend) || names.has('setuptools-rust') || names.has('maturin')) return 'rust';
  if (/^(?:mesonpy|scikit_build_core|skbuild)\b/.test(backend) || names.has('cython') || names.has('cffi'))
    return 'c';
  const sources = [...tree.paths].some(
    (path) => /\.(?:pyx|c|cc|cpp)$/.test(path) && !/(?:^|\/)(?:tests?|docs?|examples?)\//.test(path),
  );
  return (setupPy?.compiled === true || buildScript) && sources ? 'c' : 'no';
}

/** The runner's settings from pytest.ini, pyproject, tox.ini and setup.cfg, keys in lower case. */
function pytestSettings(
  tree: TreeTexts,
  pyproject: Pyproject | null,
  setupCfg: SetupCfg | null,
): Readonly<Record<string, string>> {
  const ini = optional(tree.text('pytest.ini') ?? tree.text('.pytest.ini'), parseIni)?.get('pytest');
  if (ini !== undefined) return Object.fromEntries(ini);
  const pytest = table(table(table(pyproject?.toml['tool'])['pytest'])['ini_options']);
  if (Object.keys(pytest).length > 0) {
    return Object.fromEntries(
      Object.entries(pytest).map(([key, value]) => [
        key.toLowerCase(),
        Array.isArray(value) ? value.join(' ') : String(value),
      ]),
    );
  }
  const section =
    optional(tree.text('tox.ini'), parseIni)?.get('pytest') ??
    setupCfg?.ini.get('tool:pytest') ??
    setupCfg?.ini.get('pytest');
  return section === undefined
    ? {}
    : Object.fromEntries([...section].map(([key, value]) => [key, value.replaceAll('\n', ' ')]));
}

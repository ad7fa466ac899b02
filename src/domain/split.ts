/**
 * The one place that decides to which side of a change a path belongs. Mining, the protection of tests from candidate
 * patches, and the export all ask here, by path alone, so that they can never disagree.
 */

/**
 * - `test`      test modules, their helpers, data and snapshots
 * - `runner`    files that only steer the test runner (conftest.py, pytest.ini): pinned like tests
 * - `mixed`     files that hold both runner tables and the project's own (pyproject.toml, setup.cfg, tox.ini)
 * - `generated` written by packaging or version tools: in neither patch
 * - `doc`       documentation and housekeeping: goes with the sources, but is not a source change by itself
 * - `source`    everything else
 */
export type PathKind = 'test' | 'runner' | 'mixed' | 'generated' | 'doc' | 'source';

export interface SplitOptions {
  /** `python_files` patterns of the project's runner configuration; null or absent means pytest's defaults. */
  readonly pythonFiles?: readonly string[] | null;
}

export interface ChangeSplit {
  /** Source, mixed and documentation paths: the gold patch. */
  readonly source: readonly string[];
  /** Test and runner paths: the test patch. */
  readonly test: readonly string[];
  readonly generated: readonly string[];
  /** Source files proper: neither documentation nor packaging tables. A change without any is no source change. */
  readonly properSource: readonly string[];
}

const RUNNER_FILES = new Set([
  'conftest.py',
  'pytest.ini',
  '.pytest.ini',
  'pytest.toml',
  '.pytest.toml',
  '.coveragerc',
]);
const MIXED_FILES = new Set(['pyproject.toml', 'setup.cfg', 'tox.ini']);
const GENERATED_FILES = new Set([
  'PKG-INFO',
  '.git_archival.txt',
  '_version.py',
  '_version.pyi',
  'MANIFEST',
  'RECORD',
]);

/** Directories whose whole content is tests, at any depth. */
const TEST_DIRECTORY =
  /^(tests?|unittests?|testsuites?|__snapshots__|test[-_]?(data|files|fixtures|cases|resources|projects|packages)|tests?[-_](unit|integration|functional|suite)|(unit|functional|integration|regression|system|e2e|acceptance|doc|smoke|property)[-_]?tests?)$/i;
/** Test directories only at the top of a tree: deeper, `testing` is a public package (numpy.testing, pandas.testing). */
const TOP_TEST_DIRECTORY = /^(testing|tests?[-_].+|.+[-_]tests?|t)$/i;
/** Packages named `test` that are public API, not tests. */
const PUBLIC_TEST_PACKAGES = /(^|\/)django\/test\//;

const DEFAULT_PYTHON_FILES = ['test_*.py', '*_test.py'];
/** Modules that unittest-based and old projects use, beside pytest's defaults. */
const TEST_MODULE = /^(test_.*|.*_tests?)\.py$/;
/** Only at the top of a tree: deeper, `tests.py` is as often a module of the package (jinja2.tests). */
const TOP_TEST_MODULE = /^(tests?|runtests|run_tests)\.py$/;
/** Helpers that packages offer to their users under a test-like name (aiohttp.test_utils, distributed.utils_test). */
const PUBLIC_HELPER =
  /^(test_?(utils?|helpers?|support|client|runner|case|tools)|(utils?|helpers?|support)_tests?)\.py$/;

const DOC_DIRECTORY =
  /^(docs?|documentation|examples?|\.github|\.circleci|\.gitlab|benchmarks?|news|changes|changelog\.d|newsfragments|changelog|licenses?)$/i;
const DOC_TEXT =
  /^(readme|changes?|changelog|history|news|authors?|contributors?|contributing|licen[cs]e|copying|notice|maintainers|todo|install|security|code_of_conduct|releases?|release[-_]?notes|whats_?new|upgrad(e|ing)|credits|thanks|codeowners|citation)([-._][\w.-]+)?$/i;
const DOC_EXTENSION = /(^[^.]*|\.(md|rst|txt|adoc|html|cff|markdown|[0-9.]+))$/i;
const HOUSEKEEPING_FILE =
  /^(manifest\.in|makefile|.*\.(md|rst)|\.(git.*|pre-commit.*|travis.*|readthedocs.*|editorconfig|flake8|pylintrc|pydocstyle.*|mailmap|bumpversion.*|zenodo.*|codecov.*|landscape.*|appveyor.*|isort.*|style.*|yapf.*|dockerignore|hg.*|bzrignore)|codecov\.ya?ml|appveyor\.ya?ml|(dev|tests?|docs?|ci|lint)[-_]?requirements.*\.(txt|in)|requirements[-_.]?(dev|tests?|docs?|ci|lint).*\.(txt|in))$/i;
/** Written by dependency managers; large, and no test reads them. */
const LOCK_FILE = /^((uv|poetry|pdm|pixi|Pipfile|conda)[-.]lock.*|package-lock\.json)$/;
const HOUSEKEEPING_AT_TOP = /^(noxfile|tasks|fabfile|dodo)\.py$/;

/** Which side of a change a path belongs to. Paths use `/` and are relative to the project's root. */
export function classifyPath(path: string, options: SplitOptions = {}): PathKind {
  const segments = path.split('/');
  const name = segments.at(-1) ?? '';
  const directories = segments.slice(0, -1);
  if (isGenerated(name, directories)) return 'generated';
  if (RUNNER_FILES.has(name)) return 'runner';
  if (inTestDirectory(path, directories)) return 'test';
  if (MIXED_FILES.has(name)) return 'mixed';
  if (isTestNamed(name, directories, options)) return 'test';
  return isDoc(name, directories) ? 'doc' : 'source';
}

/** Divides changed paths between the gold patch, the test patch, and neither. Order is kept. */
export function splitChange(paths: readonly string[], options: SplitOptions = {}): ChangeSplit {
  const source: string[] = [];
  const test: string[] = [];
  const generated: string[] = [];
  const properSource: string[] = [];
  for (const path of paths) {
    const kind = classifyPath(path, options);
    if (kind === 'generated') generated.push(path);
    else if (kind === 'test' || kind === 'runner') test.push(path);
    else source.push(path);
    if (kind === 'source') properSource.push(path);
  }
  return { source, test, generated, properSource };
}

/** True for paths that a candidate patch may not touch: tests, conftest and pure runner configuration. */
export function isProtected(path: string, options: SplitOptions = {}): boolean {
  const kind = classifyPath(path, options);
  return kind === 'test' || kind === 'runner';
}

/**
 * True when the runner collects the file as a test module: by the project's `python_files` when given, else by pytest's
 * defaults and the names of unittest-based projects (`tests.py` in a test directory or at the top).
 */
export function isTestModule(path: string, options: SplitOptions = {}): boolean {
  const segments = path.split('/');
  const name = segments.at(-1) ?? '';
  if (classifyPath(path, options) !== 'test') return false;
  const own = options.pythonFiles ?? null;
  if (own !== null && own.length > 0) return own.some((pattern) => matchesGlob(pattern, name, path));
  return (
    TEST_MODULE.test(name) || name === 'tests.py' || (segments.length === 1 && TOP_TEST_MODULE.test(name))
  );
}

/**
 * The test modules of a change, sorted. A project whose modules have free names under a test directory
 * (`tests/lexer.py`) gets those, when no path fits a pattern.
 */
export function testModules(paths: readonly string[], options: SplitOptions = {}): readonly string[] {
  const strict = paths.filter((path) => isTestModule(path, options));
  const found = strict.length > 0 ? strict : paths.filter((path) => isLooseTestModule(path, options));
  return [...new Set(found)].sort();
}

const NOT_A_TEST =
  /^(__init__|__main__|_.*|conftest|setup|common|base|utils?|helpers?|support|compat|fixtures?|mocks?|testcase|run_?tests?|runtests|all_?tests)\.py$/i;
const DATA_DIRECTORY =
  /^(data|fixtures?|resources?|assets|files|samples?|input|output|cases|projects?|packages?|examples?|snapshots?|__snapshots__|test[-_]?data)$/i;

function isLooseTestModule(path: string, options: SplitOptions): boolean {
  const segments = path.split('/');
  const name = segments.at(-1) ?? '';
  return (
    name.endsWith('.py') &&
    !NOT_A_TEST.test(name) &&
    classifyPath(path, options) === 'test' &&
    segments.slice(0, -1).some((segment) => /^tests?$|^testing$/i.test(segment)) &&
    !segments.slice(0, -1).some((segment) => DATA_DIRECTORY.test(segment))
  );
}

function isGenerated(name: string, directories: readonly string[]): boolean {
  return (
    GENERATED_FILES.has(name) ||
    /\.(pyc|pyo|pyd|so|o)$/.test(name) ||
    directories.some(
      (directory) => /\.(egg-info|dist-info|eggs)$/.test(directory) || directory === '__pycache__',
    ) ||
    name.endsWith('.egg-info') ||
    (directories.length === 0 && LOCK_FILE.test(name))
  );
}

function isDoc(name: string, directories: readonly string[]): boolean {
  return (
    DOC_DIRECTORY.test(directories[0] ?? '') ||
    HOUSEKEEPING_FILE.test(name) ||
    (DOC_TEXT.test(name) && DOC_EXTENSION.test(name)) ||
    (directories.length === 0 && HOUSEKEEPING_AT_TOP.test(name))
  );
}

function inTestDirectory(path: string, directories: readonly string[]): boolean {
  if (PUBLIC_TEST_PACKAGES.test(path)) return false;
  const first = directories[0];
  if (first !== undefined && TOP_TEST_DIRECTORY.test(first)) return true;
  return directories.some((directory) => TEST_DIRECTORY.test(directory));
}

const isHelperName = (name: string): boolean => PUBLIC_HELPER.test(name);

function isTestNamed(name: string, directories: readonly string[], options: SplitOptions): boolean {
  const patterns = options.pythonFiles?.length ? options.pythonFiles : DEFAULT_PYTHON_FILES;
  if (!name.endsWith('.py'))
    return /\.(ambr|doctest)$/.test(name) || /^test_.*\.(txt|json|ya?ml)$/.test(name);
  if (directories.length > 0 && isHelperName(name)) return false;
  if (TEST_MODULE.test(name) || (directories.length === 0 && TOP_TEST_MODULE.test(name))) return true;
  // A project's own pattern may be as wide as `*.py`; outside test directories only test-like ones count.
  return patterns.some((pattern) => /test/i.test(pattern) && matchesGlob(pattern, name, name));
}

/** fnmatch as pytest uses it: against the file name, or against the whole path when the pattern has a slash. */
function matchesGlob(pattern: string, name: string, path: string): boolean {
  const expression = pattern
    .replace(/[.+^${}()|\\]/g, String.raw`\$&`)
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
    .replaceAll('[!', '[^');
  try {
    return new RegExp(pattern.includes('/') ? `(^|/)${expression}$` : `^${expression}$`).test(
      pattern.includes('/') ? path : name,
    );
  } catch {
    return false; // an unclosed bracket is no pattern
  }
}

/** Whether a change must be installed anew before its tests mean anything. Pure. */
import { parse as parseToml } from 'smol-toml';
import { canonicalJson } from '../../domain/canonical.ts';
import { parseIni } from './ini.ts';

const COMPILED = /\.(pyx|pxd|pxi|c|cc|cpp|cxx|h|hh|hpp|m|rs|f|f77|f90|f95|for|go|i)$/i;
const BUILD_FILES =
  /(^|\/)(setup\.py|meson\.build|meson_options\.txt|CMakeLists\.txt|Cargo\.(toml|lock)|build\.py|hatch_build\.py|pdm_build\.py|_custom_build\.py)$/;

/** Parts of `[project]` and `[tool.poetry]` that say what the project is called, not what is installed. */
const DESCRIPTIVE = [
  'version',
  'description',
  'readme',
  'license',
  'license-files',
  'authors',
  'maintainers',
  'keywords',
  'classifiers',
  'urls',
  'homepage',
  'repository',
  'documentation',
  'dependencies', // the environment is the row's and fixed: an install takes no dependencies
  'optional-dependencies',
  'dev-dependencies',
  'group',
  'requires-python',
];
const BUILD_TOOLS = [
  'setuptools',
  'setuptools_scm',
  'poetry',
  'flit',
  'hatch',
  'pdm',
  'maturin',
  'scikit-build',
  'meson-python',
  'cffi',
  'cython',
];
const DESCRIPTIVE_SECTIONS =
  /^(tool:pytest|flake8|mypy.*|pydocstyle|isort|pycodestyle|pep8|coverage:.*|bumpversion.*|bdist_wheel|aliases|metadata|egg_info|check-manifest|zest\.releaser|tox:.*|testenv.*|upload_docs|build_sphinx)$/;

/**
 * True when a change touches compiled sources, or those tables of the packaging files that decide what an install makes.
 * A new version number, a classifier or a runner's table is no reason: an install costs a container of its own.
 */
export function touchesPackaging(
  changed: readonly {
    readonly path: string;
    /** Text before and after; null where the file is absent. Needed for pyproject.toml and setup.cfg only. */
    readonly before: string | null;
    readonly after: string | null;
  }[],
): boolean {
  return changed.some(({ path, before, after }) => {
    if (COMPILED.test(path) || BUILD_FILES.test(path)) return true;
    if (path === 'pyproject.toml') return buildTables(before) !== buildTables(after);
    if (path === 'setup.cfg') return buildSections(before) !== buildSections(after);
    return false;
  });
}

/** Whether a change of this path can be one that `touchesPackaging` speaks of. */
export const mayTouchPackaging = (path: string): boolean =>
  COMPILED.test(path) || BUILD_FILES.test(path) || PACKAGING_FILES.includes(path);

/** Files whose texts `touchesPackaging` must be given. */
export const PACKAGING_FILES: readonly string[] = ['pyproject.toml', 'setup.cfg'];

type Table = Readonly<Record<string, unknown>>;
const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const tableAt = (parent: Table, key: string): Table => (isTable(parent[key]) ? parent[key] : {});
const without = (table: Table, keys: readonly string[]): Table =>
  Object.fromEntries(Object.entries(table).filter(([key]) => !keys.includes(key)));

function buildTables(text: string | null): string {
  if (text === null) return 'absent';
  try {
    const document: Table = parseToml(text);
    const tool = tableAt(document, 'tool');
    const tools = BUILD_TOOLS.filter((name) => tool[name] !== undefined);
    return canonicalJson({
      system: document['build-system'] ?? null,
      project: without(tableAt(document, 'project'), DESCRIPTIVE),
      tools: tools.map((name) => [
        name,
        without(tableAt(tool, name), name === 'hatch' ? ['envs'] : DESCRIPTIVE),
      ]),
    });
  } catch {
    return text; // what cannot be read counts as changed
  }
}

function buildSections(text: string | null): string {
  if (text === null) return 'absent';
  const sections = [...parseIni(text)].filter(([name]) => !DESCRIPTIVE_SECTIONS.test(name));
  return canonicalJson(
    sections.map(([name, pairs]) => [
      name,
      [...pairs].filter(([key]) => !DESCRIPTIVE.includes(key) && !key.endsWith('_requires')),
    ]),
  );
}

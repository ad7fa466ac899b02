/** Requirement lines: reading, filtering, ordering. Pure. */

import { normaliseName } from '../../domain/packageName.ts';

export interface Requirement {
  /** Normalised. */
  readonly name: string;
  readonly extras: readonly string[];
  /** e.g. `>=2,<3`, or ''. */
  readonly specifier: string;
  /** Environment marker without `;`, or ''. */
  readonly marker: string;
}

const REQUIREMENT = /^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?\s*(.*)$/;
/** A URL, path or version control reference: not on the index, so never in a lock of ours. */
const REFERENCE = /^(?:[a-z+]+:\/\/|git\+|\.|\/|file:)|\s@\s|^[^;]*@\s*(?:git\+|https?:|file:)/i;

/** Reads one PEP 508 line (`(>=2)` and inline comments tolerated); null for options, paths and URLs. */
export function parseRequirement(line: string): Requirement | null {
  const text = line
    .replace(/(^|\s)#.*$/, '')
    .replace(/\s--hash=\S+/g, '')
    .replace(/\\$/, '')
    .trim();
  if (text === '' || text.startsWith('-') || REFERENCE.test(text)) return null;
  const [head = '', ...markers] = text.split(';');
  const match = REQUIREMENT.exec(head.trim());
  if (match?.[1] === undefined) return null;
  const specifier = (match[3] ?? '').replace(/^\((.*)\)$/, '$1').replaceAll(' ', '');
  if (specifier !== '' && !/^(?:===?|~=|!=|<=?|>=?)/.test(specifier)) return null;
  return {
    name: normaliseName(match[1]),
    extras: (match[2] ?? '')
      .split(',')
      .map((extra) => normaliseName(extra.trim()))
      .filter((extra) => extra !== '')
      .toSorted(),
    specifier,
    marker: markers.join(';').trim().replace(/\s+/g, ' '),
  };
}

/** One canonical line; parts of the specifier in one order. */
export function formatRequirement(requirement: Requirement): string {
  const extras = requirement.extras.length > 0 ? `[${requirement.extras.join(',')}]` : '';
  const specifier = requirement.specifier
    .split(',')
    .filter((part) => part !== '')
    .toSorted()
    .join(',');
  const marker = requirement.marker === '' ? '' : ` ; ${requirement.marker}`;
  return `${requirement.name}${extras}${specifier}${marker}`;
}

export interface RequirementsFile {
  readonly requirements: readonly string[];
  /** Paths after `-r`, relative to the file. */
  readonly includes: readonly string[];
  /** Extras of the project itself, from lines such as `-e .[test]`. */
  readonly selfExtras: readonly string[];
}

/** Reads a pip requirements file. */
export function parseRequirementsFile(text: string): RequirementsFile {
  const requirements: string[] = [];
  const includes: string[] = [];
  const selfExtras: string[] = [];
  for (const raw of text.replace(/\\\r?\n/g, ' ').split(/\r?\n/)) {
    const line = raw.replace(/(^|\s)#.*$/, '').trim();
    const include = /^(?:-r|--requirement)[\s=]*(\S+)$/.exec(line);
    const itself = /^(?:-e\s*|--editable[\s=]+)?\.\/?(?:\[([^\]]+)\])?$/.exec(line);
    if (include?.[1] !== undefined) includes.push(include[1]);
    else if (itself !== null) selfExtras.push(...(itself[1] ?? '').split(',').map((extra) => extra.trim()));
    else if (line !== '' && !line.startsWith('-')) requirements.push(line);
  }
  return { requirements, includes, selfExtras: selfExtras.filter((extra) => extra !== '') };
}

/**
 * Tools that developers list beside their tests and that no test needs: formatters, linters, type checkers, docs,
 * release and environment tools, uploaders. Dropped before resolution, so that locks are small and neighbours share.
 */
const DEVELOPER_TOOLS = new Set(
  `
  black ruff isort autopep8 yapf docformatter pyupgrade blacken-docs usort ufmt flake8 pylint pycodestyle
  pydocstyle pyflakes bandit vulture codespell doc8 safety mypy pyright pyre-check pytype basedpyright ty
  pyrefly import-linter darglint interrogate pre-commit prek tox tox-uv tox-gh-actions tox-gh nox invoke
  virtualenv pip pip-tools uv sphinx mkdocs furo docutils myst-parser recommonmark numpydoc pdoc pdoc3
  mkdocstrings readme-renderer rstcheck restructuredtext-lint jupyter jupyterlab notebook nbsphinx ipython
  ipdb pudb twine build bump2version bumpversion bump-my-version bumpver towncrier check-manifest
  zest-releaser commitizen python-semantic-release hatch poetry pdm flit check-wheel-contents cibuildwheel
  auditwheel codecov coveralls python-coveralls codacy-coverage diff-cover detox wheel-inspect pip-audit
  scriv pytest-flake8 pytest-black pytest-mypy pytest-ruff pytest-isort pytest-checkdocs pytest-pylint
  pytest-pycodestyle pytest-enabler
`.split(/\s+/),
);
const TOOL_FAMILIES =
  /^(?:flake8-|pep8-|sphinx-|sphinxcontrib-|mkdocs-|mkdocstrings-|types-|pylint-|jupyter-|.*-stubs$)/;

/** Coverage of a run is of no use here, and its `.pth` file slows every start of Python: kept only where the configuration names it. */
const COVERAGE_TOOLS = new Set([
  'pytest-cov',
  'coverage',
  'coverage-enable-subprocess',
  'covdefaults',
  'nose-cov',
  'pytest-cover',
]);

/** True for what no test run needs. `kept` are names that the runner's configuration or the tests' imports ask for. */
export function isDeveloperTool(name: string, kept: ReadonlySet<string> = new Set()): boolean {
  const normalised = normaliseName(name);
  if (kept.has(normalised)) return false;
  return DEVELOPER_TOOLS.has(normalised) || TOOL_FAMILIES.test(normalised) || COVERAGE_TOOLS.has(normalised);
}

/** Canonical, sorted, unique lines of what can be read; `omit` says which names stay out. */
export function canonicalRequirements(
  lines: readonly string[],
  omit: (name: string) => boolean = () => false,
): readonly string[] {
  const canonical = lines
    .map(parseRequirement)
    .filter((requirement) => requirement !== null && !omit(requirement.name))
    .map((requirement) => formatRequirement(requirement as Requirement));
  return [...new Set(canonical)].toSorted();
}

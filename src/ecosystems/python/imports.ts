/**
 * Third-party modules that test files import, as distribution names. Source archives often name no test requirements.
 * `module` or `module=distribution`. Only modules of this table are ever added: a name guessed from an import could be anybody's package.
 */
const DISTRIBUTIONS: ReadonlyMap<string, string> = new Map(
  `
    attr=attrs attrs babel bs4=beautifulsoup4 cattrs chardet click cryptography dateutil=python-dateutil
    ddt django docutils dotenv=python-dotenv exceptiongroup execnet faker fastapi flaky flask freezegun
    hamcrest=pyhamcrest httpx hypothesis inline_snapshot=inline-snapshot jinja2 jsonschema lxml
    markupsafe mock msgpack multidict nose numpy packaging pandas parameterized path pexpect
    pkg_resources=setuptools pretend psutil py pydantic pyfakefs pygments pytest_asyncio=pytest-asyncio
    pytest_benchmark=pytest-benchmark pytest_codspeed=pytest-codspeed pytest_django=pytest-django
    pytest_httpserver=pytest-httpserver pytest_lazyfixture=pytest-lazy-fixture pytest_mock=pytest-mock
    pytest_subtests=pytest-subtests pytest_timeout=pytest-timeout pytz regex requests
    requests_mock=requests-mock responses respx rich scipy setuptools simplejson six sortedcontainers
    sqlalchemy sybil syrupy tabulate testfixtures testtools time_machine=time-machine toml tomli tomlkit
    toolz tornado tqdm trio trustme twisted typeguard typing_extensions=typing-extensions tzdata tzlocal
    urllib3 vcr=vcrpy webob webtest werkzeug xmltodict yaml=pyyaml zope=zope-interface
  `
    .trim()
    .split(/\s+/)
    .map((entry): [string, string] => {
      const [module = '', distribution = module] = entry.split('=');
      return [module, distribution];
    }),
);

/** Fixtures that plugins give without any import. */
const FIXTURES: readonly (readonly [RegExp, string])[] = [
  [/^\s*(?:async\s+)?def\s+\w+\([^)]*\bmocker\b/m, 'pytest-mock'],
  [/^\s*(?:async\s+)?def\s+\w+\([^)]*\bbenchmark\b/m, 'pytest-benchmark'],
  [/^\s*(?:async\s+)?def\s+\w+\([^)]*\brequests_mock\b/m, 'requests-mock'],
  [/^\s*(?:async\s+)?def\s+\w+\([^)]*\bsubtests\b/m, 'pytest-subtests'],
  [/^\s*(?:async\s+)?def\s+\w+\([^)]*\bhttpx_mock\b/m, 'pytest-httpx'],
  [/^\s*(?:async\s+)?def\s+\w+\([^)]*\bhttpserver\b/m, 'pytest-httpserver'],
  [/^\s*(?:async\s+)?def\s+\w+\([^)]*\bdata_regression\b/m, 'pytest-regressions'],
  [/pytest\.mark\.asyncio\b/, 'pytest-asyncio'],
  [/pytest\.mark\.trio\b/, 'pytest-trio'],
  [/pytest\.mark\.anyio\b/, 'anyio'],
  [/pytest\.mark\.flaky\b/, 'pytest-rerunfailures'],
  [/pytest\.mark\.freeze_time\b/, 'pytest-freezer'],
];

/** Options of plugins in `addopts`, which stop pytest when the plugin is missing. */
const OPTIONS: readonly (readonly [RegExp, string])[] = [
  [/(?:^|\s)--(?:no-)?cov\b/, 'pytest-cov'],
  [/(?:^|\s)(?:-n[\s=]?(?:\d+|auto|logical)|--dist|--numprocesses)\b/, 'pytest-xdist'],
  [/(?:^|\s)--timeout\b/, 'pytest-timeout'],
  [/(?:^|\s)--benchmark/, 'pytest-benchmark'],
  [/(?:^|\s)--asyncio-mode\b/, 'pytest-asyncio'],
  [/(?:^|\s)--reruns\b/, 'pytest-rerunfailures'],
  [/(?:^|\s)--doctest-(?:plus|rst|ufunc)\b/, 'pytest-doctestplus'],
  [/(?:^|\s)--randomly-seed\b/, 'pytest-randomly'],
  [/(?:^|\s)--random-order\b/, 'pytest-random-order'],
  [/(?:^|\s)--ds\b/, 'pytest-django'],
  [/(?:^|\s)--nbval\b/, 'nbval'],
  [/(?:^|\s)--mypy\b/, 'pytest-mypy'],
  [/(?:^|\s)--flake8\b/, 'pytest-flake8'],
  [/(?:^|\s)--black\b/, 'pytest-black'],
  [/(?:^|\s)--isort\b/, 'pytest-isort'],
  [/(?:^|\s)--ruff\b/, 'pytest-ruff'],
  [/(?:^|\s)--durations-min\b.*--sugar|(?:^|\s)--force-sugar\b/, 'pytest-sugar'],
  [/(?:^|\s)--html\b/, 'pytest-html'],
  [/(?:^|\s)--strict-parametrize|--socket|--disable-socket\b/, 'pytest-socket'],
];

/** Top-level modules that a Python text imports, relative imports left out. Sorted. */
export function importedModules(text: string): readonly string[] {
  const modules = new Set<string>();
  for (const match of text.matchAll(
    /^[ \t]*(?:from[ \t]+([A-Za-z_]\w*)[\w.]*[ \t]+import\b|import[ \t]+([^#\n;]+))/gm,
  )) {
    if (match[1] !== undefined) modules.add(match[1]);
    for (const part of (match[2] ?? '').split(',')) {
      const name = /^\s*([A-Za-z_]\w*)/.exec(part)?.[1];
      if (name !== undefined) modules.add(name);
    }
  }
  for (const match of text.matchAll(/importorskip\(\s*['"]([A-Za-z_]\w*)/g)) modules.add(match[1] ?? '');
  return [...modules].toSorted();
}

/** Names in `pytest_plugins = [...]` that are modules of other packages. */
const declaredPlugins = (text: string): readonly string[] =>
  [
    ...(/^pytest_plugins\s*=\s*([\s\S]{0,2000}?)(?:\n\S|$(?![\s\S]))/m.exec(text)?.[1] ?? '').matchAll(
      /['"]([A-Za-z_]\w*)/g,
    ),
  ].map((match) => match[1] ?? '');

/**
 * Distributions that the tests ask for by import, fixture or mark. `local` are the top-level names of the repository.
 * Sorted.
 */
export function testDistributions(texts: Iterable<string>, local: ReadonlySet<string>): readonly string[] {
  const found = new Set<string>();
  for (const text of texts) {
    for (const module of [...importedModules(text), ...declaredPlugins(text)]) {
      const distribution = DISTRIBUTIONS.get(module);
      if (distribution !== undefined && !local.has(module)) found.add(distribution);
    }
    for (const [pattern, distribution] of FIXTURES) {
      if (
        pattern.test(text) &&
        !text.includes(`def ${distribution.replace('pytest-', '').replaceAll('-', '_')}(`)
      ) {
        found.add(distribution);
      }
    }
  }
  return [...found].toSorted();
}

/** Plugins that the runner's own configuration needs: `addopts` and `-p` options, `required_plugins`. Sorted. */
export function configuredPlugins(settings: Readonly<Record<string, string>>): readonly string[] {
  const addopts = settings['addopts'] ?? '';
  const found = new Set(
    OPTIONS.filter(([pattern]) => pattern.test(addopts)).map(([, distribution]) => distribution),
  );
  for (const plugin of (settings['required_plugins'] ?? '').split(/\s+/).filter((name) => name !== '')) {
    found.add(plugin);
  }
  if (settings['asyncio_mode'] !== undefined) found.add('pytest-asyncio');
  if (settings['django_settings_module'] !== undefined) found.add('pytest-django');
  return [...found].toSorted();
}

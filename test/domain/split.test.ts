import { describe, expect, test } from 'vitest';
import { classifyPath, isProtected, isTestModule, splitChange, testModules } from '../../src/domain/split.ts';

const KINDS = {
  test: [
    'tests/test_a.py',
    'test/test_a.py',
    'tests/__init__.py',
    'tests/helpers.py',
    'tests/data/input.json',
    'tests/data/pyproject.toml',
    'tests/__snapshots__/test_a.ambr',
    'tests/snapshots/a.txt',
    'src/pkg/tests/test_b.py',
    'src/pkg/tests/data/x.csv',
    'pkg/test_x.py',
    'pkg/x_test.py',
    'pkg/sub/unit_tests/check.py',
    'test_root.py',
    'tests.py',
    'testing/test_pluginmanager.py',
    'testing/example_scripts/a.txt',
    'tests_async/test_a.py',
    'integration_tests/run.py',
    'pkg/testdata/a.bin',
    'tests/test_readme.rst',
    'bench/test_benchmarks.py',
  ],
  runner: [
    'conftest.py',
    'tests/unit/deep/conftest.py',
    'docs/conftest.py',
    'pytest.ini',
    '.pytest.ini',
    '.coveragerc',
  ],
  mixed: ['pyproject.toml', 'setup.cfg', 'tox.ini', 'packages/a/pyproject.toml'],
  generated: [
    'PKG-INFO',
    'src/pkg.egg-info/SOURCES.txt',
    'pkg.egg-info/PKG-INFO',
    'src/pkg/_version.py',
    '.git_archival.txt',
    'pkg/__pycache__/a.cpython-311.pyc',
    'uv.lock',
    'poetry.lock',
  ],
  doc: [
    'README.md',
    'CHANGES.rst',
    'CHANGELOG',
    'HISTORY.txt',
    'docs/index.rst',
    'docs/conf.py',
    'LICENSE',
    '.github/workflows/ci.yml',
    '.pre-commit-config.yaml',
    'AUTHORS.rst',
    'requirements-dev.txt',
    'noxfile.py',
    'src/pkg/README.rst',
  ],
  source: [
    'setup.py',
    'src/pkg/__init__.py',
    'numpy/testing/_private/utils.py',
    'pandas/_testing/__init__.py',
    'django/test/client.py',
    'src/flask/testing.py',
    'werkzeug/test.py',
    'src/jinja2/tests.py',
    'aiohttp/test_utils.py',
    'distributed/utils_test.py',
    'starlette/testclient.py',
    'pkg/history.py',
    'pkg/security.py',
    'pkg/install.py',
    'pkg/latest.py',
    'pkg/contest.py',
    'pkg/attest/core.py',
    'pkg/version.py',
    'pkg/news/feed.py',
    'requirements.txt',
    'pkg/locale/de/LC_MESSAGES/pkg.po',
    'pkg/data.lock.py',
  ],
} as const;

describe('classifying paths', () => {
  test.each(Object.entries(KINDS).flatMap(([kind, paths]) => paths.map((path) => [path, kind] as const)))(
    '%s is %s',
    (path, kind) => {
      expect(classifyPath(path)).toBe(kind);
    },
  );

  test('protects exactly the tests and the runner files', () => {
    for (const [kind, paths] of Object.entries(KINDS))
      for (const path of paths)
        expect([path, isProtected(path)]).toEqual([path, kind === 'test' || kind === 'runner']);
  });

  test("a project's own python_files never makes a default test path unprotected", () => {
    for (const path of KINDS.test) expect(classifyPath(path, { pythonFiles: ['check_*.py'] })).toBe('test');
  });
});

describe('test modules', () => {
  test.each([
    ['tests/test_a.py', true],
    ['pkg/a_test.py', true],
    ['app/tests/tests.py', true],
    ['tests.py', true],
    ['tests/helpers.py', false],
    ['tests/data/a.json', false],
    ['tests/conftest.py', false],
    ['aiohttp/test_utils.py', false],
    ['tests/test_utils.py', true],
    ['src/pkg/core.py', false],
  ])('%s: %s', (path, expected) => {
    expect(isTestModule(path)).toBe(expected);
  });

  test('follow the python_files of the project when it has some', () => {
    const options = { pythonFiles: ['check_*.py', 'tests.py'] };
    expect(isTestModule('tests/check_a.py', options)).toBe(true);
    expect(isTestModule('tests/test_a.py', options)).toBe(false);
    expect(isTestModule('app/tests/tests.py', options)).toBe(true);
  });

  test('with free names are found in test directories only when no path fits a pattern', () => {
    expect(
      testModules(['tests/lexer.py', 'tests/__init__.py', 'tests/data/sample.py', 'tests/utils.py']),
    ).toEqual(['tests/lexer.py']);
    expect(testModules(['tests/lexer.py', 'tests/test_b.py', 'tests/test_a.py'])).toEqual([
      'tests/test_a.py',
      'tests/test_b.py',
    ]);
  });
});

describe('splitting a change', () => {
  test('puts every path on exactly one side and tells which sources are proper', () => {
    const paths = [
      'CHANGES.rst',
      'PKG-INFO',
      'pkg/a.py',
      'pyproject.toml',
      'tests/conftest.py',
      'tests/test_a.py',
    ];
    expect(splitChange(paths)).toEqual({
      source: ['CHANGES.rst', 'pkg/a.py', 'pyproject.toml'],
      test: ['tests/conftest.py', 'tests/test_a.py'],
      generated: ['PKG-INFO'],
      properSource: ['pkg/a.py'],
    });
  });

  test('finds no proper source in a change of documents and packaging tables', () => {
    expect(splitChange(['README.md', 'setup.cfg', 'docs/a.rst', 'tests/test_a.py']).properSource).toEqual([]);
  });
});

import { describe, expect, test } from 'vitest';
import { describeProject } from '../../../src/ecosystems/python/detect.ts';
import type { PythonProject } from '../../../src/ecosystems/python/detect.ts';
import { canonicalRequirements } from '../../../src/ecosystems/python/requirements.ts';

function describeFiles(
  files: Readonly<Record<string, string>>,
  tests: readonly string[] = [],
  generated = false,
): PythonProject | null {
  return describeProject(
    { paths: new Set(Object.keys(files)), text: (path) => files[path] ?? null },
    tests,
    generated,
  );
}
const testNeeds = (project: PythonProject | null): readonly string[] =>
  canonicalRequirements(project?.testRequirements ?? []);

const PEP621 = `
[build-system]
requires = ["hatchling", "hatch-vcs"]
build-backend = "hatchling.build"
[project]
name = "Human-Size"
requires-python = ">=3.8"
dependencies = ["six>=1.10"]
dynamic = ["version"]
classifiers = ["Programming Language :: Python :: 3", "Programming Language :: Python :: 3.8", "Programming Language :: Python :: 3.12"]
[project.optional-dependencies]
tests = ["freezegun", "human-size[extra]"]
extra = ["pytz"]
docs = ["sphinx"]
`;

describe('a project is read from', () => {
  test('PEP 621, with extras that name the project itself', () => {
    const project = describeFiles({ 'pyproject.toml': PEP621, 'src/human_size/__init__.py': '' });
    expect(project).toMatchObject({
      name: 'Human-Size',
      importRoots: ['human_size'],
      requiresPython: '>=3.8',
      classifiers: ['3', '3.8', '3.12'],
      backend: 'hatchling.build',
      buildRequires: ['hatchling', 'hatch-vcs', 'editables'],
      dependencies: ['six>=1.10'],
      testSources: ['extra:tests'],
      compiled: 'no',
    });
    expect(testNeeds(project)).toEqual(['freezegun', 'pytz']);
  });

  test('dependency groups with include-group', () => {
    const project = describeFiles({
      'pyproject.toml':
        '[project]\nname="a"\n[dependency-groups]\ntest=["mock", {include-group="Base_x"}]\n"base-x"=["trio"]\nlint=["ruff"]\n',
    });
    expect(testNeeds(project)).toEqual(['mock', 'trio']);
  });

  test('poetry, with groups and the older dev-dependencies', () => {
    const project = describeFiles({
      'pyproject.toml':
        '[build-system]\nrequires=["poetry-core>=1"]\nbuild-backend="poetry.core.masonry.api"\n[tool.poetry]\nname="a"\n' +
        '[tool.poetry.dependencies]\npython="^3.8"\nattrs={version=">=19", optional=true}\nclick="^8.0"\nlocal={path="../x"}\n' +
        '[tool.poetry.dev-dependencies]\nfreezegun="*"\n',
    });
    expect(project).toMatchObject({ name: 'a', requiresPython: '>=3.8,<4', dependencies: ['click>=8.0,<9'] });
    expect(testNeeds(project)).toEqual(['freezegun']);
  });

  test('flit of before PEP 621', () => {
    const project = describeFiles({
      'pyproject.toml':
        '[build-system]\nrequires=["flit_core >=2,<4"]\nbuild-backend="flit_core.buildapi"\n[tool.flit.metadata]\nmodule="a_b"\nrequires=["toml"]\n[tool.flit.metadata.requires-extra]\ntest=["testpath"]\n',
    });
    expect(project).toMatchObject({ name: 'a_b', dependencies: ['toml'] });
    expect(testNeeds(project)).toEqual(['testpath']);
  });

  test('setup.cfg alone', () => {
    const project = describeFiles({
      'setup.cfg':
        '[metadata]\nname = a\n[options]\npython_requires = >=3.6\ninstall_requires =\n    six  # why\n    mock;python_version<"3"\n[options.extras_require]\ntesting = pytest\n',
      'pyproject.toml': '[build-system]\nrequires=["setuptools"]\n',
    });
    expect(project).toMatchObject({
      name: 'a',
      requiresPython: '>=3.6',
      dependencies: ['six', 'mock;python_version<"3"'],
    });
    expect(project?.buildRequires).toEqual(['setuptools', 'wheel']);
  });

  test.each([
    ['from setuptools import setup\n\nsetup()\n', ['six']],
    [
      '#!/usr/bin/env python\nimport setuptools\n\nif __name__ == "__main__":\n    setuptools.setup()  # all in setup.cfg\n',
      ['six'],
    ],
    ['from setuptools import setup\nsetup(install_requires=open("r.txt").read())\n', null],
    ['import setuptools; import os\nsetuptools.setup()\n', null],
  ])('setup.cfg beside a setup.py: %j', (setupPy, dependencies) => {
    const cfg = '[metadata]\nname = a\n[options]\n';
    const described = (more: string) =>
      describeFiles({ 'setup.cfg': cfg + more, 'setup.py': setupPy })?.dependencies;
    // what setup.cfg says counts; what it does not say counts as nothing only where setup.py says nothing either
    expect(described('install_requires = six\n')).toEqual(['six']);
    expect(described('')).toEqual(dependencies === null ? null : []);
    expect(described('install_requires = file: r.txt\n')).toBeNull();
  });

  test('setup.py, whose run-time requirements only a build can tell', () => {
    const project = describeFiles({
      'setup.py':
        "setup(name='a', python_requires='>=3.5', setup_requires=['pytest-runner'], tests_require=['nose', 'mock'])",
      'a.py': '',
    });
    expect(project).toMatchObject({
      name: 'a',
      dependencies: null,
      importRoots: ['a'],
      requiresPython: '>=3.5',
    });
    expect(project?.buildRequires).toEqual(['setuptools', 'pytest-runner', 'wheel']);
    expect(testNeeds(project)).toEqual(['mock', 'nose']);
  });

  test('the egg-info that a source archive brings, but not one that lies in a clone', () => {
    const files = {
      'setup.py': 'setup(name=NAME)',
      'a.egg-info/PKG-INFO': 'Metadata-Version: 2.1\nName: a\nRequires-Python: >=3.7\n',
      'a.egg-info/requires.txt': 'six\n\n[:python_version < "3.8"]\ntyping\n\n[test]\nfreezegun\n',
    };
    const project = describeFiles(files, [], true);
    expect(project).toMatchObject({
      name: 'a',
      requiresPython: '>=3.7',
      dependencies: ['six', 'typing ; python_version < "3.8"'],
    });
    expect(testNeeds(project)).toEqual(['freezegun']);
    expect(describeFiles(files)?.dependencies).toBeNull();
  });

  test('PKG-INFO with markers of extras', () => {
    const project = describeFiles(
      {
        'setup.py': '',
        'PKG-INFO':
          'Metadata-Version: 2.2\nName: a\nRequires-Dist: six\nRequires-Dist: mock; python_version < "3.9" and extra == "test"\nProvides-Extra: test\n\nbody\n',
      },
      [],
      true,
    );
    expect(project).toMatchObject({
      dependencies: ['six'],
      testRequirements: ['mock; python_version < "3.9"'],
    });
  });

  test('nothing: a tree without any of these is no project', () => {
    expect(describeFiles({ 'README.md': '', 'a.py': '' })).toBeNull();
    expect(describeFiles({ 'pyproject.toml': '[tool.black]\nline-length = 1\n' })).toBeNull();
  });
});

describe('test requirements come from', () => {
  const base = { 'pyproject.toml': '[project]\nname="a"\n' };
  test.each([
    [
      'test-requirements.txt',
      { 'test-requirements.txt': '-r more.txt\nmock\n', 'more.txt': 'trio' },
      ['mock', 'trio'],
      'file:test-requirements.txt',
    ],
    [
      'requirements/tests.txt',
      { 'requirements/tests.txt': '-r ../base-requirements.txt\n', 'base-requirements.txt': 'six' },
      ['six'],
      'file:requirements/tests.txt',
    ],
    [
      'requirements-dev.txt when nothing is named for tests',
      { 'requirements-dev.txt': 'mock\n' },
      ['mock'],
      'file:requirements-dev.txt',
    ],
    [
      'tox, only its lines for tests',
      {
        'tox.ini':
          '[testenv]\ndeps =\n  mock\n  py27: unittest2\n  docs: sphinx\n  {[base]deps}\n  -rmore.txt\n[testenv:lint]\ndeps = flake8\n',
        'more.txt': 'trio',
      },
      ['mock', 'trio'],
      'tox',
    ],
    [
      'CI as the last resort',
      {
        '.github/workflows/ci.yml':
          'run: |\n  python -m pip install --upgrade pip\n  pip install -r x.txt "hypothesis>=6" mock\n',
      },
      ['hypothesis>=6', 'mock', 'pip'],
      'ci:.github/workflows/ci.yml',
    ],
  ])('%s', (_title, files, needs, source) => {
    const project = describeFiles({ ...base, ...files });
    expect(testNeeds(project)).toEqual(needs);
    expect(project?.testSources).toEqual([source]);
  });

  test('imports, fixtures and marks of the tests, but never from names of the repository or unknown modules', () => {
    const project = describeFiles({ ...base, 'mock.py': '', 'a/__init__.py': '' }, [
      'import os, yaml\nfrom hypothesis.strategies import integers\nimport mock\nimport some_unknown_thing\nfrom a import b\nfrom . import c\n',
      'def test_x(mocker):\n    pass\n',
      'def requests_mock():\n  pass\ndef test_y(requests_mock): pass\n',
      '@pytest.mark.asyncio\nasync def test_z(): ...\n',
    ]);
    expect(project?.plugins).toEqual(['hypothesis', 'pytest-asyncio', 'pytest-mock', 'pyyaml']);
  });

  test("the runner's options, which stop pytest when their plugin is missing", () => {
    const project = describeFiles({
      ...base,
      'setup.cfg': '[tool:pytest]\naddopts = -ra --cov=a -n auto\nrequired_plugins = pytest-foo\n',
    });
    expect(project?.requiredPlugins).toEqual(['pytest-cov', 'pytest-foo', 'pytest-xdist']);
  });
});

describe('import roots and compilers', () => {
  test('members of a namespace package, and no folder of tests, docs or tools', () => {
    const project = describeFiles({
      'pyproject.toml': '[project]\nname="jaraco.functools"\n',
      'jaraco/functools.py': '',
      'jaraco/text/__init__.py': '',
      'tests/__init__.py': '',
      'docs/conf.py': '',
    });
    expect(project?.importRoots).toEqual(['jaraco/functools', 'jaraco/text', 'jaraco_functools']);
  });

  test.each([
    [
      'a setup.py with extensions and their source',
      { 'setup.py': 'setup(ext_modules=[Extension("a", ["a.c"])])', 'src/a.c': '' },
      'c',
    ],
    ['a setup.py with extensions but without source', { 'setup.py': 'setup(ext_modules=[])' }, 'no'],
    [
      'maturin',
      {
        'pyproject.toml':
          '[build-system]\nrequires=["maturin>=1"]\nbuild-backend="maturin"\n[project]\nname="a"\n',
      },
      'rust',
    ],
    [
      'meson',
      {
        'pyproject.toml':
          '[build-system]\nrequires=["meson-python"]\nbuild-backend="mesonpy"\n[project]\nname="a"\n',
      },
      'c',
    ],
  ] as const)('%s needs: %s', (_title, files, compiled) => {
    expect(describeFiles(files)?.compiled).toBe(compiled);
  });
});

import { parse } from 'smol-toml';
import { expect, test } from 'vitest';
import { pinOptions, quoteArgument, splitArguments } from '../../../src/ecosystems/python/pytestOptions.ts';
import { pinRunnerConfig, withoutOptions } from '../../../src/ecosystems/python/runnerConfig.ts';

const pin = (files: Readonly<Record<string, string>>) => pinRunnerConfig(new Map(Object.entries(files)));

const words: readonly (readonly [string, readonly string[] | null])[] = [
  [`-ra -q  --strict-markers`, ['-ra', '-q', '--strict-markers']],
  [`-m "not slow" -k 'a or b'`, ['-m', 'not slow', '-k', 'a or b']],
  [`a\\ b "c\\"d" 'e\\f' ''`, ['a b', 'c"d', 'e\\f', '']],
  [`--x="y z"`, ['--x=y z']],
  [`"open`, null],
  ['', []],
];
test.each(words)('%j splits as a shell would', (text, expected) => {
  expect(splitArguments(text)).toEqual(expected);
});
test('quoted words are read back as they were', () => {
  const list = ['not slow', "it's", '', '-W', 'error::DeprecationWarning', 'a"b', '$HOME'];
  expect(splitArguments(list.map(quoteArgument).join(' '))).toEqual(list);
});

const options: readonly (readonly [string, string, string, string])[] = [
  [
    'coverage',
    '--cov=pkg --cov-report term-missing --cov-fail-under=90 --cov tests --doctest-modules',
    '--doctest-modules',
    '',
  ],
  ['parallel runs', '-n auto --dist loadfile -n4 --strict-markers', '--strict-markers', ''],
  [
    'reports',
    '-ra -q -vv -r fE --tb=long --tb short --durations=10 --color yes --junitxml=x.xml -s',
    '-s',
    '',
  ],
  ['early stops and orders', '-x --maxfail=1 --ff --lf --sw --pdb -m fast', '-m fast', ''],
  ['plugins of ours', '-p no:cacheprovider -p no:terminal -pno:sugar -p mine', '-p mine', ''],
  [
    'benchmarks and time limits',
    '--benchmark-disable --benchmark-sort mean --timeout=60 --timeout-method thread',
    '',
    '',
  ],
  ['linters', '--flake8 --mypy --black --isort', '', ''],
  ['paths', '--doctest-modules src tests --ignore build', '--doctest-modules --ignore build', 'src tests'],
  [
    'what steers meaning',
    '-W error --import-mode=importlib --strict-markers -k "not a"',
    '-W error --import-mode=importlib --strict-markers -k not a',
    '',
  ],
  [
    'an option that nobody knows with its word',
    '--hypothesis-profile ci --unknown word',
    '--hypothesis-profile ci --unknown word',
    '',
  ],
];
test.each(options)(
  'of addopts with %s, what steers the meaning of tests is kept',
  (_what, text, kept, paths) => {
    const pinned = pinOptions(splitArguments(text) ?? []);
    expect(pinned.kept.join(' ')).toBe(kept);
    expect(pinned.paths.join(' ')).toBe(paths);
  },
);

const INI =
  '[pytest]\naddopts = -ra\n  --strict-markers\nmarkers =\n    slow: takes long\n    # a comment\n    fast\nminversion = 6\n[other]\nx = 1\n';
const PYPROJECT =
  '[tool.pytest.ini_options]\naddopts = "-q -m \'not slow\'"\ntestpaths = ["tests"]\nxfail_strict = true\n';

test('pytest.ini wins over pyproject.toml, and that over tox.ini and setup.cfg', () => {
  const files = {
    'pytest.ini': INI,
    'pyproject.toml': PYPROJECT,
    'tox.ini': INI,
    'setup.cfg': '[tool:pytest]\naddopts = -s\n',
  };
  const { 'pytest.ini': _one, ...second } = files;
  const { 'pyproject.toml': _two, ...third } = second;
  const { 'tox.ini': _three, ...fourth } = third;
  expect([files, second, third, fourth, {}].map((some) => pin(some).source)).toEqual([
    'pytest.ini',
    'pyproject.toml',
    'tox.ini',
    'setup.cfg',
    null,
  ]);
});

test('an ini section keeps its other entries line by line, without reports and checks', () => {
  const config = pin({ 'tox.ini': `[tox]\nenvlist = py\n${INI}` });
  expect(config.fileName).toBe('.repoforge-pytest.ini');
  expect(config.text).toBe(
    '[pytest]\naddopts = --strict-markers\nmarkers =\n    slow: takes long\n    fast\n',
  );
  expect(config.dropped).toEqual(['-ra', 'minversion']);
});

test('a TOML table keeps its types and its words apart', () => {
  const config = pin({ 'pyproject.toml': PYPROJECT });
  expect(config.fileName).toBe('.repoforge-pytest.toml');
  expect(parse(config.text)).toEqual({
    tool: {
      pytest: { ini_options: { addopts: ['-m', 'not slow'], testpaths: ['tests'], xfail_strict: true } },
    },
  });
});

test("pytest 9's own tables are read, and its strict mode keeps out unknown keys only", () => {
  const config = pin({
    'pyproject.toml': '[tool.pytest]\nstrict = true\naddopts = ["-ra", "--strict-markers"]\n',
  });
  expect(parse(config.text)).toEqual({ tool: { pytest: { addopts: ['--strict-markers'] } } });
  expect(pin({ 'pytest.toml': '[pytest]\nxfail_strict = true\n' }).source).toBe('pytest.toml');
});

test('an empty pytest.ini is a configuration, a tox.ini without a pytest section is none', () => {
  expect(pin({ 'pytest.ini': '', 'pyproject.toml': PYPROJECT }).source).toBe('pytest.ini');
  expect(pin({ 'tox.ini': '[tox]\n', 'setup.cfg': '[metadata]\nname = x\n' }).source).toBeNull();
  expect(pin({ 'pyproject.toml': '[project]\nname = "x"\n' }).source).toBeNull();
});

test('an option whose plugin is absent can be left out, with its word', () => {
  const config = pin({ 'pytest.ini': '[pytest]\naddopts = -p absent --nbval --strict-markers\n' });
  expect(withoutOptions(config, ['absent', '--nbval'])?.text).toBe('[pytest]\naddopts = --strict-markers\n');
  expect(withoutOptions(config, ['--other'])).toBeNull();
});

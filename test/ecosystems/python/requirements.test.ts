import { describe, expect, test } from 'vitest';
import { poetrySpecifier } from '../../../src/ecosystems/python/poetry.ts';
import {
  canonicalRequirements,
  isDeveloperTool,
  parseRequirement,
  parseRequirementsFile,
} from '../../../src/ecosystems/python/requirements.ts';
import { dependentsOf, formatLock, lockPins, parseLock } from '../../../src/ecosystems/python/lock.ts';
import { nextAttempt } from '../../../src/ecosystems/python/compile.ts';
import type { Attempt, CompileInput } from '../../../src/ecosystems/python/resolver.ts';
import { exceptionsOf, pruneRules, pruneRulesText } from '../../../src/ecosystems/python/prune.ts';

describe('requirement lines', () => {
  test.each([
    ['Foo_Bar[B,a] (>=1, <2) ; python_version < "3.8"  # why', 'foo-bar[a,b]<2,>=1 ; python_version < "3.8"'],
    ['zope.interface', 'zope-interface'],
    ['pytest ==  7.4', 'pytest==7.4'],
    ['six~=1.16 --hash=sha256:aa', 'six~=1.16'],
  ])('%s is written as %s', (line, expected) => {
    expect(canonicalRequirements([line])).toEqual([expected]);
  });

  test.each([
    '-r other.txt',
    'git+https://h/x',
    './local',
    'pkg @ https://h/x.whl',
    '--index-url x',
    '# only words',
    'file:///x',
  ])('%s is not on an index and is left out', (line) => {
    expect(parseRequirement(line)).toBeNull();
  });

  test('equal needs in another order and spelling are one text', () => {
    expect(canonicalRequirements(['B', 'a>=1,<2', 'b'])).toEqual(canonicalRequirements(['a<2,>=1', 'b']));
  });

  test('a requirements file gives its lines, its includes and the extras of the project itself', () => {
    const file = parseRequirementsFile(
      '-r base.txt\n-e .[test,docs]\n.\npytest \\\n  >=7\n--find-links x\n# c\nmock # m\n',
    );
    expect(file).toEqual({
      requirements: ['pytest    >=7', 'mock'],
      includes: ['base.txt'],
      selfExtras: ['test', 'docs'],
    });
  });

  test('tools that no test needs are dropped, unless the configuration names them', () => {
    expect(
      ['black', 'flake8-bugbear', 'types-six', 'Sphinx', 'pytest-cov', 'sphinx_rtd_theme'].filter(
        (name) => !isDeveloperTool(name),
      ),
    ).toEqual([]);
    expect(
      ['pytest', 'hypothesis', 'freezegun', 'pytest-xdist', 'typeguard'].filter((name) =>
        isDeveloperTool(name),
      ),
    ).toEqual([]);
    expect(isDeveloperTool('pytest-cov', new Set(['pytest-cov']))).toBe(false);
  });

  test.each([
    ['^1.2.3', '>=1.2.3,<2'],
    ['^0.2.3', '>=0.2.3,<0.3'],
    ['^0.0.3', '>=0.0.3,<0.0.4'],
    ['~1.2', '>=1.2,<1.3'],
    ['~1', '>=1,<2'],
    ['1.5', '==1.5'],
    ['>=3.7,<4.0', '>=3.7,<4.0'],
    ['*', ''],
  ])("poetry's %s is %s", (constraint, expected) => {
    expect(poetrySpecifier(constraint)).toBe(expected);
  });
});

const COMPILED = `six==1.16.0 \\
    --hash=sha256:bb \\
    --hash=sha256:aa
    # via python-dateutil
freezegun==1.2.2 \\
    --hash=sha256:cc
    # via -r -
python-dateutil==2.8.2 \\
    --hash=sha256:dd
    # via freezegun, -r -
`;

describe('locks', () => {
  test('have one order, LF and sorted hashes, whatever the installer printed', () => {
    const text = formatLock(parseLock(COMPILED));
    expect(text).toBe(
      'freezegun==1.2.2 \\\n    --hash=sha256:cc\npython-dateutil==2.8.2 \\\n    --hash=sha256:dd\nsix==1.16.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n',
    );
    expect(formatLock(parseLock(text.replaceAll('\n', '\r\n')))).toBe(text);
    expect(lockPins(text)).toEqual({ freezegun: '1.2.2', 'python-dateutil': '2.8.2', six: '1.16.0' });
  });

  test('say who needs a package, through others too', () => {
    expect([...dependentsOf(parseLock(COMPILED), 'six')].toSorted()).toEqual([
      'freezegun',
      'python-dateutil',
    ]);
  });
});

describe('after a failed resolution', () => {
  const input = {
    cutoff: '2024-04-01T00:00:00Z',
    month: '2024-05-01T00:00:00Z',
    exact: '2024-06-30T00:00:00Z',
    buildTools: ['hatchling'],
    optional: [],
  } as unknown as CompileInput;
  const attempt: Attempt = {
    optional: ['mock', 'pyparsing==3.0.8', 'gone-tool'],
    sources: false,
    noBuild: [],
    relaxedTo: null,
    carriers: {},
  };

  test('source archives are allowed when the resolver says that wheels are missing', () => {
    const output = 'Because docopt==0.6.2 has no usable wheels and building from source is disabled';
    expect(nextAttempt(input, attempt, output)).toMatchObject({ sources: true, optional: attempt.optional });
  });

  test('a package whose source does not build is asked for as wheels only', () => {
    const next = nextAttempt(input, { ...attempt, sources: true }, 'error: Failed to build `psutil==5.9.2`');
    expect(next?.noBuild).toEqual(['psutil']);
  });

  test('a pinned test requirement is loosened first and dropped next', () => {
    const output = 'Because there is no version of pyparsing==3.0.8';
    const loose = nextAttempt(input, attempt, output);
    expect(loose?.optional).toEqual(['gone-tool', 'mock', 'pyparsing']);
    expect(nextAttempt(input, loose ?? attempt, output)?.optional).toEqual(['gone-tool', 'mock']);
  });

  test('a name inside a longer name is not blamed', () => {
    expect(nextAttempt(input, attempt, 'gone-tool-extra and mocking are unknown')?.optional).toEqual(
      attempt.optional,
    );
  });

  test('build tools and runner are then taken of later days, step by step up to the fix', () => {
    const output =
      'Because you require hatchling>=1.24, unsatisfiable. `hatchling` was filtered by `exclude-newer`';
    const first = nextAttempt(input, attempt, output);
    const second = nextAttempt(input, first ?? attempt, output);
    const third = nextAttempt(input, second ?? attempt, output);
    expect([first, second, third].map((step) => step?.relaxedTo)).toEqual([
      input.cutoff,
      input.month,
      input.exact,
    ]);
  });

  test('a run-time requirement younger than the cut-off ends it at once', () => {
    expect(
      nextAttempt(input, attempt, 'hint: `pytzdata` was filtered by `exclude-newer` to only include'),
    ).toBeNull();
  });
});

describe('prune rules', () => {
  test('stand in the key with the exceptions that concern the lock, and no others', () => {
    expect(pruneRulesText([], ['numpy'])).toBe('1');
    const text = pruneRulesText(['Numpy', 'django'], ['numpy', 'pytest']);
    expect(text).toBe('1;keep=numpy');
    expect(exceptionsOf(text)).toEqual(['numpy']);
    expect(pruneRules(exceptionsOf(text)).exceptions).toContain('numpy');
  });
});

import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';

/** A real installable project with a history of fixes, each of which comes with its tests. */
export const TINY_FIXES = [
  {
    message: 'add() adds',
    files: {
      'src/tiny/calc.py': 'def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return b - a\n',
      'tests/test_calc.py': [
        'import pytest',
        'from tiny.calc import add',
        '',
        '',
        'def test_zero():',
        '    assert add(0, 0) == 0',
        '',
        '',
        'def test_two():',
        '    assert add(1, 1) == 2',
        '',
        '',
        "@pytest.mark.parametrize('text', ['one two', 'one three', 'four five', 'é'])",
        'def test_words(text):',
        '    assert add(text, text) == text * 2',
        '',
      ].join('\n'),
    },
  },
  {
    message: 'sub() subtracts, and there is a command',
    files: {
      'src/tiny/calc.py': 'def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return a - b\n',
      'src/tiny/main.py': "def main():\n    print('tiny')\n",
      'pyproject.toml': pyproject('[project.scripts]\ntiny = "tiny.main:main"\n'),
      'tests/test_sub.py': [
        'import shutil',
        'from tiny.calc import sub',
        '',
        '',
        'def test_sub():',
        '    assert sub(3, 1) == 2',
        '',
        '',
        'def test_same():',
        '    assert sub(1, 1) == 0',
        '',
        '',
        'def test_command():',
        "    assert shutil.which('tiny')",
        '',
      ].join('\n'),
    },
  },
] as const;

/** pyproject.toml of the project in `src/`, with `more` sections. */
export function pyproject(more: string): string {
  return `[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "tiny-of-repoforge"
version = "1.0"
requires-python = ">=3.9"

${more}
[tool.setuptools.packages.find]
where = ["src"]

[tool.pytest.ini_options]
testpaths = ["tests"]
`;
}

/** Writes the project's repository; returns its commits, oldest first (a base, then one per fix). */
export const makeTinyRepository = (dir: string): Promise<readonly string[]> =>
  makeRepository(dir, [
    {
      message: 'start',
      files: {
        'pyproject.toml': pyproject(''),
        'src/tiny/__init__.py': '',
        'src/tiny/calc.py': 'def add(a, b):\n    return a - b\n\n\ndef sub(a, b):\n    return b - a\n',
        'tests/test_calc.py': 'from tiny.calc import add\n\n\ndef test_zero():\n    assert add(0, 0) == 0\n',
      },
    },
    ...TINY_FIXES,
  ]);

interface FixtureCommit {
  readonly message: string;
  /** Text by path; what earlier commits wrote stays. */
  readonly files: Readonly<Record<string, string>>;
}

/** Makes a repository with these commits, a day apart, at most nine; returns their ids, oldest first. */
export async function makeRepository(
  dir: string,
  history: readonly FixtureCommit[],
): Promise<readonly string[]> {
  const git = (...args: readonly string[]) => execa('git', args, { cwd: dir });
  await mkdir(dir, { recursive: true });
  await git('init', '-q', '-b', 'main');
  const commits: string[] = [];
  for (const { message, files } of history) {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(dir, path)), { recursive: true });
      await writeFile(join(dir, path), text);
    }
    const date = `2024-08-0${commits.length + 1}T00:00:00Z`;
    const env = { GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date, GIT_CONFIG_GLOBAL: '/dev/null' };
    await git('add', '-A');
    await execa('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', 'commit', '-qm', message], {
      cwd: dir,
      env,
    });
    commits.push((await git('rev-parse', 'HEAD')).stdout.trim());
  }
  return commits;
}

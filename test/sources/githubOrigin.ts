import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** A repository made in a test, with the pull request refs that GitHub keeps. */
export interface Origin {
  readonly url: string;
  git(args: readonly string[], atTime?: string): string;
  /** Writes files and commits them; returns the commit id. `at` is author and committer time. */
  commit(message: string, files: Readonly<Record<string, string>>, at: string): string;
  /** Makes `refs/pull/<n>/head` point to a commit. */
  pullRef(pull: number, commit: string): void;
}

export function makeOrigin(directory: string): Origin {
  mkdirSync(directory, { recursive: true });
  const git = (args: readonly string[], atTime = '2024-01-01T00:00:00Z'): string =>
    execFileSync('git', ['-c', 'core.hooksPath=/dev/null', '-c', 'commit.gpgsign=false', ...args], {
      cwd: directory,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        HOME: directory,
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_AUTHOR_NAME: 'Ada',
        GIT_AUTHOR_EMAIL: 'ada@example.org',
        GIT_AUTHOR_DATE: atTime,
        GIT_COMMITTER_NAME: 'Ada',
        GIT_COMMITTER_EMAIL: 'ada@example.org',
        GIT_COMMITTER_DATE: atTime,
      },
    }).trim();
  git(['init', '--quiet', '--initial-branch=main']);
  return {
    url: directory,
    git,
    commit(message, files, at) {
      for (const [path, content] of Object.entries(files)) {
        mkdirSync(dirname(join(directory, path)), { recursive: true });
        writeFileSync(join(directory, path), content);
      }
      git(['add', '--all']);
      git(['commit', '--quiet', '--allow-empty', '--message', message], at);
      return git(['rev-parse', 'HEAD']);
    },
    pullRef: (pull, commit) => void git(['update-ref', `refs/pull/${pull}/head`, commit]),
  };
}

/** Source and tests of a small package; `rev` makes every version of a file another one. */
export const change = (name: string, rev: string): Readonly<Record<string, string>> => ({
  [`widget/${name}.py`]: `def ${name}():\n    return ${JSON.stringify(rev)}\n`,
  [`tests/test_${name}.py`]: `from widget.${name} import ${name}\n\n\ndef test_${name}():\n    assert ${name}() == ${JSON.stringify(rev)}\n`,
});

export const PACKAGE: Readonly<Record<string, string>> = {
  'pyproject.toml': '[project]\nname = "widget"\nversion = "1.0"\n',
  'widget/__init__.py': '',
  'README.md': '# Widget\n',
  ...change('alpha', 'old'),
  ...change('beta', 'old'),
  ...change('gamma', 'old'),
};

import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';

export interface TestRepository {
  readonly dir: string;
  git(...args: readonly string[]): Promise<string>;
  write(path: string, content: string | Buffer): Promise<void>;
  /** Commits everything; each commit is one minute after the last. Returns its id. */
  commit(message: string): Promise<string>;
}

/** A real repository in a directory that the test made, untouched by the user's git configuration. */
export async function createRepository(dir: string): Promise<TestRepository> {
  await mkdir(dir, { recursive: true });
  let minutes = 0;
  const git = async (...args: readonly string[]): Promise<string> => {
    const date = new Date(Date.UTC(2024, 0, 1, 0, minutes)).toISOString();
    const env = {
      PATH: process.env['PATH'] ?? '',
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_AUTHOR_NAME: 'A',
      GIT_AUTHOR_EMAIL: 'a@example.org',
      GIT_COMMITTER_NAME: 'A',
      GIT_COMMITTER_EMAIL: 'a@example.org',
      GIT_AUTHOR_DATE: date,
      GIT_COMMITTER_DATE: date,
    };
    return (await execa('git', ['-C', dir, ...args], { env, extendEnv: false })).stdout;
  };
  await git('init', '--quiet', '--initial-branch=main');
  return {
    dir,
    git,
    async write(path, content) {
      await mkdir(dirname(join(dir, path)), { recursive: true });
      await writeFile(join(dir, path), content);
    },
    async commit(message) {
      minutes++;
      await git('add', '--all', '--force');
      await git('commit', '--quiet', '--allow-empty', '--message', message);
      return git('rev-parse', 'HEAD');
    },
  };
}

import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { z } from 'zod';
import type { Installer } from '../../src/setup/installer.ts';
import { ensureVenv, type Venv } from './venv.ts';

const REQUIREMENTS = new URL('../pydriller.requirements.txt', import.meta.url);
const PROGRAM = fileURLToPath(new URL('pydriller_commits.py', import.meta.url));

/** PyDriller, pinned, in a virtual environment of its own. */
export const ensurePydriller = (
  cacheDir: string,
  installer: Installer,
  say: (line: string) => void,
): Promise<Venv> => ensureVenv({ requirements: REQUIREMENTS, minor: 9, cacheDir, installer, say });

interface PydrillerCommit {
  readonly sha: string;
  readonly parents: number;
  /** A rename is its old path deleted and its new one added, as git shows it without rename detection. */
  readonly changes: readonly {
    readonly path: string;
    readonly status: 'M' | 'D';
    readonly undecodable: false;
  }[];
}

const ANSWER = z.object({
  seconds: z.number(),
  commits: z.array(
    z.tuple([
      z.string(),
      z.number(),
      z.array(z.tuple([z.string(), z.string().nullable(), z.string().nullable()])),
    ]),
  ),
});

/** Lists the non-merge commits of a clone's HEAD with their changed paths; the time is that of PyDriller's own loop. */
export async function listByPydriller(
  { python }: Venv,
  clone: string,
): Promise<{ readonly ms: number; readonly commits: readonly PydrillerCommit[] }> {
  const { stdout } = await execa(python, [PROGRAM, clone], {
    env: { PYTHONUTF8: '1' },
    maxBuffer: 2 ** 29,
    timeout: 30 * 60_000,
  });
  const { seconds, commits } = ANSWER.parse(JSON.parse(stdout));
  return {
    ms: 1_000 * seconds,
    commits: commits.map(([sha, parents, files]) => ({
      sha,
      parents,
      changes: files.flatMap(([, before, after]) => [
        ...(before === null || before === after
          ? []
          : [{ path: before, status: 'D', undecodable: false } as const]),
        ...(after === null ? [] : [{ path: after, status: 'M', undecodable: false } as const]),
      ]),
    })),
  };
}

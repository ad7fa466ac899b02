import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { infraFailure } from '../domain/failures.ts';
import { noIndexSentence, runPip } from '../setup/installer.ts';
import type { Installer } from '../setup/installer.ts';

export const UV_VERSION = '0.13.9';

/** A requirements file: pip refuses a wheel with any other content. x86-64 and arm64, glibc. */
const UV_REQUIREMENTS = `uv==${UV_VERSION} \\
  --hash=sha256:d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19 \\
  --hash=sha256:5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe
`;

/**
 * Path of the pinned uv program in the cache directory, fetched by the host's pip when missing.
 * Throws an Infra failure with the reason when pip cannot get it.
 */
export async function ensureUv(cacheDir: string, installer: Installer): Promise<string> {
  const folder = join(cacheDir, 'uv', `${UV_VERSION}-${process.arch}`);
  const program = join(folder, 'bin', 'uv');
  if (await isFile(program)) return program;
  if (installer.indexUrl === null) throw infraFailure(noIndexSentence);
  await mkdir(dirname(folder), { recursive: true });
  const work = await mkdtemp(join(dirname(folder), '.fetch-'));
  try {
    const requirements = join(work, 'requirements.txt');
    await writeFile(requirements, UV_REQUIREMENTS);
    const target = join(work, 'uv');
    const options = ['--quiet', '--no-deps', '--require-hashes', '--only-binary=:all:', '--no-compile'];
    const index = [
      '--index-url',
      installer.indexUrl,
      ...(installer.caBundle === null ? [] : ['--cert', installer.caBundle]),
    ];
    const output = await runPip(['install', ...options, ...index, '--target', target, '-r', requirements]);
    if (output === null || !(await isFile(join(target, 'bin', 'uv')))) {
      throw infraFailure(
        `pip could not fetch uv ${UV_VERSION} from the configured package index; \`python3 -m pip download uv==${UV_VERSION}\` shows why.`,
      );
    }
    await rename(target, folder).catch(async (error: NodeJS.ErrnoException) => {
      if (!(await isFile(program))) throw error; // another process was first: its copy is as good
    });
    return program;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

const isFile = async (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );

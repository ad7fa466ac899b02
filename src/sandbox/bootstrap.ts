import { createWriteStream } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type Docker from 'dockerode';
import { execa } from 'execa';
import { hashOf } from '../domain/canonical.ts';
import { cutText, FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import { debianMirror, readAptSources } from './aptSources.ts';
import { dockerCall } from './errors.ts';
import { LABELS } from './labels.ts';
import { BASE_RULE_VERSION, RUNTIMES } from './runtimes.ts';
import { EXCLUDED_PATHS, INCLUDED_PATHS, layoutScript, slimScript } from './slim.ts';

/** What every base has. tzdata and netbase: many test suites name a time zone or a service. */
const PACKAGES = ['git', 'python3', 'python3-venv', 'ca-certificates', 'tzdata', 'netbase'];
const UNFINISHED = 'repoforge-unfinished'; // not a name that anybody looks for
const BOOTSTRAP_TIMEOUT_MS = 30 * 60_000; // a slow mirror; 40 s was measured with a near one

export interface BootstrapInput {
  readonly docker: Docker;
  readonly suite: string;
  readonly image: string;
  /** Debian package names, already expanded. */
  readonly packages: readonly string[];
  readonly uv: string;
  readonly cacheDir: string;
  readonly proxyEnv: Readonly<Record<string, string>>;
}

/**
 * Makes a base image from the distribution's own packages: mmdebstrap (unpacks with apt in a private mount namespace, so
 * nothing can stay mounted, whatever dies) writes a tar, which the daemon imports as one layer. A cut tar imports, too: the
 * image gets its name only when mmdebstrap ended well. Signatures are checked against the host's archive keyring. Downloads
 * are kept in the cache directory.
 */
export async function bootstrapImage(input: BootstrapInput): Promise<void> {
  const { docker, suite, image, cacheDir, uv } = input;
  const work = join(cacheDir, 'bootstrap', image.replace(/[^A-Za-z0-9.-]+/g, '_'));
  const [repo = image, tag = 'latest'] = image.split(':');
  const unfinished = `${UNFINISHED}:${tag}-${hashOf(work).slice(0, 8)}`; // other caches have other locks
  await removeTree(work); // the caller holds the image's lock: what lies here is from a build that died
  const debs = join(cacheDir, 'debs', suite);
  await Promise.all([work, debs].map((folder) => mkdir(folder, { recursive: true })));
  await removeImage(docker, unfinished);
  try {
    const hook = join(work, 'customize.sh');
    await writeFile(hook, customizeScript(debs, uv), { mode: 0o755 });
    const log = join(work, 'mmdebstrap.log');
    const [program, ...args] = [...mortalPrefix(), 'mmdebstrap', ...commandLine(input, debs, hook)];
    const run = execa(program, args, {
      stdin: 'ignore',
      buffer: false,
      reject: false,
      timeout: BOOTSTRAP_TIMEOUT_MS,
      env: { ...input.proxyEnv, TMPDIR: work },
    });
    run.stderr.pipe(createWriteStream(log));
    const imported = dockerCall(
      `import the base image ${image}`,
      async () => importTar(docker, run.stdout, unfinished),
      BOOTSTRAP_TIMEOUT_MS,
    );
    const [bootstrap, importing] = await Promise.allSettled([run, imported]);
    if (bootstrap.status === 'rejected' || bootstrap.value.exitCode !== 0)
      throw bootstrapFailure(suite, await readFile(log, 'utf8').catch(() => ''));
    if (importing.status === 'rejected') throw importing.reason;
    await dockerCall(`name the base image ${image}`, () => docker.getImage(unfinished).tag({ repo, tag }));
  } finally {
    await removeImage(docker, unfinished);
    await removeTree(work);
  }
}

/**
 * Makes the build die with us, also on SIGKILL (mmdebstrap itself ignores signals while apt runs): a process namespace
 * whose first process the kernel kills, and with it all others. Needs root; without, an orphan ends at its broken pipe.
 */
const mortalPrefix = (): readonly [string, ...string[]] | readonly [] =>
  process.getuid?.() === 0
    ? ['setpriv', '--pdeathsig', 'KILL', 'unshare', '--pid', '--fork', '--kill-child', '--mount-proc']
    : [];

function commandLine(input: BootstrapInput, debs: string, hook: string): readonly string[] {
  const mirror = debianMirror(readAptSources(), [
    ...RUNTIMES.map(({ suite }) => suite),
    'stable',
    'testing',
    'sid',
  ]);
  const include = [...new Set([...PACKAGES, ...input.packages])].join(',');
  return [
    '--variant=essential',
    `--include=${include}`,
    '--format=tar',
    // keep the downloads until our hook has saved them; the hook cleans up by itself
    ...['download/empty', 'essential/unlink', 'check/qemu', 'cleanup'].map((step) => `--skip=${step}`),
    `--setup-hook=mkdir -p "$1/var/cache/apt/archives"; cp -al '${debs}/.' "$1/var/cache/apt/archives/" || true`,
    `--customize-hook=${hook}`,
    // old suites and mirrors that lag are still signed; their lists are past the date they promise
    '--aptopt=Acquire::Check-Valid-Until "false"',
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    '--dpkgopt=force-unsafe-io', // a build that is cut off is thrown away, so nothing needs to reach the disk at once
    ...EXCLUDED_PATHS.map((path) => `--dpkgopt=path-exclude=${path}`),
    ...INCLUDED_PATHS.map((path) => `--dpkgopt=path-include=${path}`),
    input.suite,
    '-',
    ...(mirror === null ? [] : [mirror]),
  ];
}

const customizeScript = (debs: string, uv: string): string => `#!/bin/sh
set -e
cp -nl "$1"/var/cache/apt/archives/*.deb '${debs}/' 2>/dev/null || cp -n "$1"/var/cache/apt/archives/*.deb '${debs}/' || true
install -m 0755 '${uv}' "$1/usr/local/bin/uv"
${layoutScript}
${slimScript}`;

/** Environment and labels of every base image; nothing of the host is in them. */
export const IMAGE_ENV: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LANG: 'C.UTF-8',
  UV_PYTHON_DOWNLOADS: 'never',
};

/** One that cannot be removed is in nobody's way: the next build of its name tries again. */
const removeImage = async (docker: Docker, image: string): Promise<unknown> =>
  docker
    .getImage(image)
    .remove({ force: true })
    .catch(() => undefined);

async function importTar(docker: Docker, tar: NodeJS.ReadableStream, image: string): Promise<void> {
  const [repo, tag] = image.split(':');
  const changes = [
    ...Object.entries(IMAGE_ENV).map(([name, value]) => `ENV ${name}=${value}`),
    `LABEL ${LABELS.base}=${BASE_RULE_VERSION}`,
    'CMD ["sleep", "infinity"]',
  ];
  const events: NodeJS.ReadableStream = await docker.importImage(tar, { repo, tag, changes });
  await followProgress(docker, events);
}

/** Waits for the end of a build, pull or import. The daemon reports failure as an event, not as a status. */
export async function followProgress(docker: Docker, events: NodeJS.ReadableStream): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(
      events,
      (error: Error | null, output: readonly { readonly error?: string }[] | null) => {
        const failed = output?.find((event) => event.error !== undefined)?.error;
        if (error !== null) reject(error);
        else if (failed !== undefined) reject(new Error(failed));
        else resolve();
      },
    );
  });
}

/** What apt and dpkg themselves said, without mmdebstrap's account of how it called them. */
const NOISE = /^(I:|W:|Reading|Building|E: (setup failed|mmdebstrap failed|apt-get -o|command failed))|^\s*$/;

/** Exported for its test. */
export function bootstrapFailure(suite: string, log: string): Error {
  const missing = /Unable to locate package (\S+)|Package '?([^' ]+)'? has no installation candidate/.exec(
    log,
  );
  if (missing !== null) {
    const name = missing[1] ?? missing[2] ?? '';
    return permanentFailure(FAILURE_TYPES.notFound, `Debian ${suite} has no package ${name}.`);
  }
  const why = log
    .split('\n')
    .filter((line) => !NOISE.test(line))
    .slice(-6)
    .join(' ');
  return infraFailure(
    cutText(
      `The base image of Debian ${suite} could not be made by mmdebstrap: ${why || 'it said nothing'}`,
      1_500,
    ),
    { type: /no space left on device/i.test(log) ? FAILURE_TYPES.noDisk : FAILURE_TYPES.infra },
  );
}

/** Removes a build directory, but never while something is mounted below it: that could be the host's own /dev. */
async function removeTree(folder: string): Promise<void> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '');
  const mounted = mounts.split('\n').find((line) => line.split(' ')[4]?.startsWith(`${folder}/`));
  if (mounted !== undefined) {
    throw infraFailure(`Something is mounted below ${folder} (${mounted.split(' ')[4]}): unmount it first.`);
  }
  if (
    await readdir(folder).then(
      () => true,
      () => false,
    )
  )
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

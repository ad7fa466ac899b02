import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type Docker from 'dockerode';
import { freeDiskBytes } from '../sandbox/disk.ts';
import { connectDocker } from '../sandbox/docker.ts';
import { httpGet } from '../sources/http.ts';
import { discoverInstaller, noIndexSentence, type Installer } from './installer.ts';
import { inspectPythonEnvironment, type PythonEnvironmentName } from './pythonEnvironments.ts';
import { readSettings, type Settings } from './settings.ts';
import { locateTemporalBinary } from './temporalBinary.ts';
import { configuredTemporal, withTemporalConnection } from './temporalConnection.ts';
import { findServer } from './temporalProcess.ts';

/** One line of `repoforge doctor`. `warn`: works, but not as well as it could. `fail`: the main job cannot run. */
export interface DoctorCheck {
  readonly name: string;
  readonly ok: 'ok' | 'warn' | 'fail';
  readonly detail: string;
  /** What to do about it. */
  readonly fix?: string;
}

type Finding = Omit<DoctorCheck, 'name'>;

const CHECK_LIMIT_MS = 15_000; // no check may hold up the others' report
const CONNECT_LIMIT_MS = 5_000;
const GB = 1e9;
const run = promisify(execFile);

const ok = (detail: string): Finding => ({ ok: 'ok', detail });
const warn = (detail: string, fix: string): Finding => ({ ok: 'warn', detail, fix });
const fail = (detail: string, fix: string): Finding => ({ ok: 'fail', detail, fix });

/**
 * Looks at everything that a campaign needs, at once, and says what is there and what to do. Starts nothing, creates
 * nothing, spends nothing. Never throws: a check that breaks is a `fail` with its reason.
 */
export async function runDoctor(
  options: {
    readonly env?: NodeJS.ProcessEnv;
    readonly fetch?: typeof globalThis.fetch;
    /** Default: found out from this host, as a campaign does. */
    readonly installer?: Installer;
  } = {},
): Promise<readonly DoctorCheck[]> {
  const env = options.env ?? process.env;
  const fetch = options.fetch ?? globalThis.fetch;
  let settings: Settings;
  try {
    settings = readSettings(env);
  } catch (error) {
    return [{ name: 'settings', ...fail(messageOf(error), 'mend the variables named') }];
  }
  const docker = connectDocker();
  const checks: readonly (readonly [string, () => Promise<Finding>])[] = [
    ['node', checkNode],
    ['git', () => checkGit(env)],
    ['docker', () => checkDocker(docker)],
    ['base images', () => checkBaseImages(docker)],
    ['disk', () => checkDisk(settings)],
    ['temporal', () => checkTemporal(settings, env)],
    ['python', () => checkPython(env)],
    ['trainer', () => checkEnvironment('trainer', settings, env)],
    ['vllm', () => checkEnvironment('vllm', settings, env)],
    ['package index', async () => checkIndex(options.installer ?? (await discoverInstaller()), fetch)],
    ['label model', () => checkLabelModel(settings, fetch)],
    ['github', () => checkGithub(settings, fetch)],
  ];
  return Promise.all(checks.map(async ([name, check]) => ({ name, ...(await guarded(check)) })));
}

async function guarded(check: () => Promise<Finding>): Promise<Finding> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Finding>((resolve) => {
    timer = setTimeout(
      () => resolve(fail(`no answer in ${CHECK_LIMIT_MS / 1000} s`, 'look at what does not answer')),
      CHECK_LIMIT_MS,
    );
  });
  try {
    return await Promise.race([check(), late]);
  } catch (error) {
    return fail(messageOf(error), 'see the reason');
  } finally {
    clearTimeout(timer);
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function checkNode(): Promise<Finding> {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const detail = `${process.versions.node}, ${process.platform} ${process.arch}`;
  const enough = major > 22 || (major === 22 && minor >= 18);
  return Promise.resolve(
    enough ? ok(detail) : fail(detail, 'start it as `repoforge` or with npm: both take the pinned Node'),
  );
}

async function versionOf(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<string | null> {
  return run(command, args, { timeout: 10_000, env }).then(
    ({ stdout }) => stdout.trim().split('\n')[0] ?? '',
    () => null,
  );
}

async function checkGit(env: NodeJS.ProcessEnv): Promise<Finding> {
  const version = await versionOf('git', ['--version'], env);
  return version === null ? fail('not found', 'install git') : ok(version.replace('git version ', ''));
}

async function checkPython(env: NodeJS.ProcessEnv): Promise<Finding> {
  const [python, pip] = await Promise.all([
    versionOf('python3', ['--version'], env),
    versionOf('python3', ['-m', 'pip', '--version'], env),
  ]);
  if (python === null)
    return warn(
      'no python3: the index must be named in UV_DEFAULT_INDEX or PIP_INDEX_URL',
      'install python3 and pip',
    );
  if (pip === null) return warn(`${python}, no pip`, 'install pip, or name the index in UV_DEFAULT_INDEX');
  return ok(`${python}, ${pip.split(' ').slice(0, 2).join(' ')}`);
}

/** Needed for training alone: a warning at most. */
async function checkEnvironment(
  name: PythonEnvironmentName,
  settings: Settings,
  env: NodeJS.ProcessEnv,
): Promise<Finding> {
  try {
    const { state, detail } = await inspectPythonEnvironment(name, settings, env);
    return ok(
      state === 'missing' ? `no environment yet, made when training first needs it; ${detail}` : detail,
    );
  } catch (error) {
    return warn(messageOf(error), 'needed for `repoforge rl` and `sft` only');
  }
}

async function checkDocker(docker: Docker): Promise<Finding> {
  try {
    const [version, info] = await Promise.all([docker.version(), docker.info() as Promise<DockerInfo>]);
    return ok(
      `${version.Version}, API ${version.ApiVersion}, ${info.Driver}, cgroup v${info.CgroupVersion ?? '1'}, ${info.NCPU} CPUs`,
    );
  } catch (error) {
    return fail(
      `no daemon answers (${messageOf(error)})`,
      'start Docker or set DOCKER_HOST; as root on Debian the next campaign installs and starts it',
    );
  }
}

interface DockerInfo {
  readonly Driver: string;
  readonly CgroupVersion?: string;
  readonly NCPU: number;
}

async function checkBaseImages(docker: Docker): Promise<Finding> {
  const images = await docker.listImages({ filters: { label: ['repoforge.base'] } }).catch(() => null);
  if (images === null) return warn('unknown without Docker', 'see docker');
  if (images.length === 0)
    return warn('none yet', 'nothing to do: the first campaign makes what it needs, in a few minutes');
  const names = images.flatMap((image) => image.RepoTags ?? []).toSorted();
  const bytes = images.reduce((sum, image) => sum + image.Size, 0);
  return ok(`${names.join(', ')} (${(bytes / GB).toFixed(2)} GB)`);
}

async function checkDisk({ stateDir, cacheDir, diskFloorBytes }: Settings): Promise<Finding> {
  const free = await Promise.all([stateDir, cacheDir].map((dir) => freeDiskBytes(dir)));
  const [state, cache] = free.map((bytes) => `${(bytes / GB).toFixed(1)} GB`);
  const detail = `free for state ${state} (${stateDir}), for cache ${cache} (${cacheDir})`;
  return Math.min(...free) >= diskFloorBytes
    ? ok(detail)
    : fail(
        detail,
        `free space: builds wait below ${(diskFloorBytes / GB).toFixed(1)} GB (REPOFORGE_DISK_FLOOR)`,
      );
}

async function checkTemporal(settings: Settings, env: NodeJS.ProcessEnv): Promise<Finding> {
  const configured = configuredTemporal(env);
  if (configured) {
    const { connectionOptions, namespace } = configured;
    await withTemporalConnection(
      connectionOptions,
      (connection) => connection.workflowService.describeNamespace({ namespace }),
      CONNECT_LIMIT_MS,
    );
    return ok(`${connectionOptions.address}, namespace ${namespace} (environment or profile)`);
  }
  const server = findServer(join(settings.stateDir, 'temporal'));
  if (server) {
    const address = `127.0.0.1:${server.port}`;
    await withTemporalConnection({ address }, () => Promise.resolve(), CONNECT_LIMIT_MS);
    return ok(
      `embedded server running at ${address} (pid ${server.pid}), UI http://127.0.0.1:${server.uiPort}`,
    );
  }
  const binary = await locateTemporalBinary({ cacheDir: settings.cacheDir, env });
  if (binary) return ok(`embedded server, not running; CLI ${binary.path} (${binary.how})`);
  const go = await versionOf('go', ['version'], env);
  return go === null
    ? warn(
        'no Temporal CLI yet and no Go to build it',
        'put `temporal` on PATH, install Go, or set TEMPORAL_ADDRESS; else it is downloaded at the first start',
      )
    : warn(
        'no Temporal CLI yet',
        'nothing to do: it is downloaded or built (about 3 minutes) at the first start',
      );
}

async function checkIndex(installer: Installer, fetch: typeof globalThis.fetch): Promise<Finding> {
  if (installer.indexUrl === null) return fail('none known', noIndexSentence);
  const url = `${installer.indexUrl.replace(/\/+$/, '')}/pip/`; // an index always has its own installer
  const response = await httpGet({
    fetch,
    url,
    accept: 'application/vnd.pypi.simple.v1+json, text/html;q=0.5',
    signal: AbortSignal.timeout(CHECK_LIMIT_MS - 1_000),
    what: 'the package index',
  });
  await response?.body?.cancel();
  const host = new URL(url).host;
  return response === null
    ? warn(`${host} answers, but does not know pip`, 'check the index address: is it the simple index?')
    : ok(
        `${host} answers${installer.caBundle === null ? '' : `; CA bundle ${installer.caBundle}`}; build network ${installer.dockerNetwork}`,
      );
}

async function checkLabelModel({ labelModel }: Settings, fetch: typeof globalThis.fetch): Promise<Finding> {
  if (labelModel === null)
    return ok('none configured: labels are heuristic (REPOFORGE_LABEL_MODEL for a real one)');
  const { baseUrl, apiKey, model, prices } = labelModel;
  const host = new URL(baseUrl).host;
  const response = await fetch(`${baseUrl.replace(/\/+$/, '')}/models`, {
    headers: apiKey === null ? {} : { authorization: `Bearer ${apiKey.reveal()}` },
    signal: AbortSignal.timeout(CHECK_LIMIT_MS - 1_000),
  }).catch((error: unknown) => messageOf(error));
  if (typeof response === 'string')
    return fail(`${host} cannot be reached (${response})`, 'check OPENAI_BASE_URL');
  const body = (await response.json().catch(() => null)) as { data?: readonly { id?: string }[] } | null;
  if (response.status === 401 || response.status === 403)
    return fail(`${host} refuses the key (HTTP ${response.status})`, 'check OPENAI_API_KEY');
  if (!response.ok || !Array.isArray(body?.data))
    return warn(
      `${model} at ${host}: no list of models (HTTP ${response.status})`,
      'some servers have none; a campaign will tell',
    );
  if (!body.data.some((entry) => entry.id === model))
    return fail(`${host} has no model ${model}`, 'check REPOFORGE_LABEL_MODEL');
  return prices === null
    ? warn(`${model} at ${host}; prices unknown`, 'set REPOFORGE_LABEL_PRICE_INPUT and _OUTPUT to see costs')
    : ok(`${model} at ${host}`);
}

async function checkGithub({ github }: Settings, fetch: typeof globalThis.fetch): Promise<Finding> {
  if (github.tokens.length === 0)
    return ok('no token: the pypi and git sources need none (GITHUB_TOKEN for the github source)');
  const base = (github.apiUrl ?? 'https://api.github.com').replace(/\/+$/, '');
  const left = await Promise.all(
    github.tokens.map(async (token, index) => {
      const response = await fetch(`${base}/rate_limit`, {
        headers: { authorization: `Bearer ${token.reveal()}`, 'user-agent': 'repoforge' },
        signal: AbortSignal.timeout(CHECK_LIMIT_MS - 1_000),
      });
      if (!response.ok)
        throw new Error(`token ${index + 1} of ${github.tokens.length}: HTTP ${response.status}`);
      const body = (await response.json()) as {
        resources?: { core?: { remaining?: number; limit?: number } };
      };
      return `${body.resources?.core?.remaining ?? '?'} of ${body.resources?.core?.limit ?? '?'}`;
    }),
  ).catch((error: unknown) => messageOf(error));
  return typeof left === 'string'
    ? fail(`${new URL(base).host}: ${left}`, 'check GITHUB_TOKEN, GITHUB_TOKENS and GITHUB_API_URL')
    : ok(`${github.tokens.length} token(s), requests left this hour: ${left.join(', ')}`);
}

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import type { BuildNetwork } from '../sandbox/docker.ts';

/** How this host installs Python packages: what build containers need to do the same. */
export interface Installer {
  /** Simple index (PEP 503/691) of the host's installer; null when none could be found (see `noIndexSentence`). */
  readonly indexUrl: string | null;
  readonly extraIndexUrls: readonly string[];
  /** CA bundle file on this host; null when there is none. */
  readonly caBundle: string | null;
  /** Proxy variables in both spellings; they may hold credentials: never log, never label. */
  readonly proxyEnv: Readonly<Record<string, string>>;
  /** Docker network for builds: `bridge`, or `host` when the index or a proxy is on this host's loopback. */
  readonly dockerNetwork: string;
}

type Env = Readonly<Record<string, string | undefined>>;

/** What discovery asks of the world; a test hands in tables. */
export interface InstallerProbes {
  readonly env: Env;
  /** `pip config list` as `global.index-url='…'` lines; '' when there is no pip. */
  readonly pipConfig: () => Promise<string>;
  /** Index that pip itself would use without configuration; null when there is no pip at all. */
  readonly pipDefaultIndex: () => Promise<string | null>;
  readonly exists: (path: string) => boolean;
}

/** Where Linux distributions keep their CA bundle: Debian, Fedora, SUSE, Alpine. */
const DISTRIBUTION_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
];
const PROXY_NAMES = ['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'];
const PIP_TIMEOUT_MS = 20_000; // a cold Python on a busy disk

/** Said wherever a package index is needed and none is known. */
export const noIndexSentence =
  'No Python package index is configured and there is no pip to ask for its default: set UV_DEFAULT_INDEX or PIP_INDEX_URL, or install pip.';

/** Finds out how this host reaches packages. Asks pip at most twice; needs no network. */
export async function discoverInstaller(probes: InstallerProbes = hostProbes()): Promise<Installer> {
  const { env, exists } = probes;
  const config = parsePipConfig(await probes.pipConfig());
  const configured =
    env['UV_DEFAULT_INDEX'] || env['UV_INDEX_URL'] || env['PIP_INDEX_URL'] || config.get('index-url');
  const indexUrl = withoutName(configured) ?? (await probes.pipDefaultIndex());
  const extraIndexUrls = words(
    env['UV_INDEX'] ||
      env['UV_EXTRA_INDEX_URL'] ||
      env['PIP_EXTRA_INDEX_URL'] ||
      config.get('extra-index-url'),
  ).flatMap((url) => withoutName(url) ?? []);
  const caBundle = firstBundle(env, config.get('cert'), exists);
  const proxyEnv = proxiesOf(env, config.get('proxy'));
  const urls = [indexUrl, ...extraIndexUrls, ...proxyUrls(proxyEnv)];
  const dockerNetwork = env['REPOFORGE_BUILD_NETWORK'] || (urls.some(isLoopback) ? 'host' : 'bridge');
  return { indexUrl, extraIndexUrls, caBundle, proxyEnv, dockerNetwork };
}

/** The build network of sandboxes: index, CA and proxy settings as both uv and pip read them. */
export function buildNetworkOf(
  installer: Installer,
  caTarget = '/etc/ssl/certs/ca-certificates.crt',
): BuildNetwork {
  const { indexUrl, extraIndexUrls, caBundle, proxyEnv, dockerNetwork } = installer;
  const extra = extraIndexUrls.join(' ');
  return {
    network: dockerNetwork,
    caBundle,
    env: {
      ...proxyEnv,
      ...(indexUrl === null ? {} : { UV_DEFAULT_INDEX: indexUrl, PIP_INDEX_URL: indexUrl }),
      ...(extra === '' ? {} : { UV_INDEX: extra, PIP_EXTRA_INDEX_URL: extra }),
      ...(caBundle === null
        ? {}
        : {
            SSL_CERT_FILE: caTarget,
            PIP_CERT: caTarget,
            REQUESTS_CA_BUNDLE: caTarget,
            GIT_SSL_CAINFO: caTarget,
          }),
    },
  };
}

/** Lines of `pip config list`: a later line wins, as an environment variable wins over a file in pip itself. */
function parsePipConfig(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^(?:global|install|download|user|site|:env:)\.([a-z-]+)=(['"])(.*)\2$/.exec(line.trim());
    if (match?.[1] !== undefined && match[3] !== undefined) found.set(match[1], match[3]);
  }
  return found;
}

/** Several URLs; `pip config list` shows line breaks as a backslash and an n. */
const words = (text: string | undefined): readonly string[] =>
  (text ?? '').split(/(?:\s|\\n)+/).filter(Boolean);

/** uv writes named indexes as `name=https://…`; the name is of no use to a build. */
function withoutName(url: string | undefined): string | null {
  if (url === undefined || url === '') return null;
  return /^[A-Za-z0-9_.-]+=(?=[a-z+]+:\/\/)/.test(url) ? url.slice(url.indexOf('=') + 1) : url;
}

function firstBundle(
  env: Env,
  pipCert: string | undefined,
  exists: (path: string) => boolean,
): string | null {
  const candidates = [
    env['REPOFORGE_CA_BUNDLE'],
    env['SSL_CERT_FILE'],
    env['PIP_CERT'],
    env['REQUESTS_CA_BUNDLE'],
    pipCert,
    ...DISTRIBUTION_BUNDLES,
  ];
  return candidates.find((path) => path !== undefined && path !== '' && exists(path)) ?? null;
}

/** Both spellings, since tools differ in which one they read. */
function proxiesOf(env: Env, pipProxy: string | undefined): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of PROXY_NAMES) {
    const value = env[name] || env[name.toUpperCase()] || (name === 'no_proxy' ? undefined : pipProxy);
    if (value === undefined || value === '' || (name === 'all_proxy' && value === pipProxy)) continue;
    found[name] = value;
    found[name.toUpperCase()] = value;
  }
  return found;
}

const proxyUrls = (proxyEnv: Readonly<Record<string, string>>): readonly string[] =>
  Object.entries(proxyEnv).flatMap(([name, value]) => (name.toLowerCase() === 'no_proxy' ? [] : [value]));

/** True for an address that a container on its own network would look for inside itself. */
export function isLoopback(url: string | null): boolean {
  if (url === null) return false;
  const parsed = URL.parse(url.includes('://') ? url : `http://${url}`);
  return parsed !== null && /^(localhost|.+\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(parsed.hostname);
}

function hostProbes(): InstallerProbes {
  return {
    env: process.env,
    pipConfig: async () => (await runPip(['config', 'list'])) ?? '',
    pipDefaultIndex: async () => {
      const code = 'from pip._internal.models.index import PyPI; print(PyPI.simple_url)';
      const answer = await runPython(['-c', code]);
      return answer === null || !URL.canParse(answer) ? null : answer.endsWith('/') ? answer : `${answer}/`;
    },
    exists: existsSync,
  };
}

/** Runs the host's pip, installed or as a bundled wheel; null when there is none or it fails. */
export const runPip = async (args: readonly string[]): Promise<string | null> =>
  runPython(['-m', 'pip', '--disable-pip-version-check', ...args]);

async function runPython(command: readonly string[]): Promise<string | null> {
  for (const wheel of [null, ...bundledPipWheels()]) {
    const result = await execa('python3', command, {
      reject: false,
      timeout: PIP_TIMEOUT_MS,
      stdin: 'ignore',
      ...(wheel === null ? {} : { env: { PYTHONPATH: wheel } }), // a wheel of pip runs without being installed
    });
    if (result.exitCode === 0) return result.stdout.trim();
  }
  return null;
}

/** pip as the distribution or Python itself ships it for `venv`, for hosts where pip is not installed. */
function bundledPipWheels(): readonly string[] {
  const folders = ['/usr/share/python-wheels', ...ensurepipFolders()];
  return folders.flatMap((folder) =>
    listed(folder)
      .filter((name) => /^pip-.*\.whl$/.test(name))
      .map((name) => join(folder, name)),
  );
}

const ensurepipFolders = (): readonly string[] =>
  ['/usr/lib', '/usr/local/lib'].flatMap((lib) =>
    listed(lib)
      .filter((name) => /^python3\.\d+$/.test(name))
      .map((name) => join(lib, name, 'ensurepip', '_bundled')),
  );

function listed(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

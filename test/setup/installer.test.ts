import { describe, expect, it } from 'vitest';
import {
  buildNetworkOf,
  discoverInstaller,
  isLoopback,
  type InstallerProbes,
} from '../../src/setup/installer.ts';

const DEFAULT = 'https://builtin.example/simple/';
const probes = (over: Partial<InstallerProbes> = {}): InstallerProbes => ({
  env: {},
  pipConfig: async () => '',
  pipDefaultIndex: async () => DEFAULT,
  exists: () => false,
  ...over,
});
const pip = (...lines: string[]) => ({ pipConfig: async () => lines.join('\n') });

describe('the package index of this host', () => {
  it.each([
    [
      'UV_DEFAULT_INDEX before all',
      { env: { UV_DEFAULT_INDEX: 'https://a/', PIP_INDEX_URL: 'https://b/' } },
      'https://a/',
    ],
    [
      'a named uv index without its name',
      { env: { UV_DEFAULT_INDEX: 'mine=https://a/simple' } },
      'https://a/simple',
    ],
    ['UV_INDEX_URL', { env: { UV_INDEX_URL: 'https://a/' } }, 'https://a/'],
    ['PIP_INDEX_URL', { env: { PIP_INDEX_URL: 'https://b/' } }, 'https://b/'],
    [
      "pip's configuration",
      pip("global.cert='/x'", "global.index-url='https://c/simple'"),
      'https://c/simple',
    ],
    [
      'an address with an equals sign in it',
      { env: { PIP_INDEX_URL: 'https://b/simple?x=https://c' } },
      'https://b/simple?x=https://c',
    ],
    ["pip's built-in default", {}, DEFAULT],
    ['nothing where there is no pip', { pipDefaultIndex: async () => null }, null],
  ])('is %s', async (_case, over, expected) => {
    expect((await discoverInstaller(probes(over))).indexUrl).toBe(expected);
  });

  it("comes with extra indexes, also from pip's folded configuration", async () => {
    const fromEnv = await discoverInstaller(
      probes({ env: { PIP_EXTRA_INDEX_URL: 'https://x/ https://y/' } }),
    );
    expect(fromEnv.extraIndexUrls).toEqual(['https://x/', 'https://y/']);
    const fromPip = await discoverInstaller(
      probes(pip(String.raw`global.extra-index-url='\nhttps://x/\nhttps://y/'`)),
    );
    expect(fromPip.extraIndexUrls).toEqual(['https://x/', 'https://y/']);
  });
});

describe('the CA bundle', () => {
  const all = () => true;
  it.each([
    ['ours first', { REPOFORGE_CA_BUNDLE: '/mine', SSL_CERT_FILE: '/ssl' }, '/mine'],
    ["OpenSSL's", { SSL_CERT_FILE: '/ssl', PIP_CERT: '/pip' }, '/ssl'],
    ["pip's", { PIP_CERT: '/pip', REQUESTS_CA_BUNDLE: '/requests' }, '/pip'],
    ["requests'", { REQUESTS_CA_BUNDLE: '/requests' }, '/requests'],
    ["pip's configured one", {}, '/configured'],
  ])('is %s', async (_case, env, expected) => {
    const installer = await discoverInstaller(
      probes({ env, exists: all, ...pip("global.cert='/configured'") }),
    );
    expect(installer.caBundle).toBe(expected);
  });

  it("is the distribution's when the named one does not exist, and none when there is none", async () => {
    const exists = (path: string) => path === '/etc/pki/tls/certs/ca-bundle.crt';
    const env = { SSL_CERT_FILE: '/gone' };
    expect((await discoverInstaller(probes({ env, exists }))).caBundle).toBe(
      '/etc/pki/tls/certs/ca-bundle.crt',
    );
    expect((await discoverInstaller(probes({ env }))).caBundle).toBeNull();
  });
});

describe('the build network', () => {
  it.each([
    ['bridge as a rule', {}, 'bridge'],
    ['host when the index is on loopback', { PIP_INDEX_URL: 'http://127.0.0.1:3141/simple' }, 'host'],
    ['host when a proxy is on loopback', { https_proxy: 'http://localhost:8080' }, 'host'],
    ['host when a proxy on loopback has no scheme', { HTTP_PROXY: 'localhost:8080' }, 'host'],
    ['bridge when only no_proxy names loopback', { no_proxy: 'localhost,127.0.0.1' }, 'bridge'],
    ['what the user says', { https_proxy: 'http://localhost:1', REPOFORGE_BUILD_NETWORK: 'mine' }, 'mine'],
  ])('is %s', async (_case, env, expected) => {
    expect((await discoverInstaller(probes({ env }))).dockerNetwork).toBe(expected);
  });

  it('hands proxies on in both spellings, and the index and CA bundle to uv and pip alike', async () => {
    const installer = await discoverInstaller(
      probes({
        env: { HTTPS_PROXY: 'http://p:1', NO_PROXY: 'x' },
        exists: (path) => path === '/etc/ssl/cert.pem',
      }),
    );
    expect(buildNetworkOf(installer)).toEqual({
      network: 'bridge',
      caBundle: '/etc/ssl/cert.pem',
      env: {
        https_proxy: 'http://p:1',
        HTTPS_PROXY: 'http://p:1',
        no_proxy: 'x',
        NO_PROXY: 'x',
        UV_DEFAULT_INDEX: DEFAULT,
        PIP_INDEX_URL: DEFAULT,
        SSL_CERT_FILE: '/etc/ssl/certs/ca-certificates.crt',
        PIP_CERT: '/etc/ssl/certs/ca-certificates.crt',
        REQUESTS_CA_BUNDLE: '/etc/ssl/certs/ca-certificates.crt',
        GIT_SSL_CAINFO: '/etc/ssl/certs/ca-certificates.crt',
      },
    });
  });

  it.each([
    ['http://localhost/x', true],
    ['http://pypi.localhost:1/', true],
    ['https://[::1]/simple', true],
    ['127.0.0.2:8080', true],
    ['https://localhost.example/', false],
    ['https://10.0.0.1/', false],
    [null, false],
  ])('%s is loopback: %s', (url, expected) => {
    expect(isLoopback(url)).toBe(expected);
  });
});

it('finds on this very machine the index that pip itself would use', async () => {
  const { indexUrl } = await discoverInstaller();
  expect(indexUrl).toMatch(/^https?:\/\//);
});

import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { runDoctor, type DoctorCheck } from '../../src/setup/doctor.ts';
import type { Installer } from '../../src/setup/installer.ts';
import { sendJson, startHttpServer, type TestHttpServer } from '../support/http.ts';

let server: TestHttpServer;
let dir: string;
let tools: string;
beforeAll(async () => {
  server = await startHttpServer(() => undefined);
  dir = await mkdtemp(join(tmpdir(), 'rf-doctor-'));
  tools = await mkdtemp(join(tmpdir(), 'rf-doctor-tools-'));
  const git = (process.env['PATH'] ?? '').split(':').find((entry) => existsSync(join(entry, 'git')));
  await symlink(join(git ?? '', 'git'), join(tools, 'git'));
  await writeFile(join(tools, 'python3'), '#!/bin/sh\necho "Python 3.9.1"\n', { mode: 0o755 });
});
afterAll(async () => {
  await server.close();
  for (const made of [dir, tools]) await rm(made, { recursive: true, force: true });
});
beforeEach(() => {
  vi.stubEnv('DOCKER_HOST', 'tcp://127.0.0.1:1');
  server.use((request, response) => {
    if (request.url === '/v1/models') sendJson(response, { data: [{ id: 'labeller' }] });
    else if (request.url === '/rate_limit')
      sendJson(response, { resources: { core: { remaining: 4321, limit: 5000 } } });
    else sendJson(response, { name: 'pip' });
  });
});
afterEach(() => vi.unstubAllEnvs());

const environment = (): NodeJS.ProcessEnv => ({
  HOME: dir,
  PATH: tools,
  REPOFORGE_STATE: join(dir, 'state'),
  REPOFORGE_CACHE: join(dir, 'cache'),
});

const installer = (): Installer => ({
  indexUrl: `${server.url}/simple`,
  extraIndexUrls: [],
  caBundle: null,
  proxyEnv: {},
  dockerNetwork: 'bridge',
});

async function examine(env: NodeJS.ProcessEnv = {}): Promise<(name: string) => DoctorCheck> {
  const checks = await runDoctor({ env: { ...environment(), ...env }, installer: installer() });
  return (name) => {
    const found = checks.find((check) => check.name === name);
    if (!found) throw new Error(`no check is called ${name}: ${JSON.stringify(checks)}`);
    return found;
  };
}

const LABELS = { REPOFORGE_LABEL_MODEL: 'labeller', OPENAI_API_KEY: 'sk-hush' };

describe('doctor', () => {
  it('reports on every part at once and creates nothing', async () => {
    const check = await examine({ GITHUB_TOKEN: 'ghp_hush', GITHUB_API_URL: server.url });
    expect(check('node').ok).toBe('ok');
    expect(check('git').detail).toMatch(/^\d+\.\d+/);
    expect(check('python').detail).toMatch(/^Python 3\.9\.1/);
    expect(check('docker')).toMatchObject({ ok: 'fail', fix: expect.stringContaining('DOCKER_HOST') });
    expect(check('package index')).toMatchObject({
      ok: 'ok',
      detail: expect.stringContaining(new URL(server.url).host),
    });
    expect(check('label model')).toMatchObject({ ok: 'ok', detail: expect.stringContaining('heuristic') });
    expect(check('github').detail).toBe('1 token(s), requests left this hour: 4321 of 5000');
    expect(check('disk').detail).toContain(join(dir, 'state'));
    expect(await readdir(dir)).toEqual([]);
  });

  it.each([
    ['knows no such model', { REPOFORGE_LABEL_MODEL: 'other' }, 'fail', /has no model other/],
    ['has no prices', {}, 'warn', /prices unknown/],
    [
      'is priced',
      { REPOFORGE_LABEL_PRICE_INPUT: '1', REPOFORGE_LABEL_PRICE_OUTPUT: '2' },
      'ok',
      /^labeller at 127/,
    ],
    [
      'is not there',
      { OPENAI_BASE_URL: 'http://127.0.0.1:1/v1' },
      'fail',
      /127\.0\.0\.1:1 cannot be reached/,
    ],
  ] as const)('says when the label server %s', async (_title, env, verdict, detail) => {
    const check = await examine({ ...LABELS, OPENAI_BASE_URL: `${server.url}/v1`, ...env });
    expect(check('label model')).toMatchObject({ ok: verdict, detail: expect.stringMatching(detail) });
  });

  it('says which credential is refused and never prints one', async () => {
    server.use((_request, response) => sendJson(response, { message: 'Bad credentials' }, { status: 401 }));
    const checks = await runDoctor({
      installer: installer(),
      env: {
        ...environment(),
        ...LABELS,
        OPENAI_BASE_URL: `${server.url}/v1`,
        GITHUB_TOKENS: 'ghp_hush1 ghp_hush2',
        GITHUB_API_URL: server.url,
      },
    });
    const failed = checks.filter((check) => check.ok === 'fail').map((check) => check.name);
    expect(failed).toEqual(expect.arrayContaining(['label model', 'github', 'package index']));
    expect(JSON.stringify(checks)).not.toContain('hush');
  });

  it('stops at wrong settings, which would make every other answer doubtful', async () => {
    const checks = await runDoctor({ env: { ...environment(), REPOFORGE_SANDBOX_SLOT: '3' } });
    expect(checks).toEqual([
      expect.objectContaining({
        name: 'settings',
        ok: 'fail',
        detail: expect.stringContaining('did you mean REPOFORGE_SANDBOX_SLOTS?'),
      }),
    ]);
  });

  it('names the address of a Temporal server that does not answer', async () => {
    const check = await examine({ TEMPORAL_ADDRESS: '127.0.0.1:1' });
    expect(check('temporal')).toMatchObject({ ok: 'fail', detail: expect.stringContaining('127.0.0.1:1') });
  });

  it('warns of a disk below the floor with the setting that moves it', async () => {
    const check = await examine({ REPOFORGE_DISK_FLOOR: '9000TB' });
    expect(check('disk')).toMatchObject({ ok: 'fail', fix: expect.stringContaining('REPOFORGE_DISK_FLOOR') });
  });
});

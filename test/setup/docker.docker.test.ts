import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createDockerDriver } from '../../src/sandbox/docker.ts';
import { ensureDocker, startDockerd } from '../../src/setup/docker.ts';
import { endProcess, identify, type ProcessIdentity } from '../../src/setup/processes.ts';

const log = pino({ level: 'silent' });
let directory: string;
let daemon: ProcessIdentity | null = null;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rf-dockerd-'));
});
afterEach(async () => {
  if (daemon !== null) await endProcess(daemon, 20_000);
  daemon = null;
  await rm(directory, { recursive: true, force: true });
});

/** A bridge of the test's own: the host's docker0 belongs to the daemon in use. */
const BRIDGE = `rft${process.pid}`;
beforeAll(() => {
  if (process.getuid?.() !== 0) return;
  execFileSync('ip', ['link', 'add', BRIDGE, 'type', 'bridge']);
  execFileSync('ip', ['address', 'add', '10.253.17.1/30', 'dev', BRIDGE]);
});
afterAll(() => {
  if (process.getuid?.() === 0) execFileSync('ip', ['link', 'delete', BRIDGE]);
});

/** A daemon of the test's own: data, sockets and pid file in its own directory, no network set-up. */
const ownDaemon = (...more: readonly string[]) => ({
  directory,
  socketPath: join(directory, 'd.sock'),
  args: [
    `--data-root=${join(directory, 'data')}`,
    `--exec-root=${join(directory, 'exec')}`,
    `--pidfile=${join(directory, 'pid')}`,
    // Not `none`: a daemon without a bridge deletes docker0 at its start, whoever's it is.
    `--bridge=${BRIDGE}`,
    '--iptables=false',
    '--ip6tables=false',
    ...more,
  ],
});

describe.skipIf(process.getuid?.() !== 0)('a daemon that we start (needs root)', () => {
  it('answers, is on record, and its end is an infrastructure failure that says what to do', async () => {
    const started = await startDockerd(ownDaemon());
    daemon = identify(started.pid);
    expect(JSON.parse(await readFile(join(directory, 'dockerd.json'), 'utf8'))).toEqual(daemon);
    const driver = createDockerDriver({
      socketPath: join(directory, 'd.sock'),
      log,
      buildNetwork: { network: 'bridge', caBundle: null, env: {} },
    });
    expect((await driver.ping()).root).toBe(join(directory, 'data'));
    if (daemon !== null) await endProcess(daemon, 20_000);
    await expect(driver.ping()).rejects.toMatchObject({
      type: 'Infra',
      nonRetryable: false,
      message: expect.stringMatching(/daemon does not answer.*Start it, or set DOCKER_HOST/),
    });
  });

  it('that cannot start is reported with the last lines of its log', async () => {
    await expect(startDockerd(ownDaemon('--no-such-flag'))).rejects.toThrow(
      /ended with code 1: .*unknown flag/,
    );
  });
});

describe('the daemon in use', () => {
  it('is taken as it is, without a word', async () => {
    const said: string[] = [];
    const found = await ensureDocker({ log, say: (line) => said.push(line), cacheDir: directory });
    expect(found.started).toBe(false);
    expect(said).toEqual([]);
  });

  it('is never replaced when DOCKER_HOST names one that is silent: one sentence says so, without its password', async () => {
    vi.stubEnv('DOCKER_HOST', 'tcp://me:hunter2@127.0.0.1:1');
    const failure = await ensureDocker({ log, say: () => undefined, cacheDir: directory }).then(
      () => null,
      (error: unknown) => String(error),
    );
    expect(failure).toMatch(
      /No Docker daemon answers at DOCKER_HOST=tcp:\/\/\*\*\*@127\.0\.0\.1:1 .*unset DOCKER_HOST/,
    );
    expect(failure).not.toContain('hunter2');
  });
});

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SEARCH_ATTRIBUTES } from '../../src/domain/messages.ts';
import { identify, isRunning } from '../../src/setup/processes.ts';
import { openState, type State } from '../../src/setup/state.ts';
import { findServer } from '../../src/setup/temporalProcess.ts';
import { ensureTemporal, stopEmbeddedTemporal, type Temporal } from '../../src/setup/temporalServer.ts';
import { eventually } from '../support/eventually.ts';
import { temporalServer } from '../support/temporal.ts';

let dir: string;
let state: State;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-server-'));
  state = await openState(join(dir, 'state'));
});
afterEach(async () => {
  await stopEmbeddedTemporal(state);
  await rm(dir, { recursive: true, force: true });
});

const settings = { cacheDir: '/nowhere', temporalUiUrl: null };
const ensure = (env: NodeJS.ProcessEnv = {}, lines: string[] = []): Promise<Temporal> =>
  ensureTemporal({
    state,
    settings,
    say: (line) => lines.push(line),
    env: { HOME: dir, REPOFORGE_TEMPORAL_CLI: temporalServer().binary, ...env },
  });

async function withClient<T>(temporal: Temporal, work: (client: Client) => Promise<T>): Promise<T> {
  const connection = await Connection.connect({ address: temporal.address });
  try {
    return await work(new Client({ connection, namespace: temporal.namespace }));
  } finally {
    await connection.close();
  }
}

function running() {
  const server = findServer(state.paths.temporal);
  if (server === null) throw new Error('no server is running');
  return server;
}

describe('the embedded Temporal server', () => {
  it('starts with the UI and our search attributes, says so in one line, and is adopted by the next', async () => {
    const lines: string[] = [];
    const first = await ensure({}, lines);
    const { pid } = running();
    expect(lines).toEqual([
      expect.stringMatching(/^Temporal: started the embedded dev server.*TEMPORAL_ADDRESS/),
    ]);
    expect(first).toMatchObject({ embedded: true, namespace: 'default' });
    expect(await ensure({}, lines)).toEqual(first);
    expect(lines).toHaveLength(1);
    expect(running().pid).toBe(pid);
    expect((await fetch(first.uiUrl ?? '')).status).toBe(200);
    const known = await withClient(first, ({ connection }) =>
      connection.operatorService.listSearchAttributes({ namespace: 'default' }),
    );
    expect(Object.keys(known.customAttributes ?? {})).toEqual(
      expect.arrayContaining(Object.keys(SEARCH_ATTRIBUTES)),
    );
  });

  it('keeps workflows and its ports over SIGKILL', async () => {
    const first = await ensure();
    const runId = await withClient(first, async ({ workflow }) => {
      const handle = await workflow.start('campaign', { workflowId: 'kept', taskQueue: 'nobody', args: [] });
      return handle.firstExecutionRunId;
    });
    process.kill(running().pid, 'SIGKILL');
    const second = await ensure();
    expect(second.address).toBe(first.address);
    expect(second.uiUrl).toBe(first.uiUrl);
    const described = await withClient(second, ({ workflow }) => workflow.getHandle('kept').describe());
    expect([described.runId, described.status.name]).toEqual([runId, 'RUNNING']);
  });

  it('is one server when two start it at once', async () => {
    const [first, second] = await Promise.all([ensure(), ensure()]);
    expect(second).toEqual(first);
  });

  it('moves to another port when a stranger took its own', async () => {
    const first = await ensure();
    await stopEmbeddedTemporal(state);
    const stranger = createServer();
    await new Promise<void>((resolve) =>
      stranger.listen(Number(first.address.split(':')[1]), '127.0.0.1', resolve),
    );
    try {
      const second = await ensure();
      expect(second.address).not.toBe(first.address);
      expect(second.uiUrl).toBe(first.uiUrl);
    } finally {
      stranger.close();
    }
  });

  it('ends on stop, once, and a stranger with its old pid is neither trusted nor ended', async () => {
    await ensure();
    const server = running();
    expect(await stopEmbeddedTemporal(state)).toBe(true);
    expect(isRunning(server)).toBe(false);
    expect(await stopEmbeddedTemporal(state)).toBe(false);
    const note = join(state.paths.temporal, 'server.json');
    await writeFile(note, JSON.stringify({ ...server, pid: process.pid }));
    expect(await stopEmbeddedTemporal(state)).toBe(false);
    await ensure();
    expect(running().pid).not.toBe(process.pid);
  });

  it('is found again when its note is lost', async () => {
    const first = await ensure();
    const { pid } = running();
    await rm(join(state.paths.temporal, 'server.json'));
    expect(await ensure()).toEqual(first);
    expect(running().pid).toBe(pid);
    expect(JSON.parse(await readFile(join(state.paths.temporal, 'server.json'), 'utf8'))).toMatchObject({
      pid,
    });
  });

  it('outlives the process that started it', async () => {
    await ensure();
    const server = running();
    expect(identify(server.pid)).toEqual({ pid: server.pid, startTime: server.startTime });
    const session = (await readFile(`/proc/${server.pid}/stat`, 'utf8')).split(') ')[1]?.split(' ')[3];
    expect(session).toBe(String(server.pid)); // leader of its own session: no terminal and no group of ours reaches it
  });

  it('fails with the reason and the log when the binary cannot serve', async () => {
    const binary = join(dir, 'broken');
    await writeFile(binary, '#!/bin/sh\necho "disk on fire" >&2; exit 3\n', { mode: 0o755 });
    await expect(ensure({ REPOFORGE_TEMPORAL_CLI: binary })).rejects.toThrow(
      /ended at once: disk on fire \(log: .*server\.log\)/,
    );
    expect(findServer(state.paths.temporal)).toBeNull();
  });
});

describe('a Temporal server named by the user', () => {
  it('wins over the embedded one and gets our search attributes', async () => {
    const { address } = temporalServer();
    const namespace = `named-${process.pid}`;
    const connection = await Connection.connect({ address });
    await connection.workflowService.registerNamespace({
      namespace,
      workflowExecutionRetentionPeriod: { seconds: 86_400 as never },
    });
    try {
      // a new namespace reaches the server's caches after a moment
      const temporal = await eventually(
        'the namespace is known',
        () => ensure({ TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: namespace }),
        { timeoutMs: 30_000 },
      );
      expect(temporal).toMatchObject({ address, namespace, embedded: false, uiUrl: null });
      expect(findServer(state.paths.temporal)).toBeNull();
      const known = await connection.operatorService.listSearchAttributes({ namespace });
      expect(Object.keys(known.customAttributes ?? {})).toEqual(
        expect.arrayContaining(Object.keys(SEARCH_ATTRIBUTES)),
      );
    } finally {
      await connection.close();
    }
  });

  it('can be named by a profile, with its namespace', async () => {
    const config = join(dir, 'temporal.toml');
    await writeFile(
      config,
      `[profile.lab]\naddress = "${temporalServer().address}"\nnamespace = "default"\n`,
    );
    const temporal = await ensure({ TEMPORAL_CONFIG_FILE: config, TEMPORAL_PROFILE: 'lab' });
    expect(temporal).toMatchObject({ address: temporalServer().address, embedded: false });
  });

  it('is never replaced by an embedded one when it does not answer', async () => {
    const probe = createServer();
    await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => probe.close(resolve));
    await expect(ensure({ TEMPORAL_ADDRESS: `127.0.0.1:${port}` })).rejects.toThrow(
      `No Temporal server answers at 127.0.0.1:${port}`,
    );
    expect(findServer(state.paths.temporal)).toBeNull();
  });
});

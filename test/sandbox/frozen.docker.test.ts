import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDockerDriver } from '../../src/sandbox/docker.ts';
import { defaultSocket } from '../../src/setup/dockerSocket.ts';
import { SANDBOX_USERS, type Sandbox } from '../../src/sandbox/types.ts';
import { testInstallation, type TestInstallation } from '../support/docker.ts';
import { sandboxSpec } from './sandboxSpec.ts';

/** A wire to the daemon in use that can be stopped: a frozen daemon to whoever is at its other end, and only to them. */
interface Wire {
  readonly socketPath: string;
  freezeFor(milliseconds: number): void;
  close(): Promise<void>;
}

let own: TestInstallation;
let wire: Wire;
let sandbox: Sandbox;
beforeAll(async () => {
  own = await testInstallation();
  wire = await openWire(join(own.stateDir, 'wire.sock'));
  const driver = createDockerDriver({
    socketPath: wire.socketPath,
    log: own.log,
    buildNetwork: { network: 'none', caBundle: null, env: {} },
  });
  sandbox = await driver.create(sandboxSpec({ image: await own.image(), installation: own.installation }));
});
afterAll(async () => {
  await wire.close();
  await own.cleanup();
});

async function openWire(socketPath: string): Promise<Wire> {
  const sockets = new Set<Socket>();
  let thaw = Promise.resolve();
  const held = async function* (source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      await thaw;
      yield chunk;
    }
  };
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ path: defaultSocket() ?? '/var/run/docker.sock', allowHalfOpen: true });
    for (const socket of [near, far]) sockets.add(socket);
    pipeline(near, held, far).catch(() => near.destroy());
    pipeline(far, held, near).catch(() => far.destroy());
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    socketPath,
    freezeFor(milliseconds) {
      thaw = delay(milliseconds);
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

const run = (script: string, timeoutMs: number) =>
  sandbox.exec(['sh', '-c', script], { user: SANDBOX_USERS.test, timeoutMs });

it('A command that ended in time is no timeout, though a frozen daemon tells of it after the deadline', async () => {
  const result = run('sleep 0.5; echo done; exit 3', 2_500);
  setTimeout(() => wire.freezeFor(4_000), 300);
  expect(await result).toMatchObject({ exitCode: 3, timedOut: false });
  expect((await result).stdout.toString()).toBe('done\n');
}, 60_000);

it('A command that is still running when a frozen daemon wakes up long after the deadline says nothing: infrastructure', async () => {
  const result = run('sleep 60', 1_500);
  setTimeout(() => wire.freezeFor(9_000), 300);
  await expect(result).rejects.toMatchObject({
    type: 'Infra',
    nonRetryable: false,
    message: expect.stringMatching(/stood still for \d+ s .*time limit says nothing/),
  });
}, 60_000);

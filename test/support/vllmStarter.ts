import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { startVllm, type VllmProcess } from '../../src/policy/process.ts';
import { TRAINER_DIR } from '../../src/setup/pythonEnvironments.ts';
import type { SharedVllm } from './vllm.ts';
import { vllmPython } from './vllmPython.ts';

const run = promisify(execFile);

/**
 * For the global set-up: what starts the server once somebody asks. It lives in the runner, not in the process of the file
 * that asked first, and ends with it. A server that has ended meanwhile (a test killed it) is started anew.
 */
export async function openVllmStarter(
  runDir: string,
): Promise<{ readonly url: string; close(): Promise<void> }> {
  const stop = new AbortController();
  let running: Promise<{ readonly server: VllmProcess; readonly shared: SharedVllm }> | null = null;
  let port: number | undefined; // a server that is started anew has the address of the one before
  const start = async () => {
    const started = await startTiny(runDir, port, stop.signal);
    port = Number(new URL(started.shared.address).port);
    void started.server.ended.then(() => (running = null));
    return started;
  };
  const starter = createServer((_request, response) => {
    running ??= start();
    running.then(
      ({ shared }) => response.end(JSON.stringify(shared)),
      (error: unknown) => {
        running = null;
        response.writeHead(500).end(String(error));
      },
    );
  });
  await new Promise<void>((done) => starter.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(starter.address() as AddressInfo).port}`,
    async close() {
      stop.abort();
      starter.close();
      starter.closeAllConnections();
      const last = await running?.catch(() => null);
      await last?.server.stop();
    },
  };
}

async function startTiny(
  runDir: string,
  port: number | undefined,
  signal: AbortSignal,
): Promise<{ readonly server: VllmProcess; readonly shared: SharedVllm }> {
  const python = await vllmPython();
  const models = join(runDir, 'tiny');
  if (!existsSync(join(models, 'probe.json'))) {
    const env = { ...process.env, PYTHONPATH: TRAINER_DIR };
    await run(python, [resolve('test/policy/makeTinyModel.py'), models], { signal, env });
  }
  const server = await startVllm({
    python,
    model: join(models, 'base'),
    servedModel: 'tiny',
    directory: join(runDir, 'vllm'),
    ...(port === undefined ? {} : { port }),
    maxModelTokens: 2_048,
    lora: { maxRank: 8, maxLoras: 4 },
    cpu: { cacheGiB: 1, threads: 1 },
    signal,
  });
  const shared = { address: server.address, servedModel: 'tiny', models, python, pid: server.pid };
  return { server, shared };
}

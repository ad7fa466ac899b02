import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { startVllm, sweepVllm, type VllmOptions } from '../../src/policy/process.ts';
import { identify } from '../../src/setup/processes.ts';
import { eventually } from '../support/eventually.ts';
import { vllmPython } from '../support/vllmPython.ts';

/** A module that starts in a moment in vLLM's place, with an engine of its own in another process, as vLLM has. */
const SERVER = `
import http.server, subprocess, sys
engine = subprocess.Popen(["sleep", "600"])
open("engine.pid", "w").write(str(engine.pid))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
`;

async function optionsFor(module: string): Promise<VllmOptions> {
  const directory = mkdtempSync(join(tmpdir(), 'vllm-'));
  const file = join(directory, 'vllm', 'entrypoints', 'openai', 'api_server.py'); // the working directory comes first
  mkdirSync(dirname(file), { recursive: true });
  for (const part of ['vllm', 'vllm/entrypoints', 'vllm/entrypoints/openai'])
    writeFileSync(join(directory, part, '__init__.py'), ''); // else the installed package would win
  writeFileSync(file, module);
  const python = await vllmPython();
  return { python, model: '/models/tiny', servedModel: 'tiny', directory, lora: null, maxModelTokens: 64 };
}
const enginePid = (directory: string): number => Number(readFileSync(join(directory, 'engine.pid'), 'utf8'));
const gone = (pid: number): Promise<true> =>
  eventually(`process ${pid} ends`, () => (identify(pid) === null ? true : null));

test('a server that ends early is told with its last words, long before the time limit', async () => {
  const options = await optionsFor('import sys; print("ValueError: no such architecture"); sys.exit(3)');
  const startedAt = Date.now();
  await expect(startVllm(options)).rejects.toThrow(
    /ended before it was ready[\s\S]*ValueError: no such architecture[\s\S]*exit code 3/,
  );
  expect(Date.now() - startedAt).toBeLessThan(20_000);
});

test('a server that does not get ready is ended', async () => {
  const options = await optionsFor(SERVER.replace('send_response(200)', 'send_response(503)'));
  await expect(startVllm({ ...options, readyLimitMs: 3_000 })).rejects.toThrow(/not ready within 3 s/);
  await gone(enginePid(options.directory));
});

test('stop ends the server and its engine', async () => {
  const options = await optionsFor(SERVER);
  const server = await startVllm(options);
  expect((await fetch(`${server.address}/health`)).status).toBe(200);
  await server.stop();
  await server.stop();
  await Promise.all([server.ended, gone(server.pid), gone(enginePid(options.directory))]);
});

test('a killed parent leaves neither server nor engine behind', async () => {
  const options = await optionsFor(SERVER);
  const module = resolve('src/policy/process.ts');
  const parent = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { startVllm } from ${JSON.stringify(module)};
       const { pid } = await startVllm(${JSON.stringify(options)});
       console.log(pid);
       setInterval(() => {}, 1000);`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const pid = await new Promise<number>((done) =>
    parent.stdout.once('data', (text) => done(Number(String(text)))),
  );
  const engine = enginePid(options.directory);
  expect([identify(pid), identify(engine)]).not.toContain(null);
  await expect(startVllm(options)).rejects.toThrow(`Process ${parent.pid} runs a vLLM server`);
  parent.kill('SIGKILL');
  await Promise.all([gone(pid), gone(engine)]);
});

test('what a killed guard left is ended by the next start', async () => {
  const options = await optionsFor(SERVER);
  const server = await startVllm(options);
  const engine = enginePid(options.directory);
  process.kill(server.pid, 'SIGKILL');
  await server.ended;
  expect(identify(engine)).not.toBeNull();
  sweepVllm(options.directory);
  await gone(engine);
});

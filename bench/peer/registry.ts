import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { existsSync } from 'node:fs';
import { lstat, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type Docker from 'dockerode';
import { execa } from 'execa';
import { followProgress } from '../../src/sandbox/bootstrap.ts';
import { connectDocker } from '../../src/sandbox/docker.ts';
import { withFileLock } from '../../src/setup/fileLock.ts';

const INSTALL_TIMEOUT_MS = 10 * 60_000;
const START_TIMEOUT_MS = 20_000;

/** A registry of our own on the loopback, as clusters run it. */
export interface Registry extends AsyncDisposable {
  /** Pushes a local image under its own name. */
  push(image: string): Promise<void>;
  /** Bytes of all blobs that the registry holds: compressed layers, each once, configurations and manifests. */
  blobBytes(): Promise<number>;
}

/** Starts Debian's `docker-registry` with a storage directory that is removed when it is disposed of. */
export async function startRegistry(cacheDir: string): Promise<Registry> {
  const binary = await ensureBinary(cacheDir);
  const dir = await mkdtemp(join(tmpdir(), 'repoforge-registry-'));
  const port = await freePort();
  const config = {
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(dir, 'data') } },
    http: { addr: `127.0.0.1:${port}` },
  };
  await writeFile(join(dir, 'config.yml'), JSON.stringify(config)); // JSON is YAML
  const child = spawn(binary, ['serve', join(dir, 'config.yml')], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const dispose = async (): Promise<void> => {
    if (child.kill()) await ended;
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await answers(port);
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    push: (image) => pushTo(connectDocker(), `127.0.0.1:${port}`, image),
    blobBytes: () => bytesUnder(join(dir, 'data', 'docker', 'registry', 'v2', 'blobs')),
    [Symbol.asyncDispose]: dispose,
  };
}

/** The package's program, unpacked into the cache directory: nothing is installed, no service is started. */
async function ensureBinary(cacheDir: string): Promise<string> {
  const dir = join(cacheDir, 'docker-registry');
  const binary = join(dir, 'usr', 'bin', 'docker-registry');
  await withFileLock(
    join(cacheDir, 'locks', 'docker-registry'),
    async () => {
      if (existsSync(binary)) return;
      const work = `${dir}.${process.pid}.tmp`;
      await mkdir(work, { recursive: true });
      try {
        const download = () => execa('apt-get', ['download', '-q', 'docker-registry'], { cwd: work });
        await download().catch(async () => {
          await execa('apt-get', ['update', '-q']); // a fresh machine has no package lists
          await download();
        });
        const [file = ''] = await readdir(work);
        await execa('dpkg-deb', ['-x', join(work, file), join(work, 'root')]);
        await rm(dir, { recursive: true, force: true });
        await rename(join(work, 'root'), dir);
      } finally {
        await rm(work, { recursive: true, force: true });
      }
    },
    { timeoutMs: INSTALL_TIMEOUT_MS },
  );
  return binary;
}

async function answers(port: number): Promise<void> {
  const until = performance.now() + START_TIMEOUT_MS;
  while (performance.now() < until) {
    const ok = await fetch(`http://127.0.0.1:${port}/v2/`).then(
      (response) => response.ok,
      () => false,
    );
    if (ok) return;
    await delay(50);
  }
  throw new Error(`docker-registry did not answer within ${START_TIMEOUT_MS / 1000} s`);
}

/** Daemons take registries on the loopback without TLS. The second name is removed again. */
async function pushTo(docker: Docker, host: string, image: string): Promise<void> {
  const at = image.lastIndexOf(':');
  const repo = `${host}/${image.slice(0, at)}`;
  const tag = image.slice(at + 1);
  await docker.getImage(image).tag({ repo, tag });
  const pushed = docker.getImage(`${repo}:${tag}`);
  try {
    const progress = await pushed.push({ authconfig: { username: '', password: '', serveraddress: host } });
    await followProgress(docker, progress);
  } finally {
    await pushed.remove();
  }
}

async function bytesUnder(path: string): Promise<number> {
  const status = await lstat(path);
  if (!status.isDirectory()) return status.blocks * 512;
  let bytes = 0;
  for (const name of await readdir(path)) bytes += await bytesUnder(join(path, name));
  return bytes;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

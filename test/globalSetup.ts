import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import type { TestProject } from 'vitest/node';
import { mountsOf, processesOf } from '../scripts/soak/daemon.ts';
import { sweepVllm } from '../src/policy/process.ts';
import { connectDocker } from '../src/sandbox/docker.ts';
import { endProcess, identify, isRunning } from '../src/setup/processes.ts';
import { defaultCacheDir } from '../src/setup/state.ts';
import { findTemporalBinary } from '../src/setup/temporalBinary.ts';
import { listServers, startOrAdoptServer } from '../src/setup/temporalProcess.ts';
import { openVllmStarter } from './support/vllmStarter.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Directory of this test run; swept at the next run when this one is killed. */
    runDir: string;
    /** The run's embedded Temporal server; null in the pure layer. */
    temporal: { readonly address: string; readonly namespace: string; readonly binary: string } | null;
    /** Address that starts the layer `rl`'s vLLM server and says where it is; null in the other layers. */
    vllmStarter: string | null;
    /** File with the workflow bundle, or null where there are no workflows yet. */
    workflowBundle: string | null;
  }
}

const RUNS = join(tmpdir(), `repoforge-test-${userInfo().uid}`);
const WORKFLOWS = resolve('src/workflows/index.ts');

/** Every layer is a vitest project with a set-up of its own; what they share hangs here and ends with the last of them. */
interface Shared {
  users: number;
  readonly runDir: string;
  temporal?: Promise<{ address: string; namespace: string; binary: string }>;
  bundle?: Promise<string | null>;
}
const sharedKey = Symbol.for('repoforge.test.shared');
const holder = globalThis as { [sharedKey]?: Promise<Shared> | undefined };

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const shared = await (holder[sharedKey] ??= openRun());
  shared.users += 1;
  project.provide('runDir', shared.runDir);
  const needsTemporal = ['temporal', 'docker', 'rl'].includes(project.name);
  project.provide(
    'temporal',
    needsTemporal ? await (shared.temporal ??= startTemporal(shared.runDir)) : null,
  );
  project.provide('workflowBundle', needsTemporal ? await (shared.bundle ??= bundle(shared.runDir)) : null);
  const starter = project.name === 'rl' ? await openVllmStarter(shared.runDir) : null;
  project.provide('vllmStarter', starter?.url ?? null);
  return async () => {
    await starter?.close();
    shared.users -= 1;
    if (shared.users > 0) return;
    holder[sharedKey] = undefined;
    await closeRun(shared.runDir);
  };
}

async function openRun(): Promise<Shared> {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 22 || (major === 22 && minor < 18)) {
    throw new Error(`The tests need Node 22.18 or newer, this is ${process.versions.node}: use npm test.`);
  }
  mkdirSync(RUNS, { recursive: true });
  await sweepLeftovers();
  const self = identify(process.pid);
  const runDir = join(RUNS, String(process.pid));
  mkdirSync(join(runDir, 'installations'), { recursive: true });
  writeFileSync(join(runDir, 'runner.json'), JSON.stringify(self));
  // a test must reach neither the user's state nor their servers, tokens and money
  for (const name of Object.keys(process.env)) {
    if (/^(TEMPORAL_|GITHUB_|OPENAI_|REPOFORGE_LABEL)/.test(name)) delete process.env[name];
  }
  process.env['REPOFORGE_STATE'] = join(runDir, 'state');
  // whatever a test makes and does not remove goes with the run
  process.env['TMPDIR'] = join(runDir, 'tmp');
  mkdirSync(process.env['TMPDIR']);
  endServersOnExit(runDir);
  return { users: 0, runDir };
}

async function startTemporal(
  runDir: string,
): Promise<{ address: string; namespace: string; binary: string }> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const { path: binary } = await findTemporalBinary({ cacheDir: defaultCacheDir(), say });
  const server = await startOrAdoptServer({
    dir: join(runDir, 'temporal'),
    binary: () => Promise.resolve(binary),
    say: () => undefined,
  });
  return { address: `127.0.0.1:${server.port}`, namespace: 'default', binary };
}

async function bundle(runDir: string): Promise<string | null> {
  if (!existsSync(WORKFLOWS)) return null;
  const { code } = await bundleWorkflowCode({ workflowsPath: WORKFLOWS, logger: new DefaultLogger('WARN') });
  const file = join(runDir, 'workflow-bundle.js');
  writeFileSync(file, code);
  return file;
}

/** Ctrl-C and a cancelled CI job skip the teardown; a server in its own session would stay. */
function endServersOnExit(runDir: string): void {
  process.once('exit', () => {
    for (const { pid } of serversOf(runDir)) process.kill(pid, 'SIGKILL');
  });
  process.once('SIGTERM', () => process.exit(143));
  process.once('SIGHUP', () => process.exit(129));
}

const serversOf = (runDir: string) =>
  listServers().filter((server) => server.database.startsWith(`${runDir}/`));

/** Ends what earlier runs left: a SIGKILL of the runner spares its server and its containers. */
async function sweepLeftovers(): Promise<void> {
  for (const name of readdirSync(RUNS)) {
    const runDir = join(RUNS, name);
    const text = await readFile(join(runDir, 'runner.json'), 'utf8').catch(() => null);
    if (text !== null && isRunning(JSON.parse(text))) continue;
    await closeRun(runDir);
  }
}

async function closeRun(runDir: string): Promise<void> {
  await Promise.all(serversOf(runDir).map((server) => endProcess(server, 5_000)));
  sweepVllm(join(runDir, 'vllm'));
  // a soak's daemon and a small disk outlive a runner that was killed
  for (const { pid, command } of processesOf(runDir))
    if (/^\S*(?:dockerd|containerd)/.test(command)) process.kill(pid, 'SIGKILL');
  for (const point of mountsOf(runDir)) spawnSync('umount', ['--lazy', point]);
  const installations = join(runDir, 'installations');
  const ids = existsSync(installations) ? readdirSync(installations) : [];
  for (const id of ids) {
    await removeDockerLeftovers(id);
    rmSync(readFileSync(join(installations, id), 'utf8'), { recursive: true, force: true });
  }
  rmSync(runDir, { recursive: true, force: true });
}

/** Containers and volumes of one installation that a test made and did not clean up. */
async function removeDockerLeftovers(installation: string): Promise<void> {
  const docker = connectDocker();
  const filters = { label: [`repoforge.installation=${installation}`] };
  const gone = (error: { statusCode?: number }): void => {
    if (error.statusCode !== 404 && error.statusCode !== 409) throw error;
  };
  for (const { Id } of await docker.listContainers({ all: true, filters })) {
    await docker.getContainer(Id).remove({ force: true, v: true }).catch(gone);
  }
  await docker.getVolume(`repoforge-${installation}-store`).remove().catch(gone);
}

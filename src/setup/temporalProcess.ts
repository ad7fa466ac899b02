import { spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SEARCH_ATTRIBUTES } from '../domain/messages.ts';
import { withFileLock } from './fileLock.ts';
import { endProcess, identify, isRunning, type ProcessIdentity } from './processes.ts';
import { freePort } from './ports.ts';
import { ensureSearchAttributes, withTemporalConnection } from './temporalConnection.ts';

/** A running dev server of ours, as `server.json` notes it. */
export interface EmbeddedServer extends ProcessIdentity {
  readonly port: number;
  readonly uiPort: number;
}

const READY_LIMIT_MS = 60_000; // up in 0.3 s on an idle machine; a large database on a loaded one takes longer
const STOP_GRACE_MS = 10_000;
const START_TRIES = 3; // another process can take a probed port before the server does
const MAX_LOG_BYTES = 20 * 2 ** 20;
/**
 * Tasks are written to one partition of their queue: with the default of four, an activity waits while a third of those
 * queued after it go first. All four are read, so that what an earlier server wrote is found.
 */
const DYNAMIC_CONFIG = ['--dynamic-config-value', 'matching.numTaskqueueWritePartitions=1'];
const RETENTION_SECONDS = 30 * 24 * 3600; // the dev server forgets closed workflows after a day

/**
 * Adopts the dev server whose files lie in `dir`, or starts it on the database there, on the ports that it had before
 * where they are free. Two callers at once start one. It runs on after we end.
 * Throws when it runs but does not answer, or does not come up.
 */
export function startOrAdoptServer(options: {
  readonly dir: string;
  /** Asked for only when a server must be started. */
  readonly binary: () => Promise<string>;
  readonly say: (line: string) => void;
}): Promise<EmbeddedServer> {
  const { dir, say } = options;
  mkdirSync(dir, { recursive: true });
  return withFileLock(join(dir, 'server.lock'), async () => {
    const noted = readNote(dir);
    const running = findServer(dir);
    if (running !== null && (await adopted(running, dir))) return running;
    const server = await start(dir, await options.binary(), noted);
    say(
      `Temporal: started the embedded dev server on 127.0.0.1:${server.port}, UI http://127.0.0.1:${server.uiPort} (set TEMPORAL_ADDRESS for a real one)`,
    );
    return server;
  });
}

/** False when it died while we asked: somebody ended it a moment ago, and another one has to be started. */
async function adopted(running: EmbeddedServer, dir: string): Promise<boolean> {
  try {
    await awaitReady(running, dir);
  } catch (error) {
    if (isRunning(running)) throw error;
    return false;
  }
  writeNote(dir, running);
  return true;
}

/** The running dev server of `dir`, or null. Starts nothing. */
export function findServer(dir: string): EmbeddedServer | null {
  const noted = readNote(dir);
  return noted !== null && isRunning(noted) ? noted : findUnnoted(dir);
}

/** Ends the dev server of `dir`, also one that does not answer. Returns false when none was running. */
export function stopServer(dir: string): Promise<boolean> {
  mkdirSync(dir, { recursive: true });
  return withFileLock(join(dir, 'server.lock'), async () => {
    const server = findServer(dir);
    return server !== null && (await endProcess(server, STOP_GRACE_MS));
  });
}

async function start(dir: string, binary: string, before: EmbeddedServer | null): Promise<EmbeddedServer> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort(before?.port);
    const server = launch(dir, binary, port, await freePort(before?.uiPort, port));
    try {
      await awaitReady(server, dir);
      return server;
    } catch (error) {
      if (isRunning(server)) await endProcess(server, STOP_GRACE_MS);
      if (attempt === START_TRIES) throw error;
    }
  }
}

/** Spawns the server and notes it in the same tick, so that hardly any kill of ours leaves one that nobody knows. */
function launch(dir: string, binary: string, port: number, uiPort: number): EmbeddedServer {
  const logFile = openSync(rotatedLog(dir), 'a');
  const attributes = Object.entries(SEARCH_ATTRIBUTES).flatMap(([name, type]) => [
    '--search-attribute',
    `${name}=${type}`,
  ]);
  const args = ['server', 'start-dev', '--db-filename', databaseOf(dir), '--ip', '127.0.0.1'];
  const ports = ['--port', String(port), '--ui-port', String(uiPort)];
  try {
    const child = spawn(binary, [...args, ...ports, ...attributes, ...DYNAMIC_CONFIG], {
      cwd: dir,
      detached: true, // its own session: Ctrl-C in the terminal and our end leave it alone
      stdio: ['ignore', logFile, logFile],
      env: serverEnvironment(),
    });
    child.on('error', () => undefined); // told below: a binary that cannot be run has no pid
    child.unref();
    if (child.pid === undefined) throw new Error(`${binary} could not be started.`);
    const identity = identify(child.pid);
    if (identity === null) throw endedAtOnce(dir);
    const server = { ...identity, port, uiPort };
    writeNote(dir, server);
    return server;
  } finally {
    closeSync(logFile);
  }
}

/** Only what a process needs: our secrets are none of the server's business, and TEMPORAL_* would change its flags. */
function serverEnvironment(): NodeJS.ProcessEnv {
  const kept = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'TZ'];
  return Object.fromEntries(kept.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
}

async function awaitReady(server: EmbeddedServer, dir: string): Promise<void> {
  const deadline = Date.now() + READY_LIMIT_MS;
  for (;;) {
    try {
      await withTemporalConnection({ address: `127.0.0.1:${server.port}` }, prepareNamespace, 5_000);
      return;
    } catch {
      if (!isRunning(server)) throw endedAtOnce(dir);
      if (Date.now() > deadline) {
        throw new Error(
          `The embedded Temporal server (pid ${server.pid}) runs but does not answer on 127.0.0.1:${server.port}; end it with "kill ${server.pid}" and run again, nothing is lost. Log: ${logOf(dir)}`,
        );
      }
      await delay(100);
    }
  }
}

type Connection = Parameters<Parameters<typeof withTemporalConnection<void>>[1]>[0];

async function prepareNamespace(connection: Connection): Promise<void> {
  const namespace = 'default';
  await ensureSearchAttributes(connection, namespace);
  const { config } = await connection.workflowService.describeNamespace({ namespace });
  if (Number(config?.workflowExecutionRetentionTtl?.seconds ?? 0) >= RETENTION_SECONDS) return;
  await connection.workflowService.updateNamespace({
    namespace,
    config: { workflowExecutionRetentionTtl: { seconds: RETENTION_SECONDS as never } },
  });
}

/** A server on our database that `server.json` does not name: its starter was killed at the worst moment, or the note was deleted. */
function findUnnoted(dir: string): EmbeddedServer | null {
  return listServers().find((server) => server.database === databaseOf(dir)) ?? null;
}

/** Dev servers with a database file that run on this machine, by their command lines. Linux only; elsewhere none. */
export function listServers(): readonly (EmbeddedServer & { readonly database: string })[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc').flatMap((name) => {
    const args = /^\d+$/.test(name) ? commandLine(name) : [];
    const database = args.includes('start-dev') ? valueOf(args, '--db-filename') : undefined;
    if (database === undefined) return [];
    const identity = identify(Number(name));
    const [port, uiPort] = [valueOf(args, '--port'), valueOf(args, '--ui-port')].map(Number);
    return identity && port && uiPort ? [{ ...identity, port, uiPort, database }] : [];
  });
}

const valueOf = (args: readonly string[], flag: string): string | undefined => args[args.indexOf(flag) + 1];

function commandLine(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

const databaseOf = (dir: string): string => join(dir, 'temporal.db');
const logOf = (dir: string): string => join(dir, 'server.log');
const noteOf = (dir: string): string => join(dir, 'server.json');

function rotatedLog(dir: string): string {
  const file = logOf(dir);
  if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > MAX_LOG_BYTES) renameSync(file, `${file}.old`);
  return file;
}

function endedAtOnce(dir: string): Error {
  const lines = readFileSync(logOf(dir), 'utf8').trimEnd().split('\n');
  const reason = lines.at(-1)?.slice(0, 500) || 'it wrote no reason';
  return new Error(`The embedded Temporal server ended at once: ${reason} (log: ${logOf(dir)})`);
}

function readNote(dir: string): EmbeddedServer | null {
  try {
    const note = JSON.parse(readFileSync(noteOf(dir), 'utf8')) as Partial<EmbeddedServer>;
    const { pid, startTime, port, uiPort } = note;
    return pid && startTime && port && uiPort ? { pid, startTime, port, uiPort } : null;
  } catch {
    return null; // absent or cut short: the server, if it runs, is found by its command line
  }
}

function writeNote(dir: string, { pid, startTime, port, uiPort }: EmbeddedServer): void {
  const temporary = `${noteOf(dir)}.tmp`;
  writeFileSync(temporary, `${JSON.stringify({ pid, startTime, port, uiPort })}\n`);
  renameSync(temporary, noteOf(dir));
}

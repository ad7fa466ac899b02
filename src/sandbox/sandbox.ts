import { Readable } from 'node:stream';
import type Docker from 'dockerode';
import type { Logger } from 'pino';
import { infraFailure } from '../domain/failures.ts';
import { MEMORY_FACTS_COMMAND, parseMemoryFacts, readHostMemoryFacts } from './cgroup.ts';
import type { MemoryFacts } from './cgroup.ts';
import { classifyDockerError, dockerCall, dockerStatus } from './errors.ts';
import { assertAlive, execInContainer } from './exec.ts';
import { readSingleFile } from './files.ts';
import { diffCommand, MAX_DIFF_BYTES } from './gitDiff.ts';
import { SANDBOX_USERS } from './types.ts';
import type { Removals } from './removals.ts';
import type { ExecOptions, ExecResult, Sandbox } from './types.ts';

const DIFF_TIMEOUT_MS = 120_000;

/** A started container as a `Sandbox`. */
export function createSandbox(deps: {
  readonly docker: Docker;
  readonly container: Docker.Container;
  readonly log: Logger;
  readonly removals: Removals;
}): Sandbox {
  const { container, log } = deps;
  const short = container.id.slice(0, 12);
  let knownOomKills = 0;

  const memoryFacts = async (): Promise<MemoryFacts | null> => {
    const onHost = await readHostMemoryFacts(container.id);
    if (onHost !== null) return onHost;
    const inside = await execInContainer(deps, MEMORY_FACTS_COMMAND, {
      user: SANDBOX_USERS.root,
      timeoutMs: 10_000,
    });
    return parseMemoryFacts(inside.stdout.toString());
  };

  const exec = async (command: readonly string[], options: ExecOptions): Promise<ExecResult> => {
    const { killed, restarted, ...raw } = await execInContainer(deps, command, options);
    const oomKills = (await memoryFacts())?.oomKills ?? 0;
    // A restarted container has a new cgroup that counts from zero.
    const outOfMemory = restarted ? false : oomKills > knownOomKills;
    knownOomKills = oomKills;
    if (killed === 'signal') throw abortReason(options.signal);
    return { ...raw, timedOut: killed === 'deadline', outOfMemory };
  };

  return {
    id: container.id,
    exec,
    putTree: async (tar, path) => {
      await dockerCall(`unpack a tree into ${path} of container ${short}`, () =>
        container.putArchive(tar, { path }),
      );
    },
    getFile: async (path, maxBytes) => {
      const archive = await openArchive(container, path);
      const content = archive === null ? null : await readSingleFile(archive, path, maxBytes);
      if (content === null) await assertAlive(container, `read ${path} of container ${short}`);
      return content;
    },
    getTree: async (path) => {
      const archive = await openArchive(container, path);
      if (archive === null) throw infraFailure(`${path} does not exist in container ${short}.`);
      return Readable.from(whileAlive(container, archive, `read ${path} of container ${short}`));
    },
    diff: async (cwd) => {
      const result = await exec(diffCommand, {
        user: SANDBOX_USERS.test,
        cwd,
        timeoutMs: DIFF_TIMEOUT_MS,
        outputBytes: MAX_DIFF_BYTES,
      });
      if (result.exitCode !== 0 || result.droppedBytes > 0) throw diffFailure(cwd, result);
      return result.stdout;
    },
    peakMemoryBytes: async () => (await memoryFacts())?.peakBytes ?? null,
    destroy: async () => removeContainer(container, log),
    discard: async () => deps.removals.add(removeContainer(container, log), container.id),
  };
}

/** Removes a container at once with its anonymous volumes; one that is gone, going or was never there is success. */
export async function removeContainer(container: Docker.Container, log: Logger): Promise<void> {
  log.debug({ container: container.id }, 'removing container');
  try {
    await dockerCall(`remove container ${container.id.slice(0, 12)}`, async () => {
      try {
        await container.remove({ force: true, v: true });
      } catch (error) {
        const status = dockerStatus(error);
        if (status !== 304 && status !== 404 && status !== 409) throw error;
      }
    });
  } finally {
    log.debug({ container: container.id }, 'removed container');
  }
}

async function openArchive(container: Docker.Container, path: string): Promise<Readable | null> {
  const doing = `read ${path} of container ${container.id.slice(0, 12)}`;
  try {
    // A tar stream; the types call it a plain ReadableStream.
    return (await container.getArchive({ path })) as Readable;
  } catch (error) {
    if (dockerStatus(error) === 404 && !/no such container:/i.test(String(error))) return null;
    throw classifyDockerError(error, doing);
  }
}

/**
 * The chunks of an archive, with an Infra failure at the end when the container did not live that long: of one that was
 * stopped meanwhile the daemon leaves out what is no longer there, and ends the archive as if it were whole.
 */
async function* whileAlive(
  container: Docker.Container,
  archive: Readable,
  doing: string,
): AsyncGenerator<Buffer> {
  yield* archive as AsyncIterable<Buffer>;
  await assertAlive(container, doing);
}

const abortReason = (signal: AbortSignal | undefined): Error =>
  signal?.reason instanceof Error
    ? signal.reason
    : new DOMException('The command was cancelled.', 'AbortError');

function diffFailure(cwd: string, result: ExecResult): Error {
  const what = result.timedOut
    ? `took longer than ${DIFF_TIMEOUT_MS / 1000} s`
    : result.droppedBytes > 0
      ? `is larger than ${MAX_DIFF_BYTES} bytes`
      : `failed with exit code ${result.exitCode}: ${result.stderr.toString().slice(0, 500)}`;
  return infraFailure(`The diff of ${cwd} ${what}.`);
}

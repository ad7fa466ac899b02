/**
 * A workspace is the same in every run of a row: the tree as a repository of one commit, the venv, and what the offline
 * install wrote. It is made and proven once, kept as one tar, and put into later containers in one call. What a patch
 * builds apart is kept under the patch's own key, so it reaches nobody else. A bounded cache of this host: all of it can be
 * made again, and the longest unused goes first.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { hashOf } from '../../domain/canonical.ts';
import type { RunPlan } from '../../domain/runs.ts';
import { SANDBOX_PATHS } from '../../sandbox/types.ts';
import type { Sandbox } from '../../sandbox/types.ts';
import { temporaryName, writeDurably } from '../../store/durable.ts';
import { keepTrees } from './trees.ts';
import type { Workspace } from './workspace.ts';
import type { TreeChange } from './workspaceChange.ts';

/** Rises when the scripts that prepare a workspace, or this file, change meaning. */
const WORKSPACE_RULES = 1;
const MAX_WORKSPACE_BYTES = 128 * 1024 ** 2; // a larger one costs more to move than to make
const FULL_AFTER_EVICTION = 0.9;

export interface PreparedWorkspace {
  /** For `/`, with owners and modes. */
  readonly tar: Buffer;
  /** Versions that the installed project reports. */
  readonly versions: readonly string[];
}

export interface PreparedWorkspaces {
  /** null when none is kept, or when what is kept is damaged. */
  restore(key: string): Promise<PreparedWorkspace | null>;
  /** Keeps what the sandbox holds now: before anything of the candidate was executed in it. Never throws. */
  keep(key: string, sandbox: Sandbox, versions: readonly string[]): Promise<void>;
}

/** Key of the workspace that a plan starts from: tree, environment, image, install; and the patch where it is built apart. */
export function workspaceKey(plan: RunPlan, workspace: Workspace, image: string): string {
  const { treeOid, spec, candidate, submodules, patch, rebuild } = workspace;
  return hashOf({
    rules: WORKSPACE_RULES,
    image,
    treeOid,
    submodules,
    environment: plan.environment,
    variant: plan.variant,
    install: spec.install,
    baseVersion: candidate.baseVersion,
    // which paths of a build count as protected is said by the candidate's own test commit
    built:
      rebuild && patch?.ok === true
        ? { candidate: plan.candidate, change: hashOfChange(patch.change) }
        : null,
  });
}

const hashOfChange = ({ files, deleted }: TreeChange): string =>
  hashOf({
    files: files.map(({ path, mode, content }) => [path, mode, sha256(content)]),
    deleted,
  });

const sha256 = (content: Buffer): string => createHash('sha256').update(content).digest('hex');

/** A file is a line of JSON, then the tar that it speaks of. */
interface Header {
  readonly sha256: string;
  readonly versions: readonly string[];
}

/** @param options.maxBytes of all files together; a kept workspace that goes beyond takes the place of the longest unused */
export function createPreparedWorkspaces(options: {
  readonly dir: string;
  readonly maxBytes: number;
  readonly log: Logger;
}): PreparedWorkspaces {
  const { dir, maxBytes, log } = options;
  const fileOf = (key: string): string => join(dir, key);

  return {
    async restore(key) {
      const file = await readFile(fileOf(key)).catch(() => null);
      const end = file?.indexOf(10) ?? -1;
      if (file === null || end < 0) return null;
      const tar = file.subarray(end + 1);
      const header = headerOf(file.subarray(0, end));
      if (header?.sha256 !== sha256(tar)) {
        log.warn({ file: fileOf(key) }, 'a prepared workspace is damaged; it is made again');
        return null;
      }
      const now = new Date();
      await utimes(fileOf(key), now, now).catch(() => undefined); // the longest unused goes first
      return { tar, versions: header.versions };
    },
    async keep(key, sandbox, versions) {
      try {
        const paths = [SANDBOX_PATHS.repo, SANDBOX_PATHS.venv];
        const tar = await keepTrees(sandbox, paths, Math.min(MAX_WORKSPACE_BYTES, maxBytes));
        if (tar === null) return;
        const header: Header = { sha256: sha256(tar), versions };
        await mkdir(dir, { recursive: true });
        const temporary = temporaryName(dir);
        await writeDurably(temporary, Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), tar]));
        await rename(temporary, fileOf(key));
        await evict(dir, maxBytes);
      } catch (error) {
        log.warn({ err: error }, 'a workspace could not be kept; the next run makes it again');
      }
    },
  };
}

function headerOf(line: Buffer): Header | null {
  try {
    return JSON.parse(line.toString('utf8')) as Header;
  } catch {
    return null;
  }
}

async function evict(dir: string, maxBytes: number): Promise<void> {
  const files = await Promise.all(
    (await readdir(dir)).map(async (name) => ({
      name,
      found: await stat(join(dir, name)).catch(() => null),
    })),
  );
  const present = files.flatMap(({ name, found }) =>
    found === null ? [] : [{ name, bytes: found.size, usedMs: found.mtimeMs }],
  );
  let bytes = present.reduce((sum, file) => sum + file.bytes, 0);
  if (bytes <= maxBytes) return;
  for (const file of present.toSorted((a, b) => a.usedMs - b.usedMs)) {
    if (bytes <= maxBytes * FULL_AFTER_EVICTION) return;
    await rm(join(dir, file.name), { force: true });
    bytes -= file.bytes;
  }
}

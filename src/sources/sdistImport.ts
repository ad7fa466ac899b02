import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { execa } from 'execa';
import { infraFailure } from '../domain/failures.ts';
import { COMMITTER } from './mirrorCommits.ts';
import type { SourceMirror } from './mirror.ts';
import { gitArguments, gitEnvironment, gitText } from './gitRun.ts';
import { BadArchiveError, readMembers } from './sdistArchive.ts';
import { placeOf } from './sdistPlan.ts';
import type { ArchivePlan } from './sdistPlan.ts';

export interface ImportRequest {
  readonly mirror: SourceMirror;
  readonly file: string;
  readonly filename: string;
  readonly plan: ArchivePlan;
  readonly maxBytes: number;
  readonly ref: string;
  readonly message: string;
  readonly epochSeconds: number;
}

/**
 * Writes an archive's tree as a root commit of the mirror through one `git fast-import`, straight from the archive:
 * nothing is unpacked on disk. Deterministic: equal archive, message and time give the equal commit. Returns its id.
 */
export async function importArchive(request: ImportRequest): Promise<string> {
  const { mirror } = request;
  await removeCrashReports(mirror.gitDir);
  const child = execa(
    'git',
    gitArguments(['fast-import', '--quiet', '--force', '--done', '--date-format=raw'], mirror.gitDir),
    { env: gitEnvironment(), extendEnv: false, reject: false },
  );
  // A failure while reading ends the input without `done`, and then fast-import changes no ref.
  const fed = pipeline(Readable.from(commands(request), { objectMode: true }), child.stdin).catch(
    (error: unknown) => error,
  );
  const [result, problem] = await Promise.all([child, fed]);
  if (problem instanceof BadArchiveError) throw problem;
  if (result.exitCode !== 0) throw infraFailure(`git fast-import failed in ${mirror.id}: ${result.stderr}`);
  return gitText(['rev-parse', '--verify', `${request.ref}^{commit}`], { gitDir: mirror.gitDir });
}

/** fast-import leaves a report when its feeder is killed; nobody reads them. */
async function removeCrashReports(gitDir: string): Promise<void> {
  for (const name of await readdir(gitDir))
    if (name.startsWith('fast_import_crash_')) await rm(join(gitDir, name), { force: true });
}

const bytesOf = (latin1: string): Buffer => Buffer.from(latin1, 'latin1');

async function* commands(request: ImportRequest): AsyncGenerator<Buffer> {
  const marks = new Map<string, number>();
  yield* blobs(request, marks);
  const committer = `${COMMITTER.name} <${COMMITTER.email}> ${request.epochSeconds} +0000`;
  const message = Buffer.from(request.message, 'utf8');
  yield bytesOf(`commit ${request.ref}\ncommitter ${committer}\ndata ${message.length}\n`);
  yield message;
  yield bytesOf('\n');
  for (const [path, entry] of request.plan.entries) {
    const mode = entry.kind === 'symlink' ? '120000' : entry.executable ? '100755' : '100644';
    const mark = marks.get(entry.kind === 'symlink' ? `->${entry.target}` : entry.digest);
    yield bytesOf(`M ${mode} :${mark} ${quote(path)}\n`);
  }
  yield bytesOf('done\n');
}

/** One blob per distinct content; fills in mark numbers by content digest (files) or target (links). */
async function* blobs(request: ImportRequest, marks: Map<string, number>): AsyncGenerator<Buffer> {
  const begin = (key: string, bytes: number): Buffer => {
    marks.set(key, marks.size + 1);
    return bytesOf(`blob\nmark :${marks.size}\ndata ${bytes}\n`);
  };
  for (const entry of request.plan.entries.values())
    if (entry.kind === 'symlink' && !marks.has(`->${entry.target}`)) {
      yield begin(`->${entry.target}`, entry.target.length);
      yield bytesOf(`${entry.target}\n`);
    }
  for await (const member of readMembers(request.file, request.filename, request.maxBytes)) {
    const place = placeOf(member.name);
    const entry = member.type === 'file' && place ? request.plan.entries.get(place.path) : undefined;
    if (entry?.kind !== 'file' || marks.has(entry.digest)) {
      member.content.resume();
      continue;
    }
    yield begin(entry.digest, member.bytes);
    for await (const chunk of member.content as AsyncIterable<Buffer>) yield chunk;
    yield bytesOf('\n');
  }
}

/** C-style quoting of a path's bytes, as fast-import reads it. */
const quote = (path: string): string =>
  `"${path.replace(/[^ !#-[\]-~]/g, (byte) => `\\${byte.charCodeAt(0).toString(8).padStart(3, '0')}`)}"`;

import { once } from 'node:events';
import { execa } from 'execa';
import { infraFailure } from '../domain/failures.ts';
import { COMMITTER } from './mirror.ts';
import type { SourceMirror } from './mirror.ts';
import { gitArguments, gitEnvironment, gitOk } from './gitRun.ts';
import { readMembers } from './sdistArchive.ts';
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
  const { mirror, plan } = request;
  const child = execa(
    'git',
    gitArguments(['fast-import', '--quiet', '--force', '--done', '--date-format=raw'], mirror.gitDir),
    {
      env: gitEnvironment(),
      extendEnv: false,
      reject: false,
    },
  );
  const { stdin } = child;
  stdin.on('error', () => undefined); // the exit code below tells why
  const write = async (data: string | Uint8Array): Promise<void> => {
    if (stdin.destroyed) return;
    if (!stdin.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data))
      await Promise.race([once(stdin, 'drain'), once(stdin, 'close')]).catch(() => undefined);
  };
  const marks = await writeBlobs(request, write);
  const committer = `${COMMITTER.name} <${COMMITTER.email}> ${request.epochSeconds} +0000`;
  const message = Buffer.from(request.message, 'utf8');
  await write(`commit ${request.ref}\ncommitter ${committer}\ndata ${message.length}\n`);
  await write(message);
  await write('\n');
  for (const [path, entry] of plan.entries) {
    const mode = entry.kind === 'symlink' ? '120000' : entry.executable ? '100755' : '100644';
    await write(
      `M ${mode} :${marks.get(entry.kind === 'symlink' ? `->${entry.target}` : entry.digest)} ${quote(path)}\n`,
    );
  }
  await write('done\n');
  stdin.end();
  const result = await child;
  if (result.exitCode !== 0) throw infraFailure(`git fast-import failed in ${mirror.id}: ${result.stderr}`);
  return (await gitOk(['rev-parse', '--verify', `${request.ref}^{commit}`], { gitDir: mirror.gitDir }))
    .toString('latin1')
    .trim();
}

/** One blob per distinct content. Returns mark numbers by content digest (files) or target (links). */
async function writeBlobs(
  request: ImportRequest,
  write: (data: string | Uint8Array) => Promise<void>,
): Promise<ReadonlyMap<string, number>> {
  const marks = new Map<string, number>();
  const blob = async (key: string, bytes: number): Promise<void> => {
    marks.set(key, marks.size + 1);
    await write(`blob\nmark :${marks.size}\ndata ${bytes}\n`);
  };
  for (const entry of request.plan.entries.values())
    if (entry.kind === 'symlink' && !marks.has(`->${entry.target}`)) {
      await blob(`->${entry.target}`, entry.target.length);
      await write(`${entry.target}\n`);
    }
  for await (const member of readMembers(request.file, request.filename, request.maxBytes)) {
    const place = placeOf(member.name);
    const entry = member.type === 'file' && place ? request.plan.entries.get(place.path) : undefined;
    if (entry?.kind !== 'file' || marks.has(entry.digest)) {
      member.content.resume();
      continue;
    }
    await blob(entry.digest, member.bytes);
    for await (const chunk of member.content as AsyncIterable<Buffer>) await write(chunk);
    await write('\n');
  }
  return marks;
}

/** C-style quoting of a path's bytes, as fast-import reads it. */
const quote = (path: string): string =>
  `"${path.replace(/[^ !#-[\]-~]/g, (byte) => `\\${byte.charCodeAt(0).toString(8).padStart(3, '0')}`)}"`;

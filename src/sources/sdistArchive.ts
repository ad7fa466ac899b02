import { createReadStream } from 'node:fs';
import { Transform, pipeline } from 'node:stream';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import type { Header } from 'tar-stream';
import unbzip2 from 'unbzip2-stream';
import { infraFailure } from '../domain/failures.ts';
import { readZip } from './sdistZip.ts';

/** One member of an archive, before it is judged. Names are latin1 strings of the raw bytes, so none is lost. */
export interface RawMember {
  readonly name: string;
  readonly type: 'file' | 'directory' | 'symlink' | 'hardlink' | 'other';
  readonly linkName: string | null;
  readonly executable: boolean;
  readonly bytes: number;
  readonly mtimeMs: number | null;
  /** Must be drained before the next member comes. */
  readonly content: Readable;
}

/** An archive that cannot be used: corrupt or hostile. The message is one sentence for a person. */
export class BadArchiveError extends Error {
  override readonly name = 'BadArchiveError';
}

/** Yields the members of a .tar.gz, .tgz, .tar.bz2 or .zip file in order. Corruption is a BadArchiveError. */
export async function* readMembers(
  file: string,
  filename: string,
  maxBytes: number,
): AsyncGenerator<RawMember> {
  if (filename.endsWith('.zip')) {
    yield* readZip(file);
    return;
  }
  const unpack = filename.endsWith('.bz2')
    ? (unbzip2() as unknown as NodeJS.ReadWriteStream)
    : createGunzip();
  // The option exists and is documented; the types lack it.
  const tar = extract({ filenameEncoding: 'latin1' } as Parameters<typeof extract>[0]);
  // One failure anywhere ends the whole chain; the loop below then throws it.
  pipeline(createReadStream(file), unpack, limit(maxBytes), tar, () => undefined);
  try {
    for await (const entry of tar) {
      const header = entry.header;
      yield {
        name: asLatin1(header.name, header, 'path'),
        type: TYPES[header.type ?? 'file'] ?? 'other',
        linkName: header.linkname ? asLatin1(header.linkname, header, 'linkpath') : null,
        executable: ((header.mode ?? 0) & 0o100) !== 0,
        bytes: header.size ?? 0,
        mtimeMs: header.mtime instanceof Date ? header.mtime.getTime() : null,
        content: entry as unknown as Readable,
      };
    }
  } catch (error) {
    throw corrupt(error);
  }
}

/** What a reader of archives throws when the bytes make no sense; Infra when our own disk did not give them. */
export function corrupt(error: unknown): Error {
  if (error instanceof BadArchiveError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof Error && 'syscall' in error)
    return infraFailure(`An archive could not be read: ${message}.`, { cause: error });
  return new BadArchiveError(`The archive is corrupt: ${message}.`);
}

const TYPES: Readonly<Record<string, RawMember['type']>> = {
  file: 'file',
  'contiguous-file': 'file',
  directory: 'directory',
  symlink: 'symlink',
  link: 'hardlink',
};

/** Names from pax records arrive decoded from UTF-8, those of plain headers byte by byte. */
function asLatin1(name: string, header: Header, key: string): string {
  return (header.pax as Record<string, unknown> | null | undefined)?.[key] === undefined
    ? name
    : Buffer.from(name, 'utf8').toString('latin1');
}

/** Stops a decompression bomb while it unfolds, whatever the headers claim. */
function limit(maxBytes: number): Transform {
  let seen = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      seen += chunk.length;
      if (seen > maxBytes) done(new BadArchiveError(`The archive unpacks to more than ${maxBytes} bytes.`));
      else done(null, chunk);
    },
  });
}

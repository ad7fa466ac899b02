import { Readable } from 'node:stream';
import yauzl from 'yauzl';
import { BadArchiveError, corrupt } from './sdistArchive.ts';
import type { RawMember } from './sdistArchive.ts';

const UNIX = 3; // "version made by": the external attributes hold a Unix mode

/** Yields the members of a zip file. yauzl checks sizes while inflating, so a lying header ends in an error. */
export async function* readZip(file: string): AsyncGenerator<RawMember> {
  const zip = await yauzl
    .openPromise(file, {
      lazyEntries: true,
      decodeStrings: false,
      validateEntrySizes: true,
      autoClose: false,
    })
    .catch((error: unknown) => {
      throw corrupt(error);
    });
  try {
    for await (const entry of zip.eachEntry()) {
      const mode = entry.versionMadeBy >> 8 === UNIX ? entry.externalFileAttributes >>> 16 : 0;
      const name = entry.fileNameRaw.toString('latin1');
      const isDirectory = name.endsWith('/');
      if (entry.isEncrypted()) throw new BadArchiveError(`The archive holds the encrypted file ${name}.`);
      const content = isDirectory ? Readable.from([]) : await zip.openReadStreamPromise(entry);
      const symlink = (mode & 0o170000) === 0o120000;
      const special = mode !== 0 && ![0, 0o100000, 0o040000, 0o120000].includes(mode & 0o170000);
      yield {
        name,
        type: special ? 'other' : symlink ? 'symlink' : isDirectory ? 'directory' : 'file',
        linkName: symlink ? (await readAll(content, MAX_LINK_BYTES)).toString('latin1') : null,
        executable: (mode & 0o100) !== 0,
        bytes: entry.uncompressedSize,
        mtimeMs: entry.getLastModDate({ timezone: 'UTC' }).getTime(),
        content,
      };
    }
  } catch (error) {
    throw corrupt(error);
  } finally {
    zip.close();
  }
}

const MAX_LINK_BYTES = 4_096;

async function readAll(stream: Readable, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes)
      throw new BadArchiveError(`A link target in the archive is longer than ${maxBytes} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

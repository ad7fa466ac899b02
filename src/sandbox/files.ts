import type { Readable } from 'node:stream';
import { extract } from 'tar-stream';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';

/**
 * Reads the one regular file of a tar stream as the daemon sends it. Links, pipes, devices and directories are not
 * followed and count as absent: what a test run left behind is not to be trusted. The size is known before the content.
 */
export async function readSingleFile(tar: Readable, path: string, maxBytes: number): Promise<Buffer | null> {
  const unpack = extract();
  tar.on('error', (error) => unpack.destroy(error));
  tar.pipe(unpack);
  try {
    for await (const entry of unpack) {
      if (entry.header.type !== 'file') return null;
      const size = entry.header.size ?? 0;
      if (size > maxBytes) {
        throw permanentFailure(
          FAILURE_TYPES.badInput,
          `${path} in the sandbox has ${size} bytes, more than the ${maxBytes} allowed.`,
        );
      }
      const chunks: Buffer[] = [];
      for await (const chunk of entry) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks);
    }
    return null;
  } finally {
    tar.destroy();
    unpack.destroy();
  }
}

import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { FAILURE_TYPES, infraFailure } from '../domain/failures.ts';
import { sha256OfFile } from '../store/digest.ts';
import { httpGet, networkFailure } from './http.ts';
import type { Fetch } from './http.ts';
import { BadArchiveError } from './sdistArchive.ts';
import type { IndexedSdist } from './simpleIndex.ts';

export interface DownloadRequest {
  readonly fetch: Fetch;
  readonly sdist: IndexedSdist;
  /** Files lie under `<cacheDir>/sdists/<sha256>` and may be deleted at any time. */
  readonly cacheDir: string;
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

export interface DownloadedSdist {
  readonly file: string;
  readonly sha256: string;
}

/**
 * Fetches an sdist, or finds it in the cache, and checks its sha256. A truncated download is Infra (retried); a whole
 * file with another hash, an oversized one or one that the index lists but does not have is a BadArchiveError.
 */
export async function downloadSdist(request: DownloadRequest): Promise<DownloadedSdist> {
  const { sdist } = request;
  const dir = join(request.cacheDir, 'sdists');
  if (sdist.sha256 !== null) {
    const file = join(dir, sdist.sha256);
    // a cached file is believed only when its content still has the hash that it is named after
    if ((await sha256OfFile(file)) === sdist.sha256) return { file, sha256: sdist.sha256 };
  }
  if (sdist.bytes !== null && sdist.bytes > request.maxBytes) throw tooLarge(request);
  await mkdir(dir, { recursive: true });
  const temporary = join(dir, `${process.pid}-${randomBytes(8).toString('hex')}.part`);
  try {
    const sha256 = await downloadTo(request, temporary);
    const file = join(dir, sha256);
    await rename(temporary, file);
    return { file, sha256 };
  } finally {
    await rm(temporary, { force: true });
  }
}

async function downloadTo(request: DownloadRequest, file: string): Promise<string> {
  const { sdist, signal } = request;
  const response = await httpGet({ fetch: request.fetch, url: sdist.url, signal, what: sdist.filename });
  if (!response?.body) throw new BadArchiveError(`The index lists ${sdist.filename} but does not have it.`);
  const declared = response.headers.has('content-encoding')
    ? null
    : Number(response.headers.get('content-length') ?? NaN);
  const hash = createHash('sha256');
  const handle = await open(file, 'wx');
  let bytes = 0;
  try {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      bytes += chunk.length;
      if (bytes > request.maxBytes) throw tooLarge(request);
      hash.update(chunk);
      await handle.writeFile(chunk).catch((error: unknown) => {
        throw storageFailure(error);
      });
    }
  } catch (error) {
    throw error instanceof BadArchiveError || isFailure(error)
      ? error
      : networkFailure({ what: sdist.filename, signal }, error);
  } finally {
    await handle.close();
  }
  const expected = sdist.bytes ?? (declared === null || Number.isNaN(declared) ? null : declared);
  if (expected !== null && bytes < expected)
    throw infraFailure(`The download of ${sdist.filename} broke off after ${bytes} of ${expected} bytes.`);
  const sha256 = hash.digest('hex');
  if (sdist.sha256 !== null && sha256 !== sdist.sha256)
    throw new BadArchiveError(`${sdist.filename} has sha256 ${sha256}, the index promises ${sdist.sha256}.`);
  return sha256;
}

const isFailure = (error: unknown): boolean => error instanceof Error && error.name === 'ApplicationFailure';

function storageFailure(error: unknown): Error {
  return (error as NodeJS.ErrnoException).code === 'ENOSPC'
    ? infraFailure('No space left in the cache directory for downloads.', {
        type: FAILURE_TYPES.noDisk,
        cause: error,
      })
    : infraFailure(`The download could not be written: ${String(error)}`, { cause: error });
}

const tooLarge = (request: DownloadRequest): BadArchiveError =>
  new BadArchiveError(`${request.sdist.filename} is larger than ${request.maxBytes} bytes.`);

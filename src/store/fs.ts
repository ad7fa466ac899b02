import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { link, mkdir, open, opendir, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { canonicalJson } from '../domain/canonical.ts';
import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import type { ArtefactRef } from '../domain/types.ts';
import type { ArtefactStore, RecordStore } from './types.ts';

const errorCode = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | null)?.code;

/** Full disk and I/O errors are infrastructure: the caller is retried when there is room again. */
function storageFailure(action: string, error: unknown): Error {
  const code = errorCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return infraFailure(`No space left to ${action}: free disk, the work goes on by itself.`, {
      type: FAILURE_TYPES.noDisk,
      cause: error,
    });
  return infraFailure(`Cannot ${action}: ${error instanceof Error ? error.message : String(error)}`, {
    cause: error,
  });
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const temporaryName = (dir: string): string =>
  join(dir, `${process.pid}-${randomBytes(8).toString('hex')}.tmp`);

/** Content-addressed files under `<dir>/sha256/ab/cdef…`; a put is tmp + fsync + rename, a get checks the hash. */
export function createFsArtefactStore(dir: string): ArtefactStore {
  const temporary = join(dir, 'tmp');
  const pathOf = (hex: string): string => join(dir, 'sha256', hex.slice(0, 2), hex.slice(2));
  const hexOf = (ref: ArtefactRef): string => {
    const hex = /^sha256:([0-9a-f]{64})$/.exec(ref)?.[1];
    if (hex === undefined) throw permanentFailure(FAILURE_TYPES.badInput, `"${ref}" is not an artefact ref.`);
    return hex;
  };

  async function adopt(file: string, hex: string): Promise<ArtefactRef> {
    const target = pathOf(hex);
    await mkdir(dirname(target), { recursive: true });
    await rename(file, target);
    await syncDirectory(dirname(target));
    return `sha256:${hex}`;
  }

  async function write(fill: (file: string) => Promise<string>): Promise<ArtefactRef> {
    await mkdir(temporary, { recursive: true });
    const file = temporaryName(temporary);
    try {
      return await adopt(file, await fill(file));
    } catch (error) {
      await rm(file, { force: true });
      throw storageFailure('write an artefact', error);
    }
  }

  const store: ArtefactStore = {
    async put(content) {
      const bytes = typeof content === 'string' ? Buffer.from(content, 'utf8') : content;
      const hex = createHash('sha256').update(bytes).digest('hex');
      if (await isIntact(pathOf(hex), bytes.length)) return `sha256:${hex}`;
      return write(async (file) => {
        const handle = await open(file, 'wx');
        try {
          await handle.writeFile(bytes);
          await handle.sync();
        } finally {
          await handle.close();
        }
        return hex;
      });
    },
    putStream: (content: Readable) =>
      write(async (file) => {
        const hash = createHash('sha256');
        const tee = new Transform({
          transform(chunk: Buffer, _encoding, done) {
            hash.update(chunk);
            done(null, chunk);
          },
        });
        await pipeline(content, tee, createWriteStream(file, { flags: 'wx', flush: true }));
        return hash.digest('hex');
      }),
    async get(ref) {
      const hex = hexOf(ref);
      const bytes = await readFile(pathOf(hex)).catch((error: unknown) => {
        if (errorCode(error) === 'ENOENT')
          throw permanentFailure(FAILURE_TYPES.notFound, `The artefact ${ref} is not in the store ${dir}.`);
        throw storageFailure(`read ${ref}`, error);
      });
      if (createHash('sha256').update(bytes).digest('hex') !== hex)
        throw infraFailure(`The artefact ${ref} in ${dir} is damaged: its content has another checksum.`);
      return bytes;
    },
    getText: async (ref) => (await store.get(ref)).toString('utf8'),
    getJson: async <T>(ref: ArtefactRef) => JSON.parse(await store.getText(ref)) as T,
    putJson: (value) => store.put(canonicalJson(value)),
    has: async (ref) =>
      stat(pathOf(hexOf(ref))).then(
        () => true,
        () => false,
      ),
    async *list() {
      for (const prefix of await readdir(join(dir, 'sha256')).catch(() => []))
        for await (const entry of await opendir(join(dir, 'sha256', prefix)))
          yield {
            ref: `sha256:${prefix}${entry.name}` as const,
            bytes: (await stat(join(dir, 'sha256', prefix, entry.name))).size,
          };
    },
  };
  return store;
}

/** A file of the right size counts as there; a torn one (crash before the fsync of an older version) is written again. */
async function isIntact(file: string, bytes: number): Promise<boolean> {
  return stat(file).then(
    (found) => found.size === bytes,
    () => false,
  );
}

/** One JSON file per record under `<dir>/<name>.json`; names may hold slashes. */
export function createFsRecordStore(dir: string): RecordStore {
  const pathOf = (name: string): string => {
    if (name.split('/').some((part) => part === '' || part === '.' || part === '..' || part.includes('\0')))
      throw permanentFailure(FAILURE_TYPES.badInput, `"${name}" is not a record name.`);
    return join(dir, `${name}.json`);
  };

  async function writeTemporary(target: string, value: unknown): Promise<string> {
    await mkdir(dirname(target), { recursive: true });
    const file = temporaryName(dirname(target));
    const handle = await open(file, 'wx');
    try {
      await handle.writeFile(`${canonicalJson(value)}\n`);
      await handle.sync();
    } catch (error) {
      await rm(file, { force: true }); // a full disk leaves nothing behind
      throw error;
    } finally {
      await handle.close();
    }
    return file;
  }

  const records: RecordStore = {
    async record<T>(name: string, value: T) {
      const target = pathOf(name);
      const there = await records.read<T>(name);
      if (there !== null) return { value: there, created: false };
      let file: string | undefined;
      try {
        file = await writeTemporary(target, value);
        await link(file, target); // never replaces: the first writer wins
        await syncDirectory(dirname(target));
        return { value, created: true };
      } catch (error) {
        const first = errorCode(error) === 'EEXIST' ? await records.read<T>(name) : null;
        if (first !== null) return { value: first, created: false };
        throw storageFailure(`write the record ${name}`, error);
      } finally {
        if (file !== undefined) await rm(file, { force: true });
      }
    },
    async replace(name, value) {
      const target = pathOf(name);
      try {
        await rename(await writeTemporary(target, value), target);
        await syncDirectory(dirname(target));
      } catch (error) {
        throw storageFailure(`write the record ${name}`, error);
      }
    },
    async read<T>(name: string) {
      const file = pathOf(name);
      try {
        return JSON.parse(await readFile(file, 'utf8')) as T;
      } catch (error) {
        if (errorCode(error) === 'ENOENT') return null;
        throw storageFailure(`read the record ${name}`, error);
      }
    },
    async list(prefix) {
      const found: string[] = [];
      const walk = async (path: string, name: string): Promise<void> => {
        for (const entry of await readdir(path, { withFileTypes: true }).catch(() => [])) {
          const child = name === '' ? entry.name : `${name}/${entry.name}`;
          if (entry.isDirectory()) await walk(join(path, entry.name), child);
          else if (entry.name.endsWith('.json')) found.push(child.slice(0, -'.json'.length));
        }
      };
      const start = prefix.replace(/\/+$/, '');
      await walk(start === '' ? dir : join(dir, start), start);
      return found.sort();
    },
    async remove(prefix) {
      await rm(join(dir, prefix), { recursive: true, force: true });
      await rm(pathOf(prefix.replace(/\/+$/, '')), { force: true });
    },
  };
  return records;
}

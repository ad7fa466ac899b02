import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { link, mkdir, opendir, readFile, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGzip, gunzip, gzip } from 'node:zlib';
import { canonicalJson } from '../domain/canonical.ts';
import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import type { ArtefactRef } from '../domain/types.ts';
import { ifAbsent } from './absent.ts';
import { sha256OfBytes } from './digest.ts';
import { errorCode, storageFailure, syncDirectory, temporaryName, writeDurably } from './durable.ts';
import { createSweepGate } from './sweepGate.ts';
import type { ArtefactStore, RecordStore } from './types.ts';

const hexOf = (ref: ArtefactRef): string => {
  const hex = /^sha256:([0-9a-f]{64})$/.exec(ref)?.[1];
  if (hex === undefined) throw permanentFailure(FAILURE_TYPES.badInput, `"${ref}" is not an artefact ref.`);
  return hex;
};

const pack = promisify(gzip); // its header holds no time: equal content gives equal bytes
const unpack = promisify(gunzip);

/**
 * Content-addressed files under `<dir>/sha256/ab/cdef….gz`, named by the hash of their content; a put is tmp + fsync + rename,
 * a get checks the hash. The age of a file is that of its last put: putting what is there makes it young, so that no sweep
 * takes it from under the putter. Files that an earlier version left uncompressed bear no `.gz`; they are read as they are.
 */
export function createFsArtefactStore(dir: string): ArtefactStore {
  const temporary = join(dir, 'tmp');
  const gate = createSweepGate(dir);
  const plainPathOf = (hex: string): string => join(dir, 'sha256', hex.slice(0, 2), hex.slice(2));
  const pathOf = (hex: string): string => `${plainPathOf(hex)}.gz`;

  /** True when a file of so many bytes is there, and young now. False when it has to be written. */
  async function renew(hex: string, bytes: number): Promise<boolean> {
    const path = pathOf(hex);
    if ((await sizeOf(path)) !== bytes) return false;
    try {
      const now = new Date();
      await utimes(path, now, now);
    } catch {
      return false; // swept this moment, or another user's file: a new one takes its place
    }
    await gate.pass();
    return (await sizeOf(path)) === bytes;
  }

  async function adopt(file: string, hex: string): Promise<ArtefactRef> {
    const target = pathOf(hex);
    const bytes = await sizeOf(file);
    if (bytes !== null && (await renew(hex, bytes))) await rm(file);
    else {
      await mkdir(dirname(target), { recursive: true });
      await rename(file, target);
      await syncDirectory(dirname(target));
      await rm(plainPathOf(hex), { force: true });
    }
    return `sha256:${hex}`;
  }

  async function write(fill: (file: string) => Promise<string>): Promise<ArtefactRef> {
    const file = temporaryName(temporary);
    try {
      await mkdir(temporary, { recursive: true });
      return await adopt(file, await fill(file));
    } catch (error) {
      await rm(file, { force: true });
      throw storageFailure('write an artefact', error);
    }
  }

  /**
   * A damaged file is moved out of the way, so that whoever makes the same content again heals it: a put looks at sizes
   * only, and would take the damaged file for the real one for ever.
   */
  async function setAside(path: string, hex: string): Promise<string> {
    const aside = join(dir, 'damaged', `${hex}${extname(path)}`);
    await mkdir(dirname(aside), { recursive: true });
    await rename(path, aside).catch((error: unknown) => {
      if (errorCode(error) !== 'ENOENT') throw error; // another reader was first
    });
    return aside;
  }

  /** What a file holds, unpacked; null when it is not there. Throws Infra when it is damaged. */
  async function contentOf(path: string, hex: string): Promise<Buffer | null> {
    try {
      const stored = await readFile(path);
      const content = path.endsWith('.gz') ? await unpack(stored) : stored;
      if (sha256OfBytes(content) === hex) return content;
    } catch (error) {
      const code = errorCode(error);
      if (code === 'ENOENT') return null;
      if (code !== 'Z_DATA_ERROR' && code !== 'Z_BUF_ERROR')
        throw storageFailure(`read sha256:${hex}`, error);
    }
    throw infraFailure(
      `The artefact sha256:${hex} was damaged: its content has another checksum. It was set aside as ${await setAside(path, hex)}; whatever makes it again heals it.`,
    );
  }

  const store: ArtefactStore = {
    async put(content) {
      const bytes = typeof content === 'string' ? Buffer.from(content, 'utf8') : content;
      const hex = sha256OfBytes(bytes);
      const packed = await pack(bytes);
      if (await renew(hex, packed.length)) return `sha256:${hex}`;
      return write(async (file) => {
        await writeDurably(file, packed);
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
        await pipeline(content, tee, createGzip(), createWriteStream(file, { flags: 'wx', flush: true }));
        return hash.digest('hex');
      }),
    async get(ref) {
      const hex = hexOf(ref);
      // the plain one may give way to a compressed one between the first two looks
      for (const path of [pathOf(hex), plainPathOf(hex), pathOf(hex)]) {
        const content = await contentOf(path, hex);
        if (content !== null) return content;
      }
      throw permanentFailure(FAILURE_TYPES.notFound, `The artefact ${ref} is not in the store ${dir}.`);
    },
    getText: async (ref) => (await store.get(ref)).toString('utf8'),
    getJson: async <T>(ref: ArtefactRef) => JSON.parse(await store.getText(ref)) as T,
    putJson: (value) => store.put(canonicalJson(value)),
    has: async (ref) => {
      for (const path of [pathOf(hexOf(ref)), plainPathOf(hexOf(ref))])
        if ((await stat(path).catch(ifAbsent(null))) !== null) return true;
      return false;
    },
    async *list() {
      for (const prefix of await readdir(join(dir, 'sha256')).catch(ifAbsent([])))
        for await (const entry of await opendir(join(dir, 'sha256', prefix))) {
          const found = await stat(join(dir, 'sha256', prefix, entry.name)).catch(ifAbsent(null));
          if (found === null) continue; // swept meanwhile
          const ref = `sha256:${prefix}${basename(entry.name, '.gz')}` as const;
          yield { ref, bytes: found.size, renewedAtMs: found.mtimeMs };
        }
    },
    async remove(ref, beforeMs) {
      let removed = false;
      for (const path of [pathOf(hexOf(ref)), plainPathOf(hexOf(ref))]) {
        const found = await stat(path).catch(ifAbsent(null));
        if (found === null || found.mtimeMs >= beforeMs) continue;
        await rm(path, { force: true });
        removed = true;
      }
      return removed;
    },
  };
  return store;
}

const sizeOf = async (file: string): Promise<number | null> =>
  stat(file).then(
    ({ size }) => size,
    () => null,
  );

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
    await writeDurably(file, `${canonicalJson(value)}\n`);
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
      let file: string | undefined;
      try {
        file = await writeTemporary(target, value);
        await rename(file, target);
        await syncDirectory(dirname(target));
      } catch (error) {
        if (file !== undefined) await rm(file, { force: true });
        throw storageFailure(`write the record ${name}`, error);
      }
    },
    async read<T>(name: string) {
      const file = pathOf(name);
      try {
        return JSON.parse(await readFile(file, 'utf8')) as T;
      } catch (error) {
        if (errorCode(error) === 'ENOENT') return null;
        if (error instanceof SyntaxError) throw damagedRecord(file, error);
        throw storageFailure(`read the record ${name}`, error);
      }
    },
    async writtenAtMs(name) {
      return stat(pathOf(name))
        .then(({ mtimeMs }) => mtimeMs)
        .catch(ifAbsent(null));
    },
    async list(prefix) {
      const found: string[] = [];
      const walk = async (path: string, name: string): Promise<void> => {
        for (const entry of await readdir(path, { withFileTypes: true }).catch(ifAbsent([]))) {
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

/** Cannot come from a crash (a record is on the disk before it has its name): the file was written by others, or the disk failed. */
const damagedRecord = (file: string, cause: SyntaxError): Error =>
  infraFailure(
    `The record ${file} is damaged (it is not JSON): remove that file, and what it says is found out anew; the work goes on by itself.`,
    { cause },
  );

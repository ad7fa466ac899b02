import { open, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import type { PublishedVersion } from '../domain/rl/messages.ts';
import { sha256OfBytes, sha256OfFile } from '../store/digest.ts';
import type { Delivery } from './types.ts';

const Manifest = z.object({ sha256: z.string(), files: z.record(z.string(), z.string()) });
const MAX_HEADER_BYTES = 100 * 2 ** 20;

/**
 * Proves that a version's directory holds what the trainer published: its manifest has the version's hash, and every
 * file the manifest's. For all parameters also that the output head is written out: a server with tied embeddings takes
 * it over from nowhere else, and says 200. Throws Infra for what is not there, WrongPolicy for what is another thing.
 */
export async function proveDirectory(version: PublishedVersion, delivery: Delivery): Promise<void> {
  if (version.path === null) {
    if (delivery === 'adapter') return; // the server's own model
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `Version ${version.version} of ${version.model} has no directory to load all parameters from.`,
    );
  }
  const manifest = await readManifest(version.path);
  const digest = sha256OfBytes(Buffer.from(pythonJson(manifest.files)));
  if (digest !== manifest.sha256 || (version.sha256 !== null && digest !== version.sha256)) {
    throw other(
      version,
      `its manifest says ${manifest.sha256.slice(0, 12)}, and the trainer ${(version.sha256 ?? digest).slice(0, 12)}`,
    );
  }
  for (const [name, expected] of Object.entries(manifest.files)) {
    if ((await hashOfFile(join(version.path, name))) !== expected)
      throw other(version, `${name} is another file than the trainer wrote`);
  }
  if (delivery === 'full' && !(await hasOutputHead(version.path))) {
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `${version.path} has no lm_head.weight: a server would keep the output head of an older version. Write it out, also where embeddings are tied.`,
    );
  }
}

async function readManifest(directory: string): Promise<z.infer<typeof Manifest>> {
  const text = await readFile(join(directory, 'manifest.json'), 'utf8').catch((error: unknown) => {
    throw infraFailure(
      `There is no manifest in ${directory}: nothing was published there, or it was deleted.`,
      { cause: error },
    );
  });
  const checked = Manifest.safeParse(parsed(text));
  if (checked.success) return checked.data;
  throw infraFailure(`The manifest in ${directory} cannot be read.`);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const other = (version: PublishedVersion, why: string): Error =>
  permanentFailure(
    FAILURE_TYPES.wrongPolicy,
    `${version.path} is not version ${version.version} of ${version.model}: ${why}.`,
  );

/** As the trainer's `json.dumps(files, sort_keys=True)` writes it; names and hashes are ASCII. */
const pythonJson = (files: Readonly<Record<string, string>>): string =>
  `{${Object.entries(files)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, hash]) => `${JSON.stringify(name)}: ${JSON.stringify(hash)}`)
    .join(', ')}}`;

const hashOfFile = (path: string): Promise<string | null> =>
  sha256OfFile(path).catch((error: unknown) => {
    throw infraFailure(`${path} cannot be read.`, { cause: error });
  });

/** Whether any safetensors file of the directory names the tensor `lm_head.weight`. */
async function hasOutputHead(directory: string): Promise<boolean> {
  const files = (await readdir(directory)).filter((name) => name.endsWith('.safetensors'));
  for (const name of files) {
    if ((await tensorNames(join(directory, name))).includes('lm_head.weight')) return true;
  }
  return false;
}

/** Safetensors begin with the length of a JSON header (8 bytes, little-endian) whose keys are the tensors. */
async function tensorNames(path: string): Promise<readonly string[]> {
  const handle = await open(path, 'r');
  try {
    const { buffer: start } = await handle.read(Buffer.alloc(8), 0, 8, 0);
    const length = Number(start.readBigUInt64LE(0));
    if (length === 0 || length > MAX_HEADER_BYTES) return [];
    const { buffer: header, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, 8);
    const tensors: unknown = parsed(header.toString('utf8', 0, bytesRead));
    return tensors === null ? [] : Object.keys(tensors as object);
  } finally {
    await handle.close();
  }
}

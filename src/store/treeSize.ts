import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

export interface TreeSize {
  /** Allocated bytes, each inode once. */
  readonly bytes: number;
  /** When the youngest file or directory was written, in epoch milliseconds; 0 when nothing is there. */
  readonly newestMs: number;
}

/** Size and age of all under a path; what vanishes meanwhile is left out, and so are inodes that `seen` holds already. */
export async function treeSize(path: string, seen: Set<string> = new Set()): Promise<TreeSize> {
  const status = await lstat(path).catch(() => null);
  if (status === null) return { bytes: 0, newestMs: 0 };
  const inode = `${status.dev}:${status.ino}`;
  let bytes = seen.has(inode) ? 0 : status.blocks * 512;
  let newestMs = status.mtimeMs;
  if (seen.has(inode)) return { bytes, newestMs };
  seen.add(inode);
  if (status.isDirectory())
    for (const name of await readdir(path).catch(() => [])) {
      const inner = await treeSize(join(path, name), seen);
      bytes += inner.bytes;
      newestMs = Math.max(newestMs, inner.newestMs);
    }
  return { bytes, newestMs };
}

import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file system of its own that really runs full. */
export interface SmallDisk extends AsyncDisposable {
  readonly dir: string;
  resize(bytes: number): void;
}

/** Why no small file system can be had here, or undefined: mounting one takes root. */
export function noSmallDisk(): string | undefined {
  return process.platform === 'linux' && process.getuid?.() === 0
    ? undefined
    : 'only root on Linux may mount a small file system';
}

/** @param inodes files and directories that fit; unlimited by default */
export async function smallDisk(bytes: number, inodes?: number): Promise<SmallDisk> {
  const dir = await mkdtemp(join(tmpdir(), 'rf-disk-'));
  execFileSync('mount', [
    '-t',
    'tmpfs',
    '-o',
    `size=${bytes}${inodes === undefined ? '' : `,nr_inodes=${inodes}`}`,
    'tmpfs',
    dir,
  ]);
  return {
    dir,
    resize: (size) => void execFileSync('mount', ['-o', `remount,size=${size}`, dir]),
    async [Symbol.asyncDispose]() {
      execFileSync('umount', ['--lazy', dir]);
      await rm(dir, { recursive: true, force: true });
    },
  };
}

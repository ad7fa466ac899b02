import { posix } from 'node:path';
import type Docker from 'dockerode';
import { FAILURE_TYPES, permanentFailure } from '../domain/failures.ts';
import type { SandboxMount } from './types.ts';

/** The store volume as the daemon knows it. */
export interface StoreVolume {
  readonly name: string;
  /** Path of its files on the daemon's host. */
  readonly mountpoint: string;
  /** True from API 1.45 on: the daemon itself mounts one directory of a volume. */
  readonly subpathKnown: boolean;
}

/** `1.45` or later, compared as numbers. */
export function knowsSubpath(apiVersion: string): boolean {
  const [major = 0, minor = 0] = apiVersion.split('.').map(Number);
  return major > 1 || (major === 1 && minor >= 45);
}

/**
 * Translates a mount. All go through `HostConfig.Mounts`, which refuses a missing source; `Binds` would create it
 * silently as an empty directory owned by root.
 */
export function dockerMount(mount: SandboxMount, store: StoreVolume | null): Docker.MountSettings {
  switch (mount.kind) {
    case 'host':
      return { Type: 'bind', Source: mount.source, Target: mount.target, ReadOnly: mount.readOnly };
    case 'storeRoot':
      return { Type: 'volume', Source: storeOf(store).name, Target: mount.target, ReadOnly: false };
    case 'store': {
      const { name, mountpoint, subpathKnown } = storeOf(store);
      const subpath = checkedSubpath(mount.subpath);
      if (!subpathKnown) {
        return {
          Type: 'bind',
          Source: posix.join(mountpoint, subpath),
          Target: mount.target,
          ReadOnly: mount.readOnly,
        };
      }
      return {
        Type: 'volume',
        Source: name,
        Target: mount.target,
        ReadOnly: mount.readOnly,
        VolumeOptions: {
          NoCopy: true,
          Labels: {},
          DriverConfig: { Name: 'local', Options: {} },
          Subpath: subpath,
        },
      };
    }
  }
}

function storeOf(store: StoreVolume | null): StoreVolume {
  if (store === null) throw permanentFailure(FAILURE_TYPES.badInput, 'A store mount needs the store volume.');
  return store;
}

/** The volume's root must never be reachable by a sub-path: one environment sees exactly one directory. */
function checkedSubpath(subpath: string): string {
  const clean = posix.normalize(subpath).replace(/\/+$/, '');
  if (clean === '' || clean === '.' || clean.startsWith('/') || clean.split('/').includes('..')) {
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `"${subpath}" is not a directory inside the store volume.`,
    );
  }
  return clean;
}

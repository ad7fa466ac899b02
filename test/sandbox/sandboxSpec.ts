import { hostname } from 'node:os';
import type { SandboxOwner, SandboxSpec } from '../../src/sandbox/types.ts';

/** A small sandbox of a test's own installation. */
export function sandboxSpec(
  base: { readonly image: string; readonly installation: string },
  over: Partial<Omit<SandboxSpec, 'owner'>> & { readonly owner?: Partial<SandboxOwner> } = {},
): SandboxSpec {
  const { owner, ...rest } = over;
  return {
    image: base.image,
    network: 'none',
    limits: { memoryBytes: 256 * 1024 ** 2, pids: 128, cpus: 1 },
    mounts: [],
    ...rest,
    owner: { installation: base.installation, host: hostname(), ...owner },
  };
}

export const PYTHON_FORK_BOMB = `
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
`;

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What the kernel counted for one container. */
export interface MemoryFacts {
  /** Processes that the kernel killed for memory since the container started. */
  readonly oomKills: number;
  readonly peakBytes: number | null;
}

/** Where a container's memory cgroup is seen on the daemon's own host: v1 and v2, cgroupfs and systemd, docker and podman. */
const hostDirectories = (id: string): readonly string[] => [
  `/sys/fs/cgroup/memory/docker/${id}`,
  `/sys/fs/cgroup/memory/system.slice/docker-${id}.scope`,
  `/sys/fs/cgroup/system.slice/docker-${id}.scope`,
  `/sys/fs/cgroup/docker/${id}`,
  `/sys/fs/cgroup/machine.slice/libpod-${id}.scope`,
];

const V1_FILES = ['memory.oom_control', 'memory.max_usage_in_bytes'] as const;
const V2_FILES = ['memory.events', 'memory.peak'] as const;

/** Prints the same files from inside a container, whatever cgroup version it has. */
export const MEMORY_FACTS_COMMAND: readonly string[] = [
  'cat',
  ...V1_FILES.map((name) => `/sys/fs/cgroup/memory/${name}`),
  ...V2_FILES.map((name) => `/sys/fs/cgroup/${name}`),
];

/** Reads the concatenated cgroup files of either version; null when they are none. */
export function parseMemoryFacts(text: string): MemoryFacts | null {
  const kills = /^oom_kill (\d+)$/m.exec(text)?.[1];
  if (kills === undefined) return null;
  const peak = /^(\d+)$/m.exec(text)?.[1];
  return { oomKills: Number(kills), peakBytes: peak === undefined ? null : Number(peak) };
}

/** Reads the facts on the host without a call to the daemon; null where the host does not show them (remote daemon). */
export async function readHostMemoryFacts(containerId: string): Promise<MemoryFacts | null> {
  for (const directory of hostDirectories(containerId)) {
    const texts = await Promise.all(
      [...V1_FILES, ...V2_FILES].map((name) => readText(join(directory, name))),
    );
    const facts = parseMemoryFacts(texts.join('\n'));
    if (facts !== null) return facts;
  }
  return null;
}

const readText = async (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');

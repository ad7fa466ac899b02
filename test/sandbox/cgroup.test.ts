import { describe, expect, it } from 'vitest';
import { parseMemoryFacts } from '../../src/sandbox/cgroup.ts';

describe('what the kernel counted of a container’s memory', () => {
  it('is read from version 1: kills, the peak, and how often its own limit was reached', () => {
    expect(parseMemoryFacts('oom_kill_disable 0\nunder_oom 0\noom_kill 2\n\n268435456\n\n17\n\n\n')).toEqual({
      oomKills: 2,
      peakBytes: 268435456,
      limitHits: 17,
    });
  });

  it('is read from version 2, where a kill for want of the host’s memory raises `oom_kill` alone', () => {
    const events = (oom: number, kills: number): string =>
      `\n\n\nlow 0\nhigh 0\nmax 31\noom ${oom}\noom_kill ${kills}\noom_group_kill 0\n\n4096\n`;
    expect(parseMemoryFacts(events(1, 1))).toEqual({ oomKills: 1, peakBytes: 4096, limitHits: 1 });
    expect(parseMemoryFacts(events(0, 1))).toEqual({ oomKills: 1, peakBytes: 4096, limitHits: 0 });
  });

  it('is nothing where there is no such file', () => {
    expect(parseMemoryFacts('\n\n')).toBeNull();
  });
});

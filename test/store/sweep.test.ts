import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { isOrphan } from '../../src/sandbox/orphans.ts';
import { holderState, processTag } from '../../src/setup/processes.ts';
import { createLeases } from '../../src/store/leases.ts';
import { createSweepGate } from '../../src/store/sweepGate.ts';
import { scratchDirectory, sweepTemporary } from '../../src/store/temporary.ts';
import { deadProcessTag } from '../support/deadProcess.ts';
import { eventually } from '../support/eventually.ts';

const dead = deadProcessTag();
const elsewhere = '4711.123456.ffffffffffff'; // no such place on this host
const HOUR = 3_600_000;

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-sweep-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe('a process is told by its tag', () => {
  it.each([
    ['this one', processTag(), 'running'],
    ['one that has ended', dead, 'dead'],
    ['a later one with the same pid', processTag().replace(/\.\w+\./, '.1.'), 'dead'],
    ['one of another host', elsewhere, 'elsewhere'],
    ['no tag at all', 'f3a9', 'elsewhere'],
  ])('%s', (_who, tag, state) => {
    expect(holderState(tag)).toBe(state);
  });

  it('a stopped process runs: it may be continued', async () => {
    const code = `import { processTag } from ${JSON.stringify(resolve('src/setup/processes.ts'))}; console.log(processTag()); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code]);
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const tag = line.toString().trim();
    child.kill('SIGSTOP');
    expect(holderState(tag)).toBe('running');
    child.kill('SIGKILL');
    await eventually('it is gone', () => holderState(tag) === 'dead');
  });
});

describe('a container is an orphan', () => {
  const activity = { 'repoforge.workflow': 'instance/demo/x' };
  it.each([
    ['when its worker is dead, however young it is', { ...activity, 'repoforge.process': dead }, 0, true],
    [
      'never while its worker lives, however old it is',
      { ...activity, 'repoforge.process': processTag() },
      99 * HOUR,
      false,
    ],
    ['never while the command that made it lives', { 'repoforge.process': processTag() }, 99 * HOUR, false],
    [
      'of another host once no activity can be that old',
      { ...activity, 'repoforge.process': elsewhere },
      3 * HOUR,
      true,
    ],
    ['of another host not sooner', { ...activity, 'repoforge.process': elsewhere }, HOUR, false],
    ['of an unknown command after a day', {}, 26 * HOUR, true],
    ['of an unknown command not sooner', {}, 3 * HOUR, false],
  ])('%s', (_when, labels, ageMs, orphan) => {
    expect(isOrphan(labels, Date.now() - ageMs)).toBe(orphan);
  });
});

describe('temporary files', () => {
  it('of dead processes go, those of living ones and of strangers stay until they are old', async () => {
    vi.stubEnv('TMPDIR', join(dir, 'tmp'));
    await mkdir(join(dir, 'tmp'));
    await mkdir(join(dir, 'records', 'deep'), { recursive: true });
    await mkdir(join(dir, 'mirrors', 'young.new-x'), { recursive: true });
    await mkdir(join(dir, 'mirrors', 'old.new-y'), { recursive: true });
    const mine = await scratchDirectory('apply');
    const file = (name: string): Promise<void> => writeFile(join(dir, 'records', 'deep', name), 'half');
    const hex = '0123456789abcdef';
    await file(`${dead}-${hex}.tmp`);
    await file(`${processTag()}-${hex}.tmp`);
    await file(`${elsewhere}-${hex}.tmp`);
    await file('dataset.jsonl.4711.tmp');
    await file('record.json');
    const dayAgo = new Date(Date.now() - 26 * HOUR);
    for (const path of [
      'records/deep/dataset.jsonl.4711.tmp',
      'records/deep/record.json',
      'mirrors/old.new-y',
    ])
      await utimes(join(dir, path), dayAgo, dayAgo);
    await mkdir(join(dir, 'tmp', `repoforge-index-${dead}-aBcDeF`));
    await mkdir(join(dir, 'tmp', 'repoforge-report-hdDMeW')); // another program's, as far as we know
    await utimes(join(dir, 'tmp', 'repoforge-report-hdDMeW'), dayAgo, dayAgo);

    const places = { directories: [join(dir, 'records')], mirrors: join(dir, 'mirrors') };
    expect(await sweepTemporary(places)).toMatchObject({ removed: 4 });
    expect((await readdir(join(dir, 'records', 'deep'))).toSorted()).toEqual(
      [`${elsewhere}-${hex}.tmp`, `${processTag()}-${hex}.tmp`, 'record.json'].toSorted(),
    );
    expect(await readdir(join(dir, 'mirrors'))).toEqual(['young.new-x']);
    const inTmp = await readdir(join(dir, 'tmp'));
    expect(inTmp.map((name) => join(dir, 'tmp', name))).toEqual(
      expect.arrayContaining([mine, join(dir, 'tmp', 'repoforge-report-hdDMeW')]),
    );
    expect(inTmp).toHaveLength(2);
  });
});

describe('leases', () => {
  it('tell when the oldest work that still runs began; work that ended or died is none', async () => {
    const leases = createLeases(join(dir, 'leases'), createSweepGate(dir));
    await mkdir(join(dir, 'leases'));
    await writeFile(join(dir, 'leases', `1000~${dead}~aa`), '');
    expect(await leases.oldestMs()).toBeNull();
    expect(await readdir(join(dir, 'leases'))).toEqual([]);
    const began = Date.now();
    await leases.hold(async () => {
      const oldest = await leases.oldestMs();
      expect(oldest).toBeGreaterThanOrEqual(began);
      await writeFile(join(dir, 'leases', `2000~${elsewhere}~bb`), ''); // renewed just now by another host
      expect(await leases.oldestMs()).toBe(2000);
      const old = new Date(Date.now() - HOUR);
      await utimes(join(dir, 'leases', `2000~${elsewhere}~bb`), old, old);
      expect(await leases.oldestMs()).toBe(oldest);
    });
    expect(await leases.oldestMs()).toBeNull();
  });

  it('wait for a sweep that is going on, and not for one that was killed', async () => {
    const gate = createSweepGate(dir);
    const leases = createLeases(join(dir, 'leases'), gate);
    const order: string[] = [];
    let work: Promise<unknown> | undefined;
    await gate.closed(async () => {
      work = leases.hold(async () => Promise.resolve(order.push('work')));
      await eventually('the lease is there', async () => (await leases.oldestMs()) !== null);
      order.push('sweep');
    });
    await work;
    expect(order).toEqual(['sweep', 'work']);
    await writeFile(join(dir, 'sweeping'), ''); // what a killed sweep leaves
    expect(await leases.hold(() => Promise.resolve('at once'))).toBe('at once');
  });
});

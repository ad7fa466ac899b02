import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { assertFreeDisk, createDiskGate } from '../../src/sandbox/disk.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';
import { createLeases } from '../../src/store/leases.ts';
import { createSweepGate } from '../../src/store/sweepGate.ts';
import { noSmallDisk, smallDisk } from '../support/smallDisk.ts';

const MB = 1024 ** 2;
const reason = noSmallDisk();
if (reason !== undefined) process.stderr.write(`Skipped, full disks: ${reason}.\n`);

/** Every file under a directory, relative to it. */
const filesIn = async (dir: string): Promise<readonly string[]> =>
  (await readdir(dir, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1));

const large = randomBytes(3 * MB); // does not become small when it is compressed
const chunks = (): Readable =>
  Readable.from(Array.from({ length: 48 }, (_, at) => large.subarray(at * 64 * 1024, (at + 1) * 64 * 1024)));

describe.skipIf(reason !== undefined)('on a disk that is really full', () => {
  it.each([
    ['put', (store: ReturnType<typeof createFsArtefactStore>) => store.put(large)],
    ['putStream', (store: ReturnType<typeof createFsArtefactStore>) => store.putStream(chunks())],
  ])(
    '%s fails as Infra.NoDisk, leaves no file behind, and succeeds once there is room',
    async (_name, put) => {
      await using disk = await smallDisk(2 * MB);
      const dir = join(disk.dir, 'artefacts');
      const store = createFsArtefactStore(dir);
      const before = await store.put('written before');
      await expect(put(store)).rejects.toMatchObject({ type: 'Infra.NoDisk', nonRetryable: false });
      const listed = [];
      for await (const { ref } of store.list()) listed.push(ref);
      expect(listed).toEqual([before]);
      expect((await filesIn(dir)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
      expect(await store.getText(before)).toBe('written before');
      disk.resize(16 * MB);
      const ref = await put(store);
      expect((await store.get(ref)).length).toBe(3 * MB);
    },
  );

  it('a record is written whole or not at all, and one that is replaced keeps its old value', async () => {
    await using disk = await smallDisk(2 * MB);
    const records = createFsRecordStore(disk.dir);
    await records.record('first', { kept: true });
    await records.replace('index', { version: 1 });
    const big = { text: 'x'.repeat(3 * MB) };
    await expect(records.record('second', big)).rejects.toMatchObject({ type: 'Infra.NoDisk' });
    await expect(records.replace('index', big)).rejects.toMatchObject({ type: 'Infra.NoDisk' });
    expect(await filesIn(disk.dir)).toEqual(expect.arrayContaining(['first.json', 'index.json']));
    expect(await filesIn(disk.dir)).toHaveLength(2);
    expect(await records.read('second')).toBeNull();
    expect(await records.read('index')).toEqual({ version: 1 });
    disk.resize(16 * MB);
    expect((await records.record('second', big)).created).toBe(true);
    await records.replace('index', big);
    expect(await records.read('index')).toEqual(big);
  });

  it('work that cannot leave a note of itself does not begin, rather than run unseen by gc', async () => {
    await using disk = await smallDisk(MB, 3); // the root, the folder, one file: nothing more can be created
    const leases = createLeases(join(disk.dir, 'leases'), createSweepGate(disk.dir));
    await mkdir(join(disk.dir, 'leases'));
    await writeFile(join(disk.dir, 'last'), '');
    let ran = false;
    await expect(leases.hold(async () => Promise.resolve((ran = true)))).rejects.toMatchObject({
      type: 'Infra.NoDisk',
    });
    expect(ran).toBe(false);
  });

  it('the gate refuses while there is less room than the floor, says so once, and says when work goes on', async () => {
    await using disk = await smallDisk(4 * MB);
    const said: string[] = [];
    const gate = createDiskGate({
      floorBytes: 2 * MB,
      places: () => Promise.resolve([disk.dir]),
      say: (line) => said.push(line),
    });
    await gate();
    expect(said).toEqual([]);
    await writeFile(join(disk.dir, 'filler'), large);
    for (let activity = 0; activity < 3; activity += 1)
      await expect(gate()).rejects.toMatchObject({ type: 'Infra.NoDisk', nextRetryDelay: 15_000 });
    expect(said).toEqual([expect.stringMatching(/^Work waits for disk space\. Only 0\.0 GB are free/)]);
    await rm(join(disk.dir, 'filler'));
    await gate();
    await gate();
    expect(said.slice(1)).toEqual(['There is disk space again; work goes on.']);
    await expect(assertFreeDisk(disk.dir, 2 * MB)).resolves.toBeUndefined();
  });
});

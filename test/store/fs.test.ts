import { mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openState } from '../../src/setup/state.ts';
import { createFsArtefactStore, createFsRecordStore } from '../../src/store/fs.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'repoforge-store-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe('the artefact store', () => {
  it('gives equal content one ref, whether it came whole or as a stream', async () => {
    const store = createFsArtefactStore(dir);
    const whole = await store.put('patch\n');
    const streamed = await store.putStream(Readable.from([Buffer.from('pat'), Buffer.from('ch\n')]));
    expect(streamed).toBe(whole);
    expect(await store.getText(whole)).toBe('patch\n');
    const listed = [];
    for await (const entry of store.list()) listed.push(entry);
    expect(listed).toEqual([{ ref: whole, bytes: expect.any(Number), renewedAtMs: expect.any(Number) }]);
    expect(await readdir(join(dir, 'tmp'))).toEqual([]);
  });

  it('gives equal JSON values one ref whatever the order of their keys', async () => {
    const store = createFsArtefactStore(dir);
    expect(await store.putJson({ b: 1, a: [{ d: 2, c: 3 }] })).toBe(
      await store.putJson({ a: [{ c: 3, d: 2 }], b: 1 }),
    );
  });

  it('keeps a log in a fraction of its bytes, and reads what was once kept as it was', async () => {
    const store = createFsArtefactStore(dir);
    const log = 'tests/test_a.py::test_one PASSED\n'.repeat(10_000);
    const ref = await store.put(log);
    const folder = join(dir, 'sha256', ref.slice(7, 9));
    expect((await readFile(join(folder, `${ref.slice(9)}.gz`))).length).toBeLessThan(log.length / 50);
    expect(await store.putStream(Readable.from([Buffer.from(log)]))).toBe(ref);
    await rm(join(folder, `${ref.slice(9)}.gz`));
    await writeFile(join(folder, ref.slice(9)), log); // as versions before this one kept it
    expect([await store.has(ref), await store.getText(ref)]).toEqual([true, log]);
    await store.put(log);
    expect([await readdir(folder), await store.getText(ref)]).toEqual([[`${ref.slice(9)}.gz`], log]);
    expect(await store.remove(ref, Date.now() + 1_000)).toBe(true);
    expect(await store.has(ref)).toBe(false);
  });

  it('refuses to hand out content whose checksum is wrong', async () => {
    const store = createFsArtefactStore(dir);
    const ref = await store.put('truth');
    const hex = ref.slice('sha256:'.length);
    await writeFile(join(dir, 'sha256', hex.slice(0, 2), `${hex.slice(2)}.gz`), 'lies!');
    await expect(store.get(ref)).rejects.toMatchObject({ type: 'Infra', nonRetryable: false });
  });

  it('sets content aside whose checksum is wrong, so that whoever makes it again heals it', async () => {
    const store = createFsArtefactStore(dir);
    const ref = await store.put('truth');
    const hex = ref.slice('sha256:'.length);
    const path = join(dir, 'sha256', hex.slice(0, 2), `${hex.slice(2)}.gz`);
    const lies = (await readFile(path)).fill('x'); // of the right size
    await writeFile(path, lies);
    await expect(store.get(ref)).rejects.toThrow(join(dir, 'damaged', `${hex}.gz`));
    expect(await store.has(ref)).toBe(false);
    await store.put('truth');
    expect(await store.getText(ref)).toBe('truth');
    expect(await readFile(join(dir, 'damaged', `${hex}.gz`))).toEqual(lies);
  });

  it('is young again when it is put again, whole or as a stream, and is not removed then', async () => {
    const store = createFsArtefactStore(dir);
    const before = Date.now() - 1_000;
    const ref = await store.put('old');
    const path = join(dir, 'sha256', ref.slice(7, 9), `${ref.slice(9)}.gz`);
    for (const again of [
      () => store.put('old'),
      () => store.putStream(Readable.from([Buffer.from('old')])),
    ]) {
      await utimes(path, 1, 1);
      expect(await again()).toBe(ref);
      expect(await store.remove(ref, before)).toBe(false);
    }
    await utimes(path, 1, 1);
    expect(await store.remove(ref, before)).toBe(true);
    expect(await store.has(ref)).toBe(false);
  });

  it('mends an artefact that a crash left shorter than it should be', async () => {
    const store = createFsArtefactStore(dir);
    const ref = await store.put('whole content');
    const hex = ref.slice('sha256:'.length);
    await writeFile(join(dir, 'sha256', hex.slice(0, 2), `${hex.slice(2)}.gz`), 'who');
    await store.put('whole content');
    expect(await store.getText(ref)).toBe('whole content');
  });

  it('names an unknown ref in a permanent failure and a broken ref as bad input', async () => {
    const store = createFsArtefactStore(dir);
    await expect(store.get(`sha256:${'0'.repeat(64)}`)).rejects.toMatchObject({
      type: 'NotFound',
      nonRetryable: true,
    });
    await expect(store.get('sha256:../../etc/passwd')).rejects.toMatchObject({ type: 'BadInput' });
  });
});

describe('the record store', () => {
  it('keeps the first of many writers and tells the others its value', async () => {
    const records = createFsRecordStore(dir);
    const answers = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((writer) => records.record('campaigns/x/stage', { writer })),
    );
    const winner = answers.find((answer) => answer.created);
    expect(answers.filter((answer) => answer.created)).toHaveLength(1);
    expect(new Set(answers.map((answer) => answer.value.writer))).toEqual(new Set([winner?.value.writer]));
    expect(await readdir(join(dir, 'campaigns/x'))).toEqual(['stage.json']);
  });

  it('lists names under a prefix in order and forgets them on remove', async () => {
    const records = createFsRecordStore(dir);
    await records.record('a/2', 2);
    await records.record('a/b/1', 1);
    await records.record('c', 3);
    expect(await records.list('a/')).toEqual(['a/2', 'a/b/1']);
    await records.remove('a');
    expect(await records.list('')).toEqual(['c']);
  });

  it('tells of a damaged record in one sentence that names the file and what to do', async () => {
    const records = createFsRecordStore(dir);
    await records.record('a/b', { whole: true });
    await writeFile(join(dir, 'a', 'b.json'), '{"whole":');
    await expect(records.read('a/b')).rejects.toMatchObject({
      type: 'Infra',
      message: `The record ${join(dir, 'a', 'b.json')} is damaged (it is not JSON): remove that file, and what it says is found out anew; the work goes on by itself.`,
    });
    await rm(join(dir, 'a', 'b.json'));
    expect((await records.record('a/b', { whole: true })).created).toBe(true);
  });

  it('refuses names that leave its directory', async () => {
    const records = createFsRecordStore(dir);
    await expect(records.record('../evil', 1)).rejects.toMatchObject({ type: 'BadInput' });
    await expect(records.read('a//b')).rejects.toMatchObject({ type: 'BadInput' });
  });
});

describe('the state directory', () => {
  it('gets one installation id even when several processes open it at once', async () => {
    const states = await Promise.all([openState(dir), openState(dir), openState(dir)]);
    expect(new Set(states.map((state) => state.installation)).size).toBe(1);
    expect((await openState(dir)).installation).toBe(states[0]?.installation);
  });

  it('says what is wrong when the installation file is damaged', async () => {
    await writeFile(join(dir, 'installation.json'), '{"installation": 7}');
    await expect(openState(dir)).rejects.toThrow(/does not hold an installation id/);
    expect(await readFile(join(dir, 'installation.json'), 'utf8')).toContain('7');
  });
});

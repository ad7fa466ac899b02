import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readMembers } from '../../src/sources/sdistArchive.ts';
import { DEFAULT_ARCHIVE_LIMITS, planArchive } from '../../src/sources/sdistPlan.ts';
import type { ArchiveLimits, ArchivePlan } from '../../src/sources/sdistPlan.ts';
import { tarGz, zip } from './sdists.ts';
import type { Member } from './sdists.ts';

let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'repoforge-sdist-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function plan(
  content: Buffer,
  filename = 'a.tar.gz',
  limits: Partial<ArchiveLimits> = {},
): Promise<ArchivePlan> {
  const file = join(dir, `${Math.random()}`);
  await writeFile(file, content);
  return planArchive(file, filename, { ...DEFAULT_ARCHIVE_LIMITS, ...limits });
}

test.each(['a.tar.gz', 'a.tar.bz2', 'a.zip'])(
  '%s that our own disk does not give is no bad archive',
  async (name) => {
    const members = readMembers(join(dir, 'missing'), name, 1e6);
    await expect(members.next()).rejects.toMatchObject({ type: 'Infra', nonRetryable: false });
  },
);

const ok: Member = { name: 'a-1/setup.py', content: 'x' };

const HOSTILE: readonly (readonly [string, readonly Member[], RegExp])[] = [
  ['climbs out by ..', [ok, { name: 'a-1/../../etc/passwd', content: 'x' }], /leaves the archive/],
  [
    'climbs out by .. behind a backslash',
    [ok, { name: 'a-1\\..\\..\\evil', content: 'x' }],
    /leaves the archive/,
  ],
  ['has an absolute path', [ok, { name: '/etc/passwd', content: 'x' }], /absolute path/],
  ['has a Windows path', [ok, { name: 'C:\\evil', content: 'x' }], /absolute path/],
  [
    'links to an absolute path',
    [ok, { name: 'a-1/l', type: 'symlink', linkname: '/etc' }],
    /outside the archive/,
  ],
  [
    'links out of its directory',
    [ok, { name: 'a-1/l', type: 'symlink', linkname: '../x' }],
    /leaves the archive/,
  ],
  [
    'links out through another link',
    [
      ok,
      { name: 'a-1/x/y/l', type: 'symlink', linkname: '../..' },
      { name: 'a-1/x/y/m', type: 'symlink', linkname: 'l/..' },
    ],
    /leaves the archive/,
  ],
  ['links in a circle', [ok, { name: 'a-1/l', type: 'symlink', linkname: 'l' }], /leaves the archive/],
  [
    'hard-links to a file outside',
    [ok, { name: 'a-1/l', type: 'link', linkname: '/etc/passwd' }],
    /absolute path/,
  ],
  [
    'hard-links to a file it does not hold',
    [ok, { name: 'a-1/l', type: 'link', linkname: 'a-1/no' }],
    /hard link/,
  ],
  ['holds a device', [ok, { name: 'a-1/null', type: 'character-device' }], /device/],
  ['holds a pipe', [ok, { name: 'a-1/pipe', type: 'fifo' }], /device, pipe/],
  [
    'writes through a link',
    [ok, { name: 'a-1/l', type: 'symlink', linkname: 'sub' }, { name: 'a-1/l/x', content: 'x' }],
    /not a directory/,
  ],
  [
    'hides a link behind another case',
    [ok, { name: 'a-1/L', type: 'symlink', linkname: 'setup.py' }, { name: 'a-1/l', content: 'x' }],
    /differ only in case/,
  ],
  ['holds a file twice, differently', [ok, { name: 'a-1/setup.py', content: 'y' }], /twice/],
  ['has two top-level directories', [ok, { name: 'b-1/x', content: 'x' }], /more than one top-level/],
  ['has a file at the top', [{ name: 'setup.py', content: 'x' }], /not inside a top-level directory/],
  ['is empty', [], /no files/],
];

describe('an archive is refused that', () => {
  test.each(HOSTILE)('%s', async (_name, members, reason) => {
    await expect(tarGz(members).then((content) => plan(content))).rejects.toMatchObject({
      name: 'BadArchiveError',
      message: expect.stringMatching(reason) as string,
    });
  });

  test('unfolds to more bytes than allowed, whatever its headers say', async () => {
    const bomb = await tarGz([{ name: 'a-1/zeros', content: Buffer.alloc(3_000_000) }]);
    await expect(plan(bomb, 'a.tar.gz', { maxBytes: 1_000_000 })).rejects.toThrow(/more than 1000000 bytes/);
  });

  test('unfolds to many times its size', async () => {
    const bomb = await tarGz([{ name: 'a-1/zeros', content: Buffer.alloc(3_000_000) }]);
    await expect(plan(bomb, 'a.tar.gz', { ratioFloorBytes: 1_000_000 })).rejects.toThrow(
      /200 times its size/,
    );
  });

  test('holds too many files', async () => {
    const many = await tarGz(
      Array.from({ length: 20 }, (_, index) => ({ name: `a-1/${index}`, content: '' })),
    );
    await expect(plan(many, 'a.tar.gz', { maxFiles: 10 })).rejects.toThrow(/more than 10 files/);
  });

  test.each([
    [
      'cut off',
      async () =>
        (
          await tarGz([
            { ...ok, content: Buffer.from(Array.from({ length: 9_000 }, () => Math.random() * 256)) },
          ])
        ).subarray(0, 4_000),
      'a.tar.gz',
    ],
    ['no gzip at all', async () => Buffer.from('<html>not found</html>'), 'a.tar.gz'],
    ['no zip at all', async () => Buffer.from('<html>not found</html>'), 'a.zip'],
    ['no bzip2 at all', async () => Buffer.from('<html>not found</html>'), 'a.tar.bz2'],
  ])('is %s', async (_name, make, filename) => {
    await expect(make().then((content) => plan(content, filename))).rejects.toMatchObject({
      name: 'BadArchiveError',
    });
  });
});

describe('an ordinary archive', () => {
  test('gives its tree: top directory stripped, modes, links inside, hard links as copies, git leftovers skipped', async () => {
    const { entries, newestMtimeMs } = await plan(
      await tarGz([
        { name: 'a-1/', type: 'directory' },
        { name: './a-1/run.sh', mode: 0o755, content: 'run' },
        { name: 'a-1/setup.py', content: 'x' },
        { name: 'a-1/setup.py', content: 'x' },
        { name: 'a-1/sub/link', type: 'symlink', linkname: '../setup.py' },
        { name: 'a-1/copy.py', type: 'link', linkname: 'a-1/setup.py' },
        { name: 'a-1/tests/data/.git', content: 'gitdir: x' },
        { name: '._a-1', content: 'resource fork' },
      ]),
    );
    expect([...entries.keys()].sort()).toEqual(['copy.py', 'run.sh', 'setup.py', 'sub/link']);
    expect(entries.get('run.sh')).toMatchObject({ kind: 'file', executable: true });
    expect(entries.get('sub/link')).toEqual({ kind: 'symlink', target: '../setup.py' });
    expect(entries.get('copy.py')).toEqual(entries.get('setup.py'));
    expect(newestMtimeMs).toBe(Date.parse('2024-01-01T00:00:00Z'));
  });

  test('may be a zip; its links and special files are judged like those of a tar', async () => {
    const regular = 0o100644;
    const good = zip([
      { name: 'a-1/setup.py', content: 'x', mode: regular },
      { name: 'a-1/run.sh', content: 'x', mode: 0o100755 },
      { name: 'a-1/link', content: 'setup.py', mode: 0o120777 },
    ]);
    const { entries } = await plan(good, 'a.zip');
    expect(entries.get('run.sh')).toMatchObject({ executable: true });
    expect(entries.get('link')).toEqual({ kind: 'symlink', target: 'setup.py' });
    for (const [member, reason] of [
      [{ name: 'a-1/../../x', content: 'x', mode: regular }, /leaves the archive/],
      [{ name: 'a-1/l', content: '../../x', mode: 0o120777 }, /leaves the archive/],
      [{ name: 'a-1/null', content: '', mode: 0o020666 }, /device/],
    ] as const)
      await expect(
        plan(zip([{ name: 'a-1/setup.py', content: 'x', mode: regular }, member]), 'a.zip'),
      ).rejects.toThrow(reason);
  });

  test('may be a bzip2 tar', async () => {
    const content = Buffer.from(
      'QlpoOTFBWSZTWcBlSaoAAI77gMmAAADAA/+ABARiAF5gBAggAHISpPSNAaNMg0G0EkSMTUZPSYNEaP3dK+aF6QHckkIz9tKgPOuLkhCGE1DocsdSL4oNWAOLTFHxxAiGu45dcO9cyc2Z2hDREbO96JiOsDtaFF/5PmlorlMJ5jGBUXckU4UJDAZUmqA=',
      'base64',
    );
    expect([...(await plan(content, 'a.tar.bz2')).entries.keys()]).toEqual(['setup.py']);
  });
});

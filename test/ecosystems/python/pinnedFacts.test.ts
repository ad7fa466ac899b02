import { mkdtempSync, rmSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Mirror, MirrorStore } from '../../../src/sources/types.ts';
import { createMirrorStore } from '../../../src/sources/mirror.ts';
import { createFsArtefactStore } from '../../../src/store/fs.ts';
import type { ArtefactRef } from '../../../src/domain/types.ts';
import { writeTree } from '../../support/gitFixture.ts';
import { hostParts } from '../../support/hostParts.ts';

const log = pino({ level: 'silent' });
let directory: string;
let mirrors: MirrorStore;
let store: ReturnType<typeof createFsArtefactStore>;
let plan: { candidate: ArtefactRef; spec: ArtefactRef; withTestPatch: boolean };
let gitDir: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rf-facts-'));
  const created = createMirrorStore(join(directory, 'mirrors'), { log });
  mirrors = created;
  ({ gitDir } = await created.create('m'));
  const base = {
    'pyproject.toml': '[project]\nname = "x"\n',
    'pkg/a.py': 'a = 1\n',
    'tests/test_a.py': 'old\n',
  };
  const baseCommit = await writeTree(gitDir, base, 'refs/heads/base');
  const tests = { ...base, 'tests/test_a.py': 'new\n', 'tox.ini': '[pytest]\n' };
  const testCommit = await writeTree(gitDir, tests, 'refs/heads/tests');
  store = createFsArtefactStore(join(directory, 'artefacts'));
  plan = {
    candidate: await store.putJson({ mirror: 'm', baseCommit, testCommit }),
    spec: await store.putJson({}),
    withTestPatch: true,
  };
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** As another process would see it: nothing in memory. */
const fresh = (of: MirrorStore = mirrors) =>
  hostParts({ store, mirrors: of, stateDir: directory, log }).pinned;

test('what a row pins is read once on a host; afterwards git is not asked', async () => {
  const first = await fresh()(plan);
  expect([...first.configTexts.keys()].toSorted()).toEqual(['pyproject.toml', 'tox.ini']);
  expect(first.tests.files.map(({ path, content }) => [path, content.toString()])).toEqual([
    ['tests/test_a.py', 'new\n'],
    ['tox.ini', '[pytest]\n'],
  ]);
  await rename(join(gitDir, 'objects'), join(gitDir, 'hidden'));
  try {
    const { mirror: _first, ...before } = first;
    const { mirror: _again, ...again } = await fresh()(plan);
    expect(again).toEqual(before);
  } finally {
    await rename(join(gitDir, 'hidden'), join(gitDir, 'objects'));
  }
  const plain = await fresh()({ ...plan, withTestPatch: false });
  expect(plain.tests).toEqual({ files: [], deleted: [] });
  expect(plain.tree).toEqual(plain.baseTree);
});

test('a file that git cannot give although the tree names it is damage, and is not kept', async () => {
  const other = { ...plan, candidate: await damagedCandidate() };
  const blind: MirrorStore = {
    open: async (id) => ({ ...(await mirrors.open(id)), readFiles: async () => new Map() }) as Mirror,
  };
  await expect(fresh(blind)(other)).rejects.toMatchObject({
    type: 'Infra',
    message: expect.stringMatching(/^The mirror .* lacks [0-9a-f]{40}, the content of pyproject\.toml\.$/),
  });
  expect((await fresh()(other)).configTexts.get('pyproject.toml')).toBe('[project]\nname = "y"\n');
});

async function damagedCandidate(): Promise<ArtefactRef> {
  const commit = await writeTree(gitDir, { 'pyproject.toml': '[project]\nname = "y"\n' }, 'refs/heads/other');
  return store.putJson({ mirror: 'm', baseCommit: commit, testCommit: commit });
}

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Candidate } from '../../src/domain/types.ts';
import { createGitSource } from '../../src/sources/git.ts';
import { streamLog } from '../../src/sources/gitLog.ts';
import { createMirrorStore } from '../../src/sources/mirror.ts';
import type { MineLimits, MinePage } from '../../src/sources/types.ts';
import { createFsArtefactStore } from '../../src/store/fs.ts';
import { createRepository } from './repositories.ts';
import type { TestRepository } from './repositories.ts';

const log = pino({ level: 'silent' });
const LIMITS: MineLimits = {
  maxSourceFiles: 40,
  maxPatchBytes: 400_000,
  since: null,
  until: null,
  maxCandidates: null,
};
const context = {
  owner: { installation: 'test', host: 'test' },
  heartbeat: () => undefined,
  signal: new AbortController().signal,
};

let dir = '';
let origin: TestRepository;
/** Commit ids by the name that `change` was given. */
const sha: Record<string, string> = {};

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'repoforge-git-'));
  origin = await createRepository(join(dir, 'project'));
  await origin.write(
    'pyproject.toml',
    '[build-system]\nrequires = ["setuptools-scm"]\n[project]\nlicense = "MIT"\n',
  );
  await origin.write('pkg/a.py', 'a = 0\n');
  await origin.write('tests/test_a.py', 'a = 0\n');
  await origin.commit('Begin');
  await origin.git('tag', 'v1.2.0');
  await change('plain', 'Fix a (#5)\n\nIt was wrong.\n\nFixes #3\n\nSigned-off-by: A <a@b>');
  await origin.write('README.md', 'docs\n');
  await origin.commit('Documents');
  await origin.write('tests/test_a.py', 'only the test\n');
  await origin.commit('Only a test');
  await branch('topic', ['inner1', 'inner2'], 'Merge pull request #9 from x/topic\n\nHandle b');
  await branch('local', ['own1', 'own2'], "Merge branch 'local'");
  await change('last', 'Last one');
});
afterAll(() => rm(dir, { recursive: true, force: true }));

let counter = 0;
async function change(name: string, message: string, file = 'a'): Promise<void> {
  counter++;
  await origin.write(`pkg/${file}.py`, `${file} = ${counter}\n`);
  await origin.write(`tests/test_${file}.py`, `${file} = ${counter}\n`);
  sha[name] = await origin.commit(message);
}

async function branch(name: string, commits: readonly string[], message: string): Promise<void> {
  await origin.git('checkout', '--quiet', '-b', name);
  for (const commit of commits) await change(commit, `Change ${commit}\n\nCloses #${counter + 10}`, commit);
  await origin.git('checkout', '--quiet', 'main');
  await origin.git('merge', '--quiet', '--no-ff', '--message', message, name);
  sha[name] = await origin.git('rev-parse', 'HEAD');
}

function source(limits: Partial<MineLimits> = {}, url = origin.dir) {
  const store = createFsArtefactStore(join(dir, 'artefacts'));
  const mirrors = createMirrorStore(join(dir, 'mirrors'), { log });
  const made = createGitSource({ url, store, mirrors, limits: { ...LIMITS, ...limits }, log });
  return { store, mine: (cursor: string | null = null, size = 50) => made.minePage(cursor, size, context) };
}

const id = (name: string): string => `local__project-${sha[name]?.slice(0, 12)}`;
const ids = (page: MinePage): string[] => page.entries.map((entry) => entry.instanceId);

interface Made {
  readonly candidate: Candidate;
  readonly text: string;
  readonly patch: string;
}

let mined: ReadonlyMap<string, Made> | null = null;
/** Every candidate of the repository by id, mined once. */
async function candidates(): Promise<ReadonlyMap<string, Made>> {
  if (mined) return mined;
  const { store, mine } = source();
  const found = new Map<string, Made>();
  for (const entry of (await mine()).entries) {
    if (!entry.ok) throw new Error(JSON.stringify(entry));
    const candidate = await store.getJson<Candidate>(entry.candidate);
    const text = await store.getText(candidate.problemStatement);
    found.set(entry.instanceId, { candidate, text, patch: await store.getText(candidate.patch) });
  }
  mined = found;
  return found;
}

const ORDER = ['last', 'own2', 'own1', 'topic', 'plain'] as const;

describe('mining a repository', () => {
  test('takes commits and pull request merges whole, opens other merges, and counts nothing twice', async () => {
    expect([...(await candidates()).keys()]).toEqual(ORDER.map(id));
  });

  test('gives a plain commit its message without trailers, its parent as base, and the numbers it names', async () => {
    const made = (await candidates()).get(id('plain'));
    expect(made?.text).toBe('Fix a (#5)\n\nIt was wrong.\n\nFixes #3\n');
    expect(made?.candidate).toMatchObject({
      repo: 'local/project',
      baseCommit: await origin.git('rev-parse', `${sha['plain']}^`),
      version: '1.2.0',
      baseVersion: '1.2.0',
      createdAt: '2024-01-01T00:02:00Z',
      license: 'MIT',
      testFiles: ['tests/test_a.py'],
      provenance: { pull_requests: [5], issues: [3], kind: 'commit' },
    });
  });

  test('gives a pull request merge all its changes, its title and the messages inside it', async () => {
    const made = (await candidates()).get(id('topic'));
    expect(made?.text).toBe('Handle b\n\nChange inner1\n\nCloses #11\n\nChange inner2\n\nCloses #12\n');
    expect(made?.patch).toContain('pkg/inner1.py');
    expect(made?.patch).toContain('pkg/inner2.py');
    expect(made?.candidate).toMatchObject({
      testFiles: ['tests/test_inner1.py', 'tests/test_inner2.py'],
      baseVersion: '1.2.1.dev3',
      provenance: { pull_requests: [9], issues: [11, 12], kind: 'pull request merge' },
    });
  });

  test('goes on from a cursor, also inside a merge, and the same cursor gives the same page', async () => {
    const { mine } = source();
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page: MinePage = await mine(cursor, 1);
      expect(await source().mine(cursor, 1)).toEqual(page);
      expect(page.entries.length).toBeLessThanOrEqual(1);
      seen.push(...ids(page));
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(seen).toEqual(ORDER.map(id));
  });

  test('is not moved by commits that arrive between two pages', async () => {
    const copy = await createRepository(join(dir, 'copy', 'project'));
    await copy.git('fetch', '--quiet', origin.dir, 'main');
    await copy.git('reset', '--quiet', '--hard', 'FETCH_HEAD');
    const { mine } = source({}, copy.dir);
    const first = await mine(null, 2);
    await copy.write('pkg/a.py', 'newer\n');
    await copy.write('tests/test_a.py', 'newer\n');
    await copy.commit('Newer');
    expect(ids(first).concat(ids(await mine(first.nextCursor, 50)))).toEqual(ORDER.map(id));
  });

  test('stops at the number of candidates asked for and keeps to the times', async () => {
    expect(ids(await source({ maxCandidates: 2 }).mine())).toEqual([id('last'), id('own2')]);
    expect(ids(await source({ until: '2024-01-01T00:03:00Z' }).mine())).toEqual([id('plain')]);
    expect(ids(await source({ since: '2024-01-02T00:00:00Z' }).mine())).toEqual([]);
  });

  test('of a repository that does not exist is a permanent NotFound', async () => {
    await expect(source({}, join(dir, 'nothing')).mine()).rejects.toMatchObject({
      type: 'NotFound',
      nonRetryable: true,
    });
  });

  test('of an empty repository is an empty page', async () => {
    const empty = await createRepository(join(dir, 'empty'));
    expect(await source({}, empty.dir).mine()).toEqual({ entries: [], nextCursor: null });
  });

  test('rejects a change under a tree with a submodule by type', async () => {
    const outer = await createRepository(join(dir, 'outer'));
    await outer.write('pkg/a.py', '1\n');
    await outer.git('update-index', '--add', '--cacheinfo', `160000,${sha['plain']},vendor/lib`);
    await outer.git('commit', '--quiet', '--message', 'Begin');
    await outer.git('add', 'pkg/a.py');
    await outer.write('tests/test_a.py', '1\n');
    await outer.git('add', 'pkg', 'tests');
    await outer.git('commit', '--quiet', '--message', 'Change');
    const page = await source({}, outer.dir).mine();
    expect(page.entries).toMatchObject([{ ok: false, rejection: { reason: 'submodule' } }]);
  });
});

test('a log is streamed with paths of any bytes and ends git when the reader leaves', async () => {
  await origin.git('checkout', '--quiet', '-b', 'odd');
  await origin.write('new\nline "x".py', 'x\n');
  await origin.write('ü/\u0001.py', 'x\n');
  const head = await origin.commit('Odd\n\n\u0002 message');
  await origin.git('checkout', '--quiet', 'main');
  for await (const commit of streamLog(join(origin.dir, '.git'), [head], { firstParent: true })) {
    expect(commit.sha).toBe(head);
    expect(commit.message).toBe('Odd\n\n\u0002 message\n');
    expect(commit.changes.map((change) => change.path).sort()).toEqual(['new\nline "x".py', 'ü/\u0001.py']);
    break;
  }
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MUTATION_KINDS } from '../../src/domain/mutation.ts';
import { mutationTarget } from '../../src/domain/sourceSpec.ts';
import type { Candidate } from '../../src/domain/types.ts';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import { createMirrorStore } from '../../src/sources/mirror.ts';
import { createMutateSource } from '../../src/sources/mutate.ts';
import type { MutateSourceOptions, Mutator } from '../../src/sources/mutate.ts';
import type { MineLimits, MinePage } from '../../src/sources/types.ts';
import { createFsArtefactStore } from '../../src/store/fs.ts';
import { hostMutator } from '../support/hostMutator.ts';
import { startHttpServer } from '../support/http.ts';
import type { TestHttpServer } from '../support/http.ts';
import { createRepository } from './repositories.ts';
import { sdist, sha256 } from './sdists.ts';

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
const FILES = {
  'demo/__init__.py': 'from demo.core import clamp, total\n',
  'demo/core.py':
    'def clamp(value, low, high):\n    # the nearer bound\n    return max(low, min(value, high))\n\n\ndef total(items):\n    result = 0\n    for item in items:\n        result += item\n    return result\n',
  'setup.py': 'def f(a):\n    return a + 1\n',
  'tests/conftest.py': 'def helper(a):\n    return a + 1\n',
  'tests/test_clamp.py': 'from demo import clamp\n\n\ndef test_clamp():\n    assert clamp(5, 1, 3) == 3\n',
  'tests/test_total.py': 'from demo import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n',
};

let dir = '';
let server: TestHttpServer;
let archives: Readonly<Record<string, { readonly content: Buffer; readonly uploaded: string }>> = {};
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'repoforge-mutate-'));
  archives = {
    'demo-1.0.tar.gz': { content: await sdist('demo', '1.0', FILES), uploaded: '2024-01-01T00:00:00Z' },
    'demo-1.1.tar.gz': { content: await sdist('demo', '1.1', FILES), uploaded: '2024-05-01T00:00:00Z' },
  };
  server = await startHttpServer((request, response) => {
    const archive = archives[request.url.replace('/files/', '')];
    if (archive) return void response.writeHead(200).end(archive.content);
    if (request.url !== '/simple/demo/') return void response.writeHead(404).end('no such page');
    const files = Object.entries(archives).map(([filename, { content, uploaded }]) => ({
      filename,
      url: `../../files/${filename}`,
      hashes: { sha256: sha256(content) },
      size: content.length,
      'upload-time': uploaded,
    }));
    response
      .writeHead(200, { 'content-type': 'application/vnd.pypi.simple.v1+json' })
      .end(JSON.stringify({ meta: { 'api-version': '1.1' }, name: 'demo', files }));
  });
});
afterEach(async () => {
  await server.close();
  await rm(dir, { recursive: true, force: true });
});

function source(options: Partial<MutateSourceOptions> & { readonly of?: string } = {}) {
  const store = createFsArtefactStore(join(dir, 'artefacts'));
  const mirrors = createMirrorStore(join(dir, 'mirrors'), { log });
  const target = mutationTarget(options.of ?? 'demo');
  if (target === null) throw new Error(`${options.of} is no target`);
  const made = createMutateSource({
    target,
    seed: 0,
    kinds: MUTATION_KINDS,
    indexUrls: [`${server.url}/simple/`],
    store,
    mirrors,
    cacheDir: join(dir, 'cache'),
    limits: LIMITS,
    mutate: hostMutator,
    log,
    ...options,
  });
  const candidates = async (page: MinePage): Promise<readonly Candidate[]> =>
    Promise.all(
      page.entries.map((entry) => {
        if (!entry.ok) throw new Error(`${entry.instanceId}: ${entry.rejection.detail}`);
        return store.getJson<Candidate>(entry.candidate);
      }),
    );
  return {
    store,
    mirrors,
    candidates,
    mine: (cursor: string | null = null, size = 100) => made.minePage(cursor, size, context),
  };
}
const ids = (page: MinePage): readonly string[] => page.entries.map(({ instanceId }) => instanceId);
const only = <T>(items: readonly T[]): T => {
  const [item] = items;
  if (item === undefined || items.length > 1) throw new Error(`${items.length} instead of one`);
  return item;
};

describe('a release with bugs', () => {
  test('gives candidates whose base has one bug and not the tests that may notice it, and whose gold takes the bug out', async () => {
    const { mine, candidates, store, mirrors } = source({ kinds: ['swap'] });
    const found = await candidates(await mine());
    expect(found).toHaveLength(2); // min and max
    const inner = only(found.filter(({ provenance }) => provenance['bug_line'] === 3).slice(0, 1));
    expect(inner).toMatchObject({
      source: 'mutate',
      repo: 'pypi/demo',
      mirror: 'pypi__demo',
      version: '1.1',
      baseVersion: '1.1',
      createdAt: '2024-05-01T00:00:00Z',
      baseCreatedAt: '2024-05-01T00:00:00Z',
      license: 'MIT',
      testFiles: ['tests/test_clamp.py'],
      provenance: {
        package: 'demo',
        version: '1.1',
        sdist: 'demo-1.1.tar.gz',
        sdist_sha256: sha256(archives['demo-1.1.tar.gz']?.content ?? Buffer.alloc(0)),
        bug_kind: 'swap',
        bug_file: 'demo/core.py',
        bug_line: 3,
        bug_function: 'clamp',
        seed: 0,
        problem_statement_from: 'failing tests',
      },
    });
    expect(inner.instanceId).toMatch(/^mutate__demo-1\.1-[0-9a-f]{8}$/);
    const mirror = await mirrors.open('pypi__demo');
    const base = new Map((await mirror.listTree(inner.baseCommit)).map(({ path, oid }) => [path, oid]));
    expect([...base.keys()]).not.toContain('tests/test_clamp.py');
    expect([...base.keys()]).toEqual(
      expect.arrayContaining(['setup.py', 'tests/conftest.py', 'tests/test_total.py']),
    );
    expect((await store.getText(inner.patch)).match(/^[-+](?![-+])/gm)).toHaveLength(2);
    const head = await mirror.listTree('refs/releases/1.1');
    const withGold = await mirror.commitWithPatch(inner.testCommit, await store.get(inner.patch), 'try');
    expect(await mirror.listTree(withGold ?? '')).toEqual(head);
  });

  test('touches the code of the package alone', async () => {
    const { mine, candidates } = source({ limits: { ...LIMITS, maxCandidates: 4 } });
    const found = await candidates(await mine());
    expect(new Set(found.map(({ provenance }) => provenance['bug_file']))).toEqual(new Set(['demo/core.py']));
    expect(found).toHaveLength(4);
  });

  test('gives the same candidates in the same order for the same seed, in pages or at once, and others first for another', async () => {
    const kinds = ['return', 'swap'] as const;
    const whole = await source({ kinds }).mine();
    const first = await source({ kinds }).mine(null, 2);
    const second = await source({ kinds }).mine(first.nextCursor, 2); // a new source: only the cursor resumes
    expect([...first.entries, ...second.entries]).toEqual(whole.entries);
    expect(whole.entries).toHaveLength(4);
    const others = await Promise.all([1, 2, 3].map((seed) => source({ kinds, seed }).mine(null, 2)));
    expect(others.map(ids)).not.toEqual([ids(first), ids(first), ids(first)]);
    const mirrors = createMirrorStore(await mkdtemp(join(dir, 'other-')), { log });
    expect((await source({ kinds, mirrors }).mine(null, 2)).entries).toEqual(first.entries);
  });

  test('is looked at once: later pages make no container, unless the mirror is gone', async () => {
    let asked = 0;
    const mutate: Mutator = (...args) => {
      asked += 1;
      return hostMutator(...args);
    };
    const { mine } = source({ mutate });
    const first = await mine(null, 2);
    const second = await mine(first.nextCursor, 2);
    expect(asked).toBe(1);
    await rm(join(dir, 'mirrors'), { recursive: true });
    const again = await source({ mutate }).mine(null, 2);
    expect([asked, ids(again)]).toEqual([2, ids(first)]);
    expect(ids(second)).toHaveLength(2);
  });

  test('ends where as many candidates are found as are wanted', async () => {
    const { mine } = source({ limits: { ...LIMITS, maxCandidates: 3 } });
    const first = await mine(null, 2);
    const second = await mine(first.nextCursor, 2);
    expect([ids(first).length, ids(second).length, second.nextCursor]).toEqual([2, 1, null]);
  });

  test.each([
    ['demo==1.0', LIMITS, '1.0'],
    ['demo', LIMITS, '1.1'],
    ['demo', { ...LIMITS, until: '2024-02-01T00:00:00Z' }, '1.0'],
    ['demo==1.1', { ...LIMITS, until: '2024-02-01T00:00:00Z' }, '1.1'],
  ])("%s is the named release, or the newest of the campaign's time", async (of, limits, version) => {
    const page = await source({ of, limits, kinds: ['swap'] }).mine();
    expect(ids(page)[0]).toMatch(new RegExp(`^mutate__demo-${version.replace('.', '\\.')}-`));
  });

  test("that is not on the index, or not in the campaign's time, is a permanent failure of one sentence", async () => {
    const missing = { type: FAILURE_TYPES.notFound, nonRetryable: true };
    await expect(source({ of: 'demo==9' }).mine()).rejects.toMatchObject({
      ...missing,
      message: 'The index has no source archive of demo 9.',
    });
    const limits = { ...LIMITS, since: '2030-01-01T00:00:00Z' };
    await expect(source({ limits }).mine()).rejects.toMatchObject({
      ...missing,
      message: "The index has no source archive of demo within the campaign's dates.",
    });
    await expect(source().mine('{}')).rejects.toMatchObject({ type: FAILURE_TYPES.badInput });
  });

  test.each([
    ['ships no tests', { 'demo.py': 'def f(a):\n    return -a\n' }, 'no_test_change'],
    [
      'has no code that its tests name',
      { 'tests/test_a.py': '', 'demo.py': 'def f(a):\n    return -a\n' },
      'no_source_change',
    ],
  ])('that %s is one typed rejection', async (_what, files, reason) => {
    archives = {
      'demo-2.0.tar.gz': { content: await sdist('demo', '2.0', files), uploaded: '2024-06-01T00:00:00Z' },
    };
    expect(await source().mine()).toMatchObject({
      entries: [{ ok: false, instanceId: 'mutate__demo-2.0', rejection: { reason } }],
      nextCursor: null,
    });
  });
});

test('A clone gives candidates from the head of its branch, named by the commit', async () => {
  const repository = await createRepository(join(dir, 'clone'));
  for (const [path, text] of Object.entries(FILES)) await repository.write(path, text);
  const head = await repository.commit('start');
  const { mine, candidates } = source({ of: repository.dir, kinds: ['return'] });
  const page = await mine();
  const [first] = await candidates(page);
  expect(ids(page)[0]).toMatch(new RegExp(`^mutate__clone-${head.slice(0, 12)}-[0-9a-f]{8}$`));
  expect(first).toMatchObject({
    repo: 'local/clone',
    createdAt: '2024-01-01T00:01:00Z',
    provenance: { commit: head, bug_kind: 'return' },
  });
});

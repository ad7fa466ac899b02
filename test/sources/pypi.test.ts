import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Candidate } from '../../src/domain/types.ts';
import { createMirrorStore } from '../../src/sources/mirror.ts';
import { createPypiSource } from '../../src/sources/pypi.ts';
import type { PypiSourceOptions } from '../../src/sources/pypi.ts';
import type { MineLimits, MinePage } from '../../src/sources/types.ts';
import { createFsArtefactStore } from '../../src/store/fs.ts';
import { startHttpServer } from '../support/http.ts';
import type { TestHttpServer } from '../support/http.ts';
import { sdist, sha256, tarGz, zip } from './sdists.ts';

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

interface IndexedFile {
  readonly filename: string;
  readonly content: Buffer;
  readonly uploaded: string;
  readonly sha256?: string;
  readonly yanked?: boolean;
}

let dir = '';
let server: TestHttpServer;
let files: IndexedFile[] = [];
let fault: ((path: string, response: ServerResponse) => boolean) | null = null;
let format: 'json' | 'html' = 'json';

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'repoforge-pypi-'));
  files = [];
  fault = null;
  format = 'json';
  server = await startHttpServer((request, response) => {
    if (fault?.(request.url, response)) return;
    if (request.url === '/simple/demo/') return sendIndex(response);
    const file = files.find((candidate) => request.url === `/files/${candidate.filename}`);
    if (!file) return void response.writeHead(404).end('no such page');
    response.writeHead(200, { 'content-length': file.content.length }).end(file.content);
  });
});
afterEach(async () => {
  await server.close();
  await rm(dir, { recursive: true, force: true });
});

function sendIndex(response: ServerResponse): void {
  if (format === 'html') {
    const anchors = files.map(
      (file) =>
        `<a href="../../files/${file.filename}#sha256=${file.sha256 ?? sha256(file.content)}"${file.yanked ? ' data-yanked="bad"' : ''}>${file.filename}</a><br>`,
    );
    response
      .writeHead(200, { 'content-type': 'text/html' })
      .end(`<!DOCTYPE html><html><body>${anchors.join('\n')}</body></html>`);
    return;
  }
  response.writeHead(200, { 'content-type': 'application/vnd.pypi.simple.v1+json' }).end(
    JSON.stringify({
      meta: { 'api-version': '1.1' },
      name: 'demo',
      files: files.map((file) => ({
        filename: file.filename,
        url: `../../files/${file.filename}`,
        hashes: { sha256: file.sha256 ?? sha256(file.content) },
        size: file.content.length,
        'upload-time': file.uploaded,
        yanked: file.yanked ?? false,
      })),
    }),
  );
}

async function release(
  version: string,
  uploaded: string,
  body: number,
  more: Partial<IndexedFile> = {},
): Promise<void> {
  const content = await sdist('demo', version, {
    'demo/__init__.py': `__version__ = '${version}'\n`,
    'demo/core.py': `def answer():\n    return ${body}\n`,
    'tests/test_core.py': `from demo.core import answer\n\ndef test_answer():\n    assert answer() == ${body}\n`,
    'CHANGES.rst': `${version}\n-----\n\n* The answer is ${body}.\n`,
    'demo.egg-info/PKG-INFO': `Version: ${version}\n`,
  });
  files.push({ filename: `demo-${version}.tar.gz`, content, uploaded, ...more });
}

function source(options: Partial<PypiSourceOptions> = {}) {
  const store = createFsArtefactStore(join(dir, 'artefacts'));
  const mirrors = createMirrorStore(join(dir, 'mirrors'), { log });
  const made = createPypiSource({
    name: 'Demo',
    indexUrls: [`${server.url}/simple/`],
    store,
    mirrors,
    cacheDir: join(dir, 'cache'),
    limits: LIMITS,
    log,
    ...options,
  });
  return {
    store,
    mirrors,
    mine: (cursor: string | null = null, size = 50) => made.minePage(cursor, size, context),
  };
}

const ids = (page: MinePage): string[] =>
  page.entries.map((entry) => `${entry.instanceId}${entry.ok ? '' : ` ${entry.rejection.reason}`}`);

async function candidate(
  store: ReturnType<typeof source>['store'],
  page: MinePage,
  at = 0,
): Promise<Candidate> {
  const entry = page.entries[at];
  if (!entry?.ok) throw new Error(`no candidate: ${JSON.stringify(entry)}`);
  return store.getJson<Candidate>(entry.candidate);
}

describe('a release', () => {
  test('becomes a candidate: source and test patches apart, generated files in neither, text from the changelog', async () => {
    await release('1.0', '2024-01-01T00:00:00.123Z', 41);
    await release('1.1', '2024-02-01T00:00:00.456Z', 42);
    const { store, mirrors, mine } = source();
    const page = await mine();
    expect(ids(page)).toEqual(['pypi__demo-1.1']);
    const made = await candidate(store, page);
    expect(made).toMatchObject({
      repo: 'pypi/demo',
      version: '1.1',
      baseVersion: '1.0',
      createdAt: '2024-02-01T00:00:00Z',
      baseCreatedAt: '2024-01-01T00:00:00Z',
      testFiles: ['tests/test_core.py'],
      license: 'MIT',
      mirror: 'pypi__demo',
    });
    const patch = await store.getText(made.patch);
    expect(patch).toContain('+    return 42');
    expect(patch).not.toMatch(/PKG-INFO|test_core/);
    expect(await store.getText(made.testPatch)).toMatch(/\+ {4}assert answer\(\) == 42/);
    expect(await store.getText(made.problemStatement)).toBe(
      'demo 1.1 (the release after 1.0)\n\n* The answer is 42.\n',
    );
    const mirror = await mirrors.open('pypi__demo');
    const head = await mirror.commitWithPatch(made.testCommit, Buffer.from(patch), 'check');
    expect((await mirror.readFile(head ?? '', 'demo/core.py'))?.toString()).toContain('return 42');
  });

  test('is mined to the same bytes in another state directory and with an HTML index with relative links', async () => {
    await release('1.0', '2024-01-01T00:00:00Z', 41);
    await release('1.1', '2024-01-01T00:00:00Z', 42);
    const first = await source().mine();
    await rm(join(dir, 'mirrors'), { recursive: true });
    expect(await source().mine()).toEqual(first);
    await rm(join(dir, 'mirrors'), { recursive: true });
    format = 'html'; // no upload times: those of the archives' files, equal here
    expect(await source().mine()).toEqual(first);
  });

  test('may be a zip: modes and links arrive in the tree', async () => {
    await release('1.0', '2024-01-01T00:00:00Z', 41);
    const content = zip([
      { name: 'demo-1.1/demo/core.py', content: 'def answer():\n    return 42\n', mode: 0o100755 },
      { name: 'demo-1.1/tests/test_core.py', content: 'assert 42\n', mode: 0o100644 },
      { name: 'demo-1.1/link.py', content: 'demo/core.py', mode: 0o120777 },
    ]);
    files.push({ filename: 'demo-1.1.zip', content, uploaded: '2024-02-01T00:00:00Z' });
    const { mirrors, mine } = source();
    expect(ids(await mine())).toEqual(['pypi__demo-1.1']);
    const tree = await (await mirrors.open('pypi__demo')).listTree('refs/releases/1.1');
    expect(tree.map((entry) => [entry.path, entry.mode])).toEqual([
      ['demo/core.py', '100755'],
      ['link.py', '120000'],
      ['tests/test_core.py', '100644'],
    ]);
  });

  test('that is yanked, a pre-release or only a wheel is neither candidate nor predecessor', async () => {
    await release('1.0', '2024-01-01T00:00:00Z', 1);
    await release('1.1rc1', '2024-01-02T00:00:00Z', 2);
    await release('1.1', '2024-01-03T00:00:00Z', 3, { yanked: true });
    await release('1.2', '2024-01-04T00:00:00Z', 4, { filename: 'demo-1.2-py3-none-any.whl' });
    await release('1.3', '2024-01-05T00:00:00Z', 5);
    const { store, mine } = source();
    const page = await mine();
    expect(ids(page)).toEqual(['pypi__demo-1.3']);
    expect((await candidate(store, page)).baseVersion).toBe('1.0');
  });
});

describe('the history of a package', () => {
  test('comes newest upload first, in pages that a cursor repeats exactly, up to the limit', async () => {
    for (let minor = 0; minor < 6; minor++)
      await release(`1.${minor}`, `2024-0${minor + 1}-01T00:00:00Z`, minor);
    const all = ids(await source().mine());
    expect(all).toEqual(['1.5', '1.4', '1.3', '1.2', '1.1'].map((version) => `pypi__demo-${version}`));
    const { mine } = source();
    const first = await mine(null, 2);
    const second = await mine(first.nextCursor, 2);
    expect(await source().mine(first.nextCursor, 2)).toEqual(second);
    const third = await mine(second.nextCursor, 2);
    expect([...ids(first), ...ids(second), ...ids(third)]).toEqual(all);
    expect(third.nextCursor).toBeNull();
    const limited = source({ limits: { ...LIMITS, maxCandidates: 3 } });
    const page = await limited.mine(null, 2);
    expect(ids(page).concat(ids(await limited.mine(page.nextCursor, 2)))).toEqual(all.slice(0, 3));
  });

  test('is cut to the times asked for', async () => {
    for (let minor = 0; minor < 6; minor++)
      await release(`1.${minor}`, `2024-0${minor + 1}-01T00:00:00Z`, minor);
    const limits = { ...LIMITS, since: '2024-03-01T00:00:00Z', until: '2024-05-01T00:00:00Z' };
    expect(ids(await source({ limits }).mine())).toEqual(['pypi__demo-1.3', 'pypi__demo-1.2']);
  });

  test('is downloaded once: a second run asks for the index alone', async () => {
    await release('1.0', '2024-01-01T00:00:00Z', 1);
    await release('1.1', '2024-01-02T00:00:00Z', 2);
    await source().mine();
    const before = server.requests.length;
    await source().mine();
    expect(server.requests.slice(before).map((request) => request.url)).toEqual(['/simple/demo/']);
  });

  test('goes on after a hostile archive, which is a typed rejection of its own release only', async () => {
    await release('1.0', '2024-01-01T00:00:00Z', 1);
    await release('1.1', '2024-01-02T00:00:00Z', 2);
    const evil = await tarGz([{ name: 'demo-2.0/../../evil', content: 'x' }]);
    files.push({ filename: 'demo-2.0.tar.gz', content: evil, uploaded: '2024-01-03T00:00:00Z' });
    const page = await source().mine();
    expect(ids(page)).toEqual(['pypi__demo-2.0 bad_archive', 'pypi__demo-1.1']);
    expect(await readdir(join(dir, 'mirrors'))).toEqual(['.locks', 'pypi__demo']);
    expect(await readdir(dir)).not.toContain('evil');
  });

  test.each([
    ['no source', { 'tests/test_core.py': 'changed\n' }, 'no_source_change'],
    ['no test', { 'demo/core.py': 'changed = 1\n' }, 'no_test_change'],
    [
      'only a version',
      { 'demo/__init__.py': "__version__ = '1.1'\n", 'tests/test_core.py': 'changed\n' },
      'no_source_change',
    ],
    ['only documents', { 'README.md': 'changed\n', 'tests/test_core.py': 'changed\n' }, 'no_source_change'],
    ['too much', { 'demo/core.py': 'x = 1\n'.repeat(200), 'tests/test_core.py': 'changed\n' }, 'too_large'],
    [
      'a pointer',
      {
        'demo/core.py': 'x = 1\n',
        'tests/test_core.py': 'c\n',
        'tests/big.bin': 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
      },
      'lfs',
    ],
  ])('rejects a change of %s by type', async (_name, changed, reason) => {
    const base = {
      'demo/__init__.py': "__version__ = '1.0'\n",
      'demo/core.py': 'a = 1\n',
      'tests/test_core.py': 'a\n',
    };
    files.push({
      filename: 'demo-1.0.tar.gz',
      content: await sdist('demo', '1.0', base),
      uploaded: '2024-01-01T00:00:00Z',
    });
    const head = await sdist('demo', '1.1', { ...base, ...changed });
    files.push({ filename: 'demo-1.1.tar.gz', content: head, uploaded: '2024-02-01T00:00:00Z' });
    const page = await source({ limits: { ...LIMITS, maxPatchBytes: 1_000 } }).mine();
    expect(ids(page)).toEqual([`pypi__demo-1.1 ${reason}`]);
  });
});

describe('bad luck', () => {
  beforeEach(async () => {
    await release('1.0', '2024-01-01T00:00:00Z', 1);
    await release('1.1', '2024-01-02T00:00:00Z', 2);
  });

  test('an unknown package is one clear sentence and permanent', async () => {
    await expect(source({ name: 'no-such-thing' }).mine()).rejects.toMatchObject({
      type: 'NotFound',
      nonRetryable: true,
      message: 'There is no package "no-such-thing" on the configured index.',
    });
  });

  test('a second index is asked when the first does not know the package', async () => {
    const page = await source({ indexUrls: [`${server.url}/other`, `${server.url}/simple`] }).mine();
    expect(ids(page)).toEqual(['pypi__demo-1.1']);
  });

  test('429 is RateLimited with the time that the index named', async () => {
    fault = (_path, response) => (response.writeHead(429, { 'retry-after': '7' }).end(), true);
    await expect(source().mine()).rejects.toMatchObject({
      type: 'RateLimited',
      nonRetryable: false,
      nextRetryDelay: 7_000,
    });
  });

  test.each([
    ['a server error', (response: ServerResponse) => response.writeHead(502).end()],
    [
      'a page cut off',
      (response: ServerResponse) =>
        void (response.writeHead(200, { 'content-length': 900 }).write('{"fi'),
        setTimeout(() => response.destroy(), 20)),
    ],
    [
      'an answer that is no index',
      (response: ServerResponse) =>
        response.writeHead(200, { 'content-type': 'application/json' }).end('{"files": 3}'),
    ],
  ])('%s is retried, and then nothing is lost', async (_name, answer) => {
    fault = (_path, response) => (answer(response), true);
    const { mine } = source();
    await expect(mine()).rejects.toMatchObject({ nonRetryable: false });
    fault = null;
    expect(ids(await mine())).toEqual(['pypi__demo-1.1']);
  });

  test('a download that breaks off is Infra, leaves no part behind, and succeeds when tried again', async () => {
    fault = (path, response) => {
      if (!path.endsWith('demo-1.1.tar.gz')) return false;
      const { content } = files[1] ?? { content: Buffer.alloc(0) };
      response.writeHead(200, { 'content-length': content.length }).write(content.subarray(0, 100));
      setTimeout(() => response.destroy(), 20);
      return true;
    };
    const { mine } = source();
    await expect(mine()).rejects.toMatchObject({ type: 'Infra', nonRetryable: false });
    expect(await readdir(join(dir, 'cache', 'sdists'))).toEqual([]);
    fault = null;
    expect(ids(await mine())).toEqual(['pypi__demo-1.1']);
  });

  test('a shorter file sent as if whole is Infra, not a wrong checksum', async () => {
    fault = (path, response) =>
      path.endsWith('demo-1.1.tar.gz')
        ? (response.writeHead(200).end(files[1]?.content.subarray(0, 100)), true)
        : false;
    await expect(source().mine()).rejects.toMatchObject({
      type: 'Infra',
      message: expect.stringContaining('100 of') as string,
    });
  });

  test('a whole file with another sha256 is a rejected release', async () => {
    files[1] = { ...(files[1] as IndexedFile), sha256: '0'.repeat(64) };
    expect(ids(await source().mine())).toEqual(['pypi__demo-1.1 bad_archive']);
  });

  test('a cached file that was damaged is fetched again', async () => {
    await source().mine();
    await rm(join(dir, 'mirrors'), { recursive: true });
    const cached = join(dir, 'cache', 'sdists');
    for (const name of await readdir(cached)) await writeFile(join(cached, name), 'damaged');
    expect(ids(await source().mine())).toEqual(['pypi__demo-1.1']);
  });

  test('credentials in the index address travel as a header and stay out of messages', async () => {
    const address = `${server.url.replace('//', '//user:s3cret@')}/simple`;
    await source({ indexUrls: [address] }).mine();
    expect(
      server.requests.every((request) => request.headers.authorization === `Basic ${btoa('user:s3cret')}`),
    ).toBe(true);
    fault = (_path, response) => (response.writeHead(403).end(), true);
    const error = await source({ indexUrls: [address] })
      .mine()
      .then(
        () => null,
        (thrown: unknown) => thrown,
      );
    expect(error).toMatchObject({ type: 'Authentication', nonRetryable: true });
    expect(String(error)).not.toContain('s3cret');
  });

  test('a cursor that is none is refused', async () => {
    await expect(source().mine('{"nonsense":1}')).rejects.toMatchObject({
      type: 'BadInput',
      nonRetryable: true,
    });
  });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import type { Candidate } from '../../src/domain/types.ts';
import { createGithubSource } from '../../src/sources/github.ts';
import { createMirrorStore, type SourceMirrorStore } from '../../src/sources/mirror.ts';
import type { CandidateSource, MinedCandidate, MineLimits, MinePage } from '../../src/sources/types.ts';
import { createFsArtefactStore } from '../../src/store/fs.ts';
import type { ArtefactStore } from '../../src/store/types.ts';
import { sendJson, type TestHttpServer } from '../support/http.ts';
import { makeOrigin, PACKAGE, change, type Origin } from './githubOrigin.ts';
import { newWorld, serveWorld, type World, type WorldPull } from './githubWorld.ts';

const NO_LIMITS: MineLimits = {
  maxSourceFiles: 20,
  maxPatchBytes: 100_000,
  since: null,
  until: null,
  maxCandidates: null,
};
const log = pino({ level: 'silent' });
const context = {
  owner: { installation: 'test', host: 'test' },
  heartbeat: () => undefined,
  signal: new AbortController().signal,
};

/** What the six pull requests of the test's repository are, by number. */
interface History {
  readonly origin: Origin;
  readonly pulls: readonly WorldPull[];
  readonly bases: Readonly<Record<number, string>>;
}

let directory: string;
let history: History;
let store: ArtefactStore;
let mirrors: SourceMirrorStore;
let world: World;
let server: TestHttpServer;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'repoforge-github-'));
  history = makeHistory(makeOrigin(join(directory, 'origin')));
  store = createFsArtefactStore(join(directory, 'artefacts'));
  mirrors = createMirrorStore(join(directory, 'mirrors'), { log });
});
afterAll(() => rm(directory, { recursive: true, force: true }));
beforeEach(async () => {
  world = newWorld('octo/widget');
  world.pulls = [...history.pulls];
  world.issues.set(100, {
    title: 'alpha is old',
    body: 'It returns "old".\r\nIt should return "squashed".',
    comments: [
      { body: 'I see this too.', at: '2024-01-05T00:00:00Z' },
      {
        body: 'Edited later: change the return value.',
        at: '2024-01-05T00:00:00Z',
        editedAt: '2024-01-20T00:00:00Z',
      },
      { body: 'Fixed by the pull request.', at: '2024-01-12T00:00:00Z' },
    ],
  });
  world.issues.set(101, { title: 'beta is old', body: null });
  server = await serveWorld(world);
});
afterEach(() => server.close());

/** PR 1 squash, 2 merge commit, 3 rebase, 4 docs only, 5 closed without merging, 6 fast-forward. */
function makeHistory(origin: Origin): History {
  const root = origin.commit('Start', PACKAGE, '2024-01-01T00:00:00Z');
  const topic = (name: string): void => void origin.git(['checkout', '--quiet', '-b', name, 'main']);
  const main = (): string => (origin.git(['checkout', '--quiet', 'main']), origin.git(['rev-parse', 'HEAD']));
  const pulls: WorldPull[] = [];

  topic('squashed');
  origin.commit('Wip', change('alpha', 'wip'), '2024-01-10T00:00:00Z');
  const one = origin.commit(
    'Return the right thing, fixes #100',
    change('alpha', 'squashed'),
    '2024-01-11T00:00:00Z',
  );
  const base1 = main();
  origin.git(['merge', '--quiet', '--squash', 'squashed']);
  const merge1 = origin.commit('Alpha (#1)', {}, '2024-01-15T00:00:00Z');
  pulls.push({
    number: 1,
    title: 'Alpha',
    mergeCommit: merge1,
    headSha: one,
    mergedAt: '2024-01-15T00:00:00Z',
  });

  topic('merged');
  const two = origin.commit('Beta', change('beta', 'merged'), '2024-02-01T00:00:00Z');
  main();
  const base2 = origin.commit('Meanwhile', { 'widget/other.py': 'X = 1\n' }, '2024-02-02T00:00:00Z');
  origin.git(
    ['merge', '--quiet', '--no-ff', '-m', 'Merge pull request #2', 'merged'],
    '2024-02-03T00:00:00Z',
  );
  const merge2 = origin.git(['rev-parse', 'HEAD']);
  pulls.push({
    number: 2,
    title: 'Beta',
    body: 'Closes octo/widget#101',
    mergeCommit: merge2,
    headSha: two,
    mergedAt: '2024-02-03T00:00:00Z',
  });

  topic('rebased');
  origin.commit(
    'Gamma, source',
    { 'widget/gamma.py': 'def gamma():\n    return "rebased"\n' },
    '2024-03-01T00:00:00Z',
  );
  const three = origin.commit(
    'Gamma, tests',
    { 'tests/test_gamma.py': change('gamma', 'rebased')['tests/test_gamma.py'] ?? '' },
    '2024-03-02T00:00:00Z',
  );
  main();
  const base3 = origin.commit('Meanwhile again', { 'widget/other.py': 'X = 2\n' }, '2024-03-03T00:00:00Z');
  for (const commit of origin.git(['rev-list', '--reverse', 'main..rebased']).split('\n')) {
    origin.git(['cherry-pick', commit]);
  }
  const merge3 = origin.git(['rev-parse', 'HEAD']);
  pulls.push({
    number: 3,
    title: 'Gamma returns "rebased"',
    body: 'It was old. <!-- template -->',
    mergeCommit: merge3,
    headSha: three,
    mergedAt: '2024-03-04T00:00:00Z',
  });

  topic('docs');
  const four = origin.commit('Words', { 'README.md': '# Widget, the\n' }, '2024-03-05T00:00:00Z');
  const base4 = main();
  origin.git(['merge', '--quiet', '--squash', 'docs']);
  const merge4 = origin.commit('Words (#4)', {}, '2024-03-06T00:00:00Z');
  pulls.push({
    number: 4,
    title: 'Words',
    mergeCommit: merge4,
    headSha: four,
    mergedAt: '2024-03-06T00:00:00Z',
  });
  pulls.push({ number: 5, title: 'Refused', mergedAt: null });

  const base6 = main();
  topic('forwarded');
  origin.commit(
    'Alpha again',
    { 'widget/alpha.py': 'def alpha():\n    return "forwarded"\n' },
    '2024-04-01T00:00:00Z',
  );
  const six = origin.commit(
    'Its test',
    { 'tests/test_alpha.py': change('alpha', 'forwarded')['tests/test_alpha.py'] ?? '' },
    '2024-04-02T00:00:00Z',
  );
  main();
  origin.git(['merge', '--quiet', '--ff-only', 'forwarded']);
  pulls.push({
    number: 6,
    title: 'Alpha again',
    mergeCommit: six,
    headSha: six,
    baseSha: base6,
    mergedAt: '2024-04-03T00:00:00Z',
  });

  for (const { number, headSha } of pulls) if (headSha !== undefined) origin.pullRef(number, headSha);
  for (const name of ['squashed', 'merged', 'rebased', 'docs', 'forwarded'])
    origin.git(['branch', '--quiet', '-D', name]);
  return { origin, pulls, bases: { 0: root, 1: base1, 2: base2, 3: base3, 4: base4, 6: base6 } };
}

function source(limits: Partial<MineLimits> = {}): CandidateSource {
  return createGithubSource({
    repo: 'octo/widget',
    tokens: ['ghp_secret'],
    baseUrl: server.url,
    gitUrl: history.origin.url,
    store,
    mirrors,
    limits: { ...NO_LIMITS, ...limits },
    log,
  });
}

async function mineAll(from: () => CandidateSource, pageSize: number): Promise<readonly MinePage[]> {
  const pages: MinePage[] = [];
  for (let cursor: string | null = null; ;) {
    const page = await from().minePage(cursor, pageSize, context); // a new source each time: only the cursor resumes
    pages.push(page);
    if (page.nextCursor === null) return pages;
    if (pages.length > 20) throw new Error('the source never ends');
    cursor = page.nextCursor;
  }
}

const entriesOf = (pages: readonly MinePage[]): readonly MinedCandidate[] =>
  pages.flatMap((page) => page.entries);
const idsOf = (pages: readonly MinePage[]): readonly string[] =>
  entriesOf(pages).map((entry) => entry.instanceId);
async function candidateOf(entries: readonly MinedCandidate[], pull: number): Promise<Candidate> {
  const entry = entries.find((found) => found.instanceId === `octo__widget-${pull}`);
  if (entry?.ok !== true) throw new Error(`no candidate ${pull}: ${JSON.stringify(entry)}`);
  return store.getJson<Candidate>(entry.candidate);
}
const ALL = [6, 4, 3, 2, 1].map((pull) => `octo__widget-${pull}`);

test('merged pull requests come newest first, each with the change that it brought to its branch', async () => {
  const entries = entriesOf(await mineAll(source, 10));
  expect(entries.map((entry) => entry.instanceId)).toEqual(ALL);
  for (const [pull, kind] of [
    [1, 'squash'],
    [2, 'merge'],
    [3, 'rebase'],
    [6, 'fast_forward'],
  ] as const) {
    const candidate = await candidateOf(entries, pull);
    expect(candidate.provenance).toMatchObject({ pull_number: pull, merge_kind: kind });
    expect(candidate.baseCommit).toBe(history.bases[pull]);
  }
  const rebased = await candidateOf(entries, 3);
  expect(await store.getText(rebased.patch)).toMatch(/-    return "old"\n\+    return "rebased"/);
  expect(rebased.testFiles).toEqual(['tests/test_gamma.py']);
  expect(rebased).toMatchObject({
    repo: 'octo/widget',
    source: 'github',
    license: 'MIT',
    createdAt: '2024-03-04T00:00:00Z',
    baseCreatedAt: '2024-03-03T00:00:00Z',
  });
});

test('a pull request that touches only documentation is rejected without one request for its words', async () => {
  const entries = entriesOf(await mineAll(source, 10));
  expect(entries.find((entry) => entry.instanceId === 'octo__widget-4')).toMatchObject({
    ok: false,
    rejection: { reason: 'no_source_change' },
  });
  expect(server.requests.map((request) => request.url)).toEqual([
    '/repos/octo/widget',
    expect.stringContaining('/pulls?'),
    '/repos/octo/widget/issues/101',
    '/repos/octo/widget/issues/100',
    expect.stringContaining('/issues/100/comments'),
  ]);
});

test('the problem is the linked issue, the hints are the comments older than the first commit and untouched since', async () => {
  const candidate = await candidateOf(entriesOf(await mineAll(source, 10)), 1);
  expect(await store.getText(candidate.problemStatement)).toBe(
    'alpha is old\nIt returns "old".\nIt should return "squashed".',
  );
  expect(candidate.hintsText).not.toBeNull();
  if (candidate.hintsText !== null) expect(await store.getText(candidate.hintsText)).toBe('I see this too.');
  expect(candidate.provenance).toMatchObject({ problem_source: 'issue', issue_numbers: [100] });
});

test('without an issue the pull request speaks for itself, and the row says so', async () => {
  world.issues.delete(101); // linked, but gone
  const entries = entriesOf(await mineAll(source, 10));
  const unlinked = await candidateOf(entries, 3);
  expect(await store.getText(unlinked.problemStatement)).toBe('Gamma returns "rebased"\nIt was old.');
  expect(unlinked).toMatchObject({
    hintsText: null,
    provenance: { problem_source: 'pull_request', issue_numbers: [] },
  });
  expect((await candidateOf(entries, 2)).provenance['problem_source']).toBe('pull_request');
});

test('a scm-versioned base has the version that its build reports, and a tree its licence where GitHub knows none', async () => {
  const tagged = makeOrigin(join(directory, 'tagged'));
  const scm =
    '[build-system]\nrequires = ["setuptools-scm"]\n[project]\nname = "widget"\nlicense = "ISC"\ndynamic = ["version"]\n';
  tagged.commit('Start', { ...PACKAGE, 'pyproject.toml': scm }, '2024-01-01T00:00:00Z');
  tagged.git(['tag', '-a', '-m', '1.2.0', 'v1.2.0']);
  tagged.commit('Meanwhile', { 'widget/other.py': 'X = 1\n' }, '2024-01-02T00:00:00Z');
  const squash = tagged.commit('Alpha (#1)', change('alpha', 'new'), '2024-01-15T00:00:00Z');
  world.pulls = [{ number: 1, title: 'Alpha', mergeCommit: squash }];
  world.pullCommits.set(1, []);
  world.license = null;
  const lone = createGithubSource({
    repo: 'octo/widget',
    tokens: [],
    baseUrl: server.url,
    gitUrl: tagged.url,
    store,
    limits: NO_LIMITS,
    log,
    mirrors: createMirrorStore(join(directory, 'tagged-mirrors'), { log }),
  });
  const { entries } = await lone.minePage(null, 10, context);
  expect(await candidateOf(entries, 1)).toMatchObject({
    version: '1.2.0',
    baseVersion: '1.2.1.dev1',
    license: 'ISC',
  });
});

test('several issues are joined', async () => {
  world.pulls = world.pulls.map((pull) =>
    pull.number === 2 ? { ...pull, body: 'Closes #101, fixes #100' } : pull,
  );
  const candidate = await candidateOf(entriesOf(await mineAll(source, 10)), 2);
  expect(await store.getText(candidate.problemStatement)).toMatch(/^beta is old\n\nalpha is old\nIt returns/);
  expect(candidate.provenance['issue_numbers']).toEqual([101, 100]);
});

test.each([1, 3])('pages of %i give the same candidates as one page', async (pageSize) => {
  world.maxPerPage = 2;
  const whole = entriesOf(await mineAll(source, 100));
  const pages = await mineAll(source, pageSize);
  expect(entriesOf(pages)).toEqual(whole);
  expect(pages.every((page) => page.entries.length <= pageSize)).toBe(true);
});

test('pull requests that are merged or vanish between two pages neither shift nor repeat nor join the rest', async () => {
  world.maxPerPage = 2;
  const first = await source().minePage(null, 2, context);
  world.now = '2024-07-01T00:00:00Z';
  const [newest] = world.pulls.filter((pull) => pull.number === 3);
  world.pulls = [
    ...world.pulls.filter((pull) => pull.number !== 5),
    ...[7, 8, 9].map((number) => ({ ...newest, number, title: 'New', mergedAt: '2024-06-20T00:00:00Z' })),
  ];
  const second = await source().minePage(first.nextCursor, 2, context);
  world.pulls = world.pulls.filter((pull) => pull.number < 6); // the list is shorter than ever
  const rest = await source().minePage(second.nextCursor, 2, context);
  expect(idsOf([first, second, rest])).toEqual(ALL);
});

test('an old pull request that is merged while mining goes on is left for another campaign', async () => {
  const first = await source().minePage(null, 2, context);
  world.now = '2024-07-01T00:00:00Z';
  world.pulls = world.pulls.map((pull) =>
    pull.number === 1 ? { ...pull, mergedAt: '2024-06-20T00:00:00Z' } : pull,
  );
  const rest = await source().minePage(first.nextCursor, 10, context);
  expect(idsOf([first, rest])).toEqual(ALL.slice(0, 4));
});

test('since, until and the number of candidates limit what is mined', async () => {
  const window = { since: '2024-02-03T00:00:00Z', until: '2024-03-06T00:00:00Z' };
  expect(idsOf(await mineAll(() => source(window), 10))).toEqual(['octo__widget-3', 'octo__widget-2']);
  const capped = await mineAll(() => source({ maxCandidates: 2 }), 1);
  expect(idsOf(capped)).toEqual(ALL.slice(0, 3)); // the rejected one is not counted
});

test('a rate limit in the middle of a page loses nothing: the page ends early and the next one says when to come back', async () => {
  const limited = {
    path: /issues\/101$/,
    fault: (response: Parameters<typeof sendJson>[0]) =>
      sendJson(response, { message: 'slow down' }, { status: 429, headers: { 'retry-after': '40' } }),
  };
  world.faults.push(limited, limited);
  const first = await source().minePage(null, 10, context);
  expect(idsOf([first])).toEqual(ALL.slice(0, 3));
  await expect(source().minePage(first.nextCursor, 10, context)).rejects.toMatchObject({
    type: FAILURE_TYPES.rateLimited,
    nextRetryDelay: 40_000,
  });
  const rest = await source().minePage(first.nextCursor, 10, context);
  expect(idsOf([first, rest])).toEqual(ALL);
  expect(rest.nextCursor).toBeNull();
});

test('a head that the remote no longer has is made up for by the merge commit and the API', async () => {
  const other = makeOrigin(join(directory, 'other'));
  const base = other.commit('Start', PACKAGE, '2024-01-01T00:00:00Z');
  const squash = other.commit('Alpha (#1)', change('alpha', 'new'), '2024-01-15T00:00:00Z');
  world.pulls = [
    { number: 1, title: 'Alpha', mergeCommit: squash },
    { number: 2, title: 'Lost', mergeCommit: '1'.repeat(40) },
  ];
  world.pullCommits.set(1, [{ message: 'Fixes #100', authoredAt: '2024-01-10T00:00:00Z' }]);
  const lone = createGithubSource({
    repo: 'octo/widget',
    tokens: [],
    baseUrl: server.url,
    gitUrl: other.url,
    store,
    limits: NO_LIMITS,
    log,
    mirrors: createMirrorStore(join(directory, 'other-mirrors'), { log }),
  });
  const page = await lone.minePage(null, 10, context);
  expect(idsOf([page])).toEqual(['octo__widget-1']);
  const candidate = await candidateOf(page.entries, 1);
  expect(candidate.baseCommit).toBe(base);
  expect(candidate.provenance).toMatchObject({ problem_source: 'issue', issue_numbers: [100] });
});

test('a repository without git behind it is NotFound, a cursor of somebody else BadInput', async () => {
  const nowhere = createGithubSource({
    repo: 'octo/widget',
    tokens: [],
    baseUrl: server.url,
    gitUrl: join(directory, 'nowhere'),
    store,
    mirrors: createMirrorStore(join(directory, 'm3'), { log }),
    limits: NO_LIMITS,
    log,
  });
  await expect(nowhere.minePage(null, 10, context)).rejects.toMatchObject({ type: FAILURE_TYPES.notFound });
  for (const cursor of ['{"version":"1.0"}', 'not json']) {
    await expect(source().minePage(cursor, 10, context)).rejects.toMatchObject({
      type: FAILURE_TYPES.badInput,
    });
  }
  expect(() =>
    createGithubSource({ repo: 'widget', tokens: [], store, mirrors, limits: NO_LIMITS, log }),
  ).toThrow('owner/name');
});

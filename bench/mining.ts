import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { execa } from 'execa';
import { UsageError } from '../src/cli/output.ts';
import { DEFAULT_CAMPAIGN_OPTIONS } from '../src/domain/campaign.ts';
import type { Dependencies } from '../src/setup/compose.ts';
import { createGitSource, isPromising } from '../src/sources/git.ts';
import { streamLog } from '../src/sources/gitLog.ts';
import { createMirrorStore } from '../src/sources/mirror.ts';
import { createFsArtefactStore } from '../src/store/fs.ts';
import { ensurePydriller, listByPydriller } from './peer/pydriller.ts';
import type { Venv } from './peer/venv.ts';
import { machineLine, median, type BenchReport } from './report.ts';

export interface MiningBenchOptions {
  /** Clones or bare mirrors; without any, the git mirrors of this installation. */
  readonly repos: readonly string[];
  readonly rounds: number;
  readonly say: (line: string) => void;
}

/** Candidates made of each repository, for the cost of one. */
const CANDIDATES = 40;
const PAGE_SIZE = DEFAULT_CAMPAIGN_OPTIONS.minePageSize;

interface Mined {
  readonly ms: number;
  readonly commits: number;
  readonly selected: ReadonlySet<string>;
}

interface RepositoryResult {
  readonly repository: string;
  readonly commits: number;
  readonly promising: number;
  readonly agreed: number;
  readonly disagreed: number;
  readonly oursMs: number;
  readonly pydrillerMs: number;
  readonly candidateMs: number | null;
}

/**
 * Commits per second through the git source's log and its filter, against PyDriller with the same filter on the same
 * clone, in turn. Selected are the commits, no merges and no roots, that change a source file and add or change a test
 * module. The filter is our own function on both sides, and PyDriller is not charged for it: its time is that of its loop
 * over commits and their modified files. What follows for the selected (patches, sizes, licence, test commit, artefacts)
 * has no counterpart there, and is measured apart, for one candidate.
 */
export async function benchMining(deps: Dependencies, options: MiningBenchOptions): Promise<BenchReport> {
  const repos = options.repos.length > 0 ? options.repos.map((repo) => resolve(repo)) : await mirrorsOf(deps);
  const pydriller = await ensurePydriller(deps.settings.cacheDir, deps.installer, options.say);
  const results: RepositoryResult[] = [];
  for (const repo of repos) {
    options.say(`mining: ${repo}`);
    results.push(await measure(deps, pydriller, repo, options.rounds));
  }
  return reportOf(results, options.rounds);
}

async function mirrorsOf({ state }: Dependencies): Promise<readonly string[]> {
  const names = (await readdir(state.paths.mirrors)).filter((name) => /^git(hub)?__/.test(name)).toSorted();
  if (names.length === 0)
    throw new UsageError(
      `There is no git history in ${state.paths.mirrors}: name clones of real repositories with --repo PATH (may be repeated), or run a campaign with a git source first.`,
    );
  return names.map((name) => join(state.paths.mirrors, name));
}

async function measure(
  deps: Dependencies,
  pydriller: Venv,
  repo: string,
  rounds: number,
): Promise<RepositoryResult> {
  const scratch = await mkdtemp(join(tmpdir(), 'repoforge-mining-'));
  try {
    const clone = join(scratch, 'clone'); // an ordinary one: PyDriller's users have no bare mirrors
    await execa('git', ['clone', '--quiet', '--no-checkout', repo, clone]);
    await listByUs(clone); // the page cache and the compiled filter, as in a run that goes on
    const ours: Mined[] = [];
    const theirs: Mined[] = [];
    for (let round = 0; round < rounds; round += 1) {
      ours.push(await listByUs(clone));
      theirs.push(await listByThem(pydriller, clone));
    }
    const [mine, other] = [ours[0], theirs[0]];
    if (mine === undefined || other === undefined) throw new Error('at least one round is needed');
    const agreed = [...mine.selected].filter((sha) => other.selected.has(sha)).length;
    return {
      repository: repo.split('/').slice(-2).join('/'),
      commits: mine.commits,
      promising: mine.selected.size,
      agreed,
      disagreed: mine.selected.size + other.selected.size - 2 * agreed,
      oursMs: median(ours.map(({ ms }) => ms)) ?? 0,
      pydrillerMs: median(theirs.map(({ ms }) => ms)) ?? 0,
      candidateMs: await candidateMs(deps, scratch, clone),
    };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function listByUs(clone: string): Promise<Mined> {
  const startedMs = performance.now();
  const selected = new Set<string>();
  let commits = 0;
  for await (const commit of streamLog(join(clone, '.git'), ['HEAD'], { firstParent: false })) {
    commits += 1;
    if (commit.parents.length === 1 && isPromising(commit.changes)) selected.add(commit.sha);
  }
  return { ms: performance.now() - startedMs, commits, selected };
}

async function listByThem(pydriller: Venv, clone: string): Promise<Mined> {
  const { ms, commits } = await listByPydriller(pydriller, clone);
  const selected = commits.filter(({ parents, changes }) => parents === 1 && isPromising(changes));
  return { ms, commits: commits.length, selected: new Set(selected.map(({ sha }) => sha)) };
}

/** What one entry of a page costs, all in: the git source as campaigns open it, on a mirror and a store of its own. */
async function candidateMs(deps: Dependencies, scratch: string, clone: string): Promise<number | null> {
  const mirrors = createMirrorStore(join(scratch, 'mirrors'), { log: deps.log });
  const { maxSourceFiles, maxPatchBytes } = DEFAULT_CAMPAIGN_OPTIONS;
  const source = createGitSource({
    url: clone,
    name: basename(scratch),
    store: createFsArtefactStore(join(scratch, 'artefacts')),
    mirrors,
    limits: { maxSourceFiles, maxPatchBytes, since: null, until: null, maxCandidates: CANDIDATES },
    log: deps.log,
  });
  const context = {
    owner: { installation: 'bench', host: 'bench' },
    heartbeat: () => undefined,
    signal: new AbortController().signal,
  };
  await source.minePage(null, 0, context); // fetches the mirror; its time is the network's, as a rule
  let entries = 0;
  let cursor: string | null = null;
  const startedMs = performance.now();
  do {
    const page = await source.minePage(cursor, PAGE_SIZE, context);
    entries += page.entries.length;
    cursor = page.nextCursor;
  } while (cursor !== null);
  return entries === 0 ? null : (performance.now() - startedMs) / entries;
}

function reportOf(results: readonly RepositoryResult[], rounds: number): BenchReport {
  const sum = (of: (result: RepositoryResult) => number): number =>
    results.reduce((total, result) => total + of(result), 0);
  const perSecond = (ms: number): number => Math.round((1_000 * sum(({ commits }) => commits)) / ms);
  const ratio = round(sum(({ pydrillerMs }) => pydrillerMs) / sum(({ oursMs }) => oursMs));
  const candidates = median(results.flatMap((result) => result.candidateMs ?? []));
  return {
    bench: 'mining',
    figure: ratio,
    unit: 'x PyDriller 2.12',
    what: 'non-merge commits per second, listed with their changed paths and filtered (touches a source file and a test module), same clones and filter, in turn; making the candidates is not in it',
    target: '>= 5 x',
    machine: machineLine(),
    runs: results.map((result) => ({
      ...result,
      oursMs: round(result.oursMs),
      pydrillerMs: round(result.pydrillerMs),
      candidateMs: result.candidateMs === null ? null : round(result.candidateMs),
      ratio: round(result.pydrillerMs / result.oursMs),
    })),
    more: {
      ratio_vs_pydriller: ratio,
      commits_per_s: perSecond(sum(({ oursMs }) => oursMs)),
      pydriller_commits_per_s: perSecond(sum(({ pydrillerMs }) => pydrillerMs)),
      rounds,
      commits: sum(({ commits }) => commits),
      selected_by_both: sum(({ agreed }) => agreed),
      selected_by_one: sum(({ disagreed }) => disagreed),
      candidate_ms: candidates === null ? null : round(candidates),
      // the same histories with every selected commit made a candidate: work that PyDriller's loop does not do
      whole_commits_per_s: perSecond(
        sum(({ oursMs, promising, candidateMs: each }) => oursMs + promising * (each ?? 0)),
      ),
    },
  };
}

const round = (value: number): number => Math.round(100 * value) / 100;

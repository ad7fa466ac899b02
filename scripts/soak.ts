// `npm run soak`: a campaign over real releases and evaluations of what it published, under SIGKILL and SIGSTOP of the
// worker, the embedded Temporal server and a dockerd of the soak's own; the result must be that of a run left alone.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_RUN_LIMITS } from '../src/domain/runs.ts';
import { reportFailure } from '../src/cli/failure.ts';
import { UsageError, createOutput, table } from '../src/cli/output.ts';
import type { CampaignRequest } from '../src/client/campaigns.ts';
import { makeTinyRepository } from '../test/e2e/tinyProject.ts';
import { parseOptions } from './script.ts';
import type { QueueReport } from './soak/queue.ts';
import { queueSoak } from './soak/queueSoak.ts';
import { createRandom, planFaults } from './soak/faults.ts';
import { SOAK_RUNTIME, soak, type SoakReport } from './soak/soak.ts';
import type { Trial } from './soak/trial.ts';

const USAGE = 'Usage: npm run soak -- [--faults 20 | --evaluations 200] [--seed N] [--state DIR] [--json]';
const SLOTS = 2;
const REQUEST = {
  name: 'soak',
  sources: [{ pypi: 'cachetools', maxCandidates: 3 }],
  options: {
    runtimes: [SOAK_RUNTIME],
    width: 4,
    passToPassBudgetMs: 15_000,
    runLimits: { ...DEFAULT_RUN_LIMITS, memoryBytes: 1024 ** 3, timeoutMs: 120_000 },
  },
};

const json = process.argv.includes('--json');
try {
  await main();
} catch (error) {
  reportFailure(error, 'soak', json);
  process.exit(); // calls to the server that we ended are still being retried
}

async function main(): Promise<void> {
  const { faults, evaluations, seed, state } = readOptions();
  const output = createOutput({ json });
  if (process.getuid?.() !== 0) throw new UsageError('The soak starts a dockerd of its own: run it as root.');
  const directory = state ?? (await mkdtemp(join(tmpdir(), 'repoforge-soak-')));
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
  const common = { directory, slots: SLOTS, signal: stop.signal, say: output.say };
  try {
    if (evaluations > 0) {
      output.say(`${evaluations} evaluations at once, in ${directory}`);
      const queue = await queueSoak({ ...common, request: await tinyRequest(directory), evaluations });
      output.result(queueDocument(queue), queueText(queue));
      if (queue.wrong.length > 0) process.exitCode = 1;
      return;
    }
    output.say(`${faults} faults, seed ${seed}, in ${directory}`);
    const report = await soak({
      ...common,
      request: REQUEST,
      faults: planFaults(faults, createRandom(seed)),
    });
    output.result(documentOf(seed, report), textOf(seed, report));
    if (report.problems.length > 0) process.exitCode = 1;
  } finally {
    if (state === undefined) await rm(directory, { recursive: true, force: true });
  }
}

interface Options {
  readonly faults: number;
  /** Of the queue; 0 = faults instead. */
  readonly evaluations: number;
  readonly seed: number;
  readonly state: string | undefined;
}

function readOptions(): Options {
  const { state, ...values } = parseOptions(
    {
      faults: { type: 'string', default: '20' },
      evaluations: { type: 'string', default: '0' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      state: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
    USAGE,
  );
  const numbers = {
    faults: Number(values.faults),
    evaluations: Number(values.evaluations),
    seed: Number(values.seed),
  };
  if (!Object.values(numbers).every((value) => Number.isSafeInteger(value) && value >= 0))
    throw new UsageError(`--faults, --evaluations and --seed are whole numbers. ${USAGE}`);
  return { ...numbers, state };
}

/** A project of a few tests, so that the queue and not the tests are what takes time. */
async function tinyRequest(directory: string): Promise<CampaignRequest> {
  const repository = join(directory, 'tiny');
  await makeTinyRepository(repository);
  const sources = [{ git: repository, name: 'test/tiny', maxInstances: 1 }];
  return { name: 'tiny', sources, options: { runtimes: [SOAK_RUNTIME] } };
}

function queueDocument(report: QueueReport): object {
  return {
    evaluations: report.large,
    small_run: report.small,
    wrong: report.wrong,
    most_containers: report.mostContainers,
    worker_early_bytes: report.memoryBytes.early,
    worker_peak_bytes: report.memoryBytes.peak,
    passed_meanwhile: report.passedMeanwhile,
    most_overtaken: report.mostOvertaken,
    wall_ms: Math.round(report.wallMs),
  };
}

function queueText(report: QueueReport): string {
  const mebibytes = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MiB`;
  return table([
    ['evaluations queued', report.large],
    ['with another verdict than theirs', report.wrong.length],
    ['slots', SLOTS],
    ['most containers at once (with those being removed)', report.mostContainers],
    ['worker memory at a tenth', mebibytes(report.memoryBytes.early)],
    ['worker memory, peak', mebibytes(report.memoryBytes.peak)],
    [`of them ended while a later run of ${report.small} came and went`, report.passedMeanwhile],
    ['most that one was overtaken by', report.mostOvertaken],
    ['wall time', seconds(report.wallMs)],
  ]);
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

function documentOf(seed: number, { undisturbed, disturbed, problems }: SoakReport): object {
  const facts = ({ result, evaluations, wallMs, peakMemoryBytes }: Trial) => ({
    published: result.published,
    rejected: result.counts.rejected,
    evaluations,
    wall_ms: Math.round(wallMs),
    worker_peak_bytes: peakMemoryBytes,
  });
  return {
    seed,
    faults: disturbed.faults.map(({ atMs, phase, target, signal, awayMs, running }) => ({
      at_ms: Math.round(atMs),
      phase,
      target,
      signal,
      away_ms: awayMs,
      running,
    })),
    undisturbed: facts(undisturbed),
    disturbed: facts(disturbed),
    same: problems.length === 0,
    problems,
  };
}

function textOf(seed: number, { undisturbed, disturbed, problems }: SoakReport): string {
  const rows = disturbed.faults.map(({ atMs, phase, target, signal, awayMs, running }, index) => [
    String(index + 1),
    seconds(atMs),
    phase,
    target,
    signal,
    seconds(awayMs),
    running,
  ]);
  const trial = (name: string, { result, rounds, evaluations, wallMs }: Trial): string =>
    `${name}: ${result.published} published, ${evaluations} evaluations in ${rounds} rounds, ${seconds(wallMs)}`;
  return [
    table([['#', 'at', 'during', 'target', 'signal', 'away', 'running'], ...rows]),
    '',
    trial('undisturbed', undisturbed),
    trial('disturbed', disturbed),
    problems.length === 0
      ? `Seed ${seed}: ${disturbed.faults.length} faults, the same dataset byte for byte, the same verdicts, no stage twice, nothing left over.`
      : `Seed ${seed}: FAILED\n${problems.map((problem) => `- ${problem}`).join('\n')}`,
  ].join('\n');
}

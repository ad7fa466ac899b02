/** The runner itself: one try in the sandbox, its few repairs of configuration, and what its end means. */
import type {
  CollectionError,
  PlantedCanary,
  RunLimits,
  RunOutcome,
  RunPlan,
  TestResult,
} from '../../domain/runs.ts';
import { logUnderOwnNames, underOwnNames } from '../../domain/canaryPlanting.ts';
import { fileOfTest } from '../../domain/testIds.ts';
import type { ExecResult, Sandbox } from '../../sandbox/types.ts';
import { SANDBOX_USERS, SANDBOX_PATHS } from '../../sandbox/types.ts';
import { parseJunit } from './junit.ts';
import { repeatTests } from './repetitions.ts';
import type { Repeated } from './repetitions.ts';
import type { RunnerConfig } from './runnerConfig.ts';
import { OPTIONS_LEFT_OUT, withoutOptions } from './runnerConfig.ts';
import { RUNNER_FILES, testScript } from './runScripts.ts';
import { changeTar } from './trees.ts';

const MAX_JUNIT_BYTES = 16 * 1024 ** 2; // 50,000 tests; it is parsed on the worker's own thread, at up to a second per MB
const USAGE_ERROR = 4;
const NOTHING_COLLECTED = 5;
const MAX_REPAIRS = 3;

export interface TestsResult {
  readonly outcome: RunOutcome;
  readonly exitCode: number | null;
  readonly tests: Readonly<Record<string, TestResult>>;
  readonly collectionErrors: readonly CollectionError[];
  readonly inferredFiles: readonly string[];
  readonly output: Buffer;
  readonly droppedBytes: number;
  readonly junit: Buffer | null;
  readonly notes: readonly string[];
  readonly repeated: Repeated | null;
  /** Time of the runner alone, without repetitions. */
  readonly durationMs: number;
}

export interface TestsInput {
  readonly sandbox: Sandbox;
  readonly config: RunnerConfig;
  /** null = the runner's own discovery. */
  readonly scope: readonly string[] | null;
  /** Handed over when discovery finds nothing: test modules under names that the runner does not look for. */
  readonly fallbackScope: readonly string[];
  readonly knownFiles: readonly string[];
  /** Results and output are told under everybody's own names. */
  readonly planted: readonly PlantedCanary[];
  readonly limits: RunLimits;
  /** Run the tests again when the run ended, or when a test of it failed; undefined = never. */
  readonly repeat: RunPlan['repeat'];
  readonly signal: AbortSignal;
}

/**
 * Runs the tests within the limits. A usage error over an option whose plugin is not in the environment is mended by
 * leaving the option out, unless the configuration is settled: what a candidate prints must not mend anything.
 */
export async function runTests(input: TestsInput): Promise<TestsResult> {
  let config = input.config;
  let scope = input.scope ?? config.paths;
  const notes: string[] = [];
  const outputs: Buffer[] = [];
  let leftMs = input.limits.timeoutMs;
  for (let repairs = 0; ; repairs += 1) {
    const result = await runOnce(input, config, scope, leftMs);
    leftMs = Math.max(1_000, leftMs - result.durationMs);
    outputs.push(result.output);
    // results were written: the runner started as it was told, and what it printed is the candidate's word
    const junit = result.timedOut ? null : await readJunit(input.sandbox);
    const repair = repairs < MAX_REPAIRS ? findRepair(result, config, input, scope, junit === null) : null;
    if (repair === null) {
      const read = readResults(input, result, junit);
      return {
        ...read,
        repeated: isToBeRepeated(input, read) ? await repeat(input, config, scope, read.tests, result) : null,
        notes: [...notes, ...read.notes],
        output: readableOutput(Buffer.concat(outputs), input.planted),
        droppedBytes: result.droppedBytes,
        durationMs: input.limits.timeoutMs - leftMs,
      };
    }
    notes.push(repair.note);
    if (repair.config !== config) await placeConfig(input.sandbox, repair.config);
    ({ config, scope } = repair);
  }
}

const readableOutput = (output: Buffer, planted: readonly PlantedCanary[]): Buffer =>
  planted.some(({ swapped }) => swapped === true)
    ? Buffer.from(logUnderOwnNames(output.toString('utf8'), planted))
    : output;

const isToBeRepeated = ({ repeat: when }: TestsInput, { outcome, exitCode }: Read): boolean =>
  when !== undefined && outcome === 'completed' && (exitCode === 1 || (exitCode === 0 && when === 'ended'));

const repeat = (
  input: TestsInput,
  config: RunnerConfig,
  scope: readonly string[],
  tests: TestsResult['tests'],
  { durationMs }: ExecResult,
): Promise<Repeated> =>
  repeatTests({ tests, durationMs }, async ({ reversed, timeoutMs }) => {
    const result = await runOnce(input, config, scope, timeoutMs, reversed);
    const junit = result.timedOut ? null : await readJunit(input.sandbox);
    const read = readResults(input, result, junit);
    const ended = read.outcome === 'completed' && (read.exitCode === 0 || read.exitCode === 1);
    return { tests: ended ? read.tests : null, durationMs: result.durationMs };
  });

/** Writes the pinned configuration into the repository root, owned by root. */
async function placeConfig(sandbox: Sandbox, config: RunnerConfig): Promise<void> {
  await sandbox.putTree(await changeTar({ files: [], deleted: [] }, [configFile(config)]), '/');
}

export const configFile = (config: RunnerConfig) => ({
  path: `${SANDBOX_PATHS.repo}/${config.fileName}`,
  content: config.text,
});

async function runOnce(
  input: TestsInput,
  config: RunnerConfig,
  scope: readonly string[],
  timeoutMs: number,
  reversed = false,
): Promise<ExecResult> {
  const { command, env } = testScript(config, scope, reversed);
  return input.sandbox.exec(command, {
    user: SANDBOX_USERS.test,
    cwd: SANDBOX_PATHS.repo,
    env,
    timeoutMs,
    outputBytes: input.limits.outputBytes,
    signal: input.signal,
  });
}

interface Repair {
  readonly config: RunnerConfig;
  readonly scope: readonly string[];
  readonly note: string;
}

function findRepair(
  result: ExecResult,
  config: RunnerConfig,
  input: TestsInput,
  scope: readonly string[],
  silent: boolean,
): Repair | null {
  if (result.timedOut || result.outOfMemory) return null;
  const text = result.output.toString('utf8');
  if (result.exitCode === NOTHING_COLLECTED && input.scope === null && scope !== input.fallbackScope) {
    if (input.fallbackScope.length === 0) return null;
    return {
      config,
      scope: input.fallbackScope,
      note: 'Discovery found nothing; test modules were named one by one',
    };
  }
  if (!silent || config.settled === true) return null;
  const unknown =
    result.exitCode === USAGE_ERROR ? /error: unrecognized arguments: (.+)/.exec(text)?.[1] : undefined;
  const plugin = /Error importing plugin "([^"]+)"/.exec(text)?.[1];
  const unwanted = [...(unknown?.split(/\s+/) ?? []), ...(plugin === undefined ? [] : [plugin])];
  const mended = unwanted.length === 0 ? null : withoutOptions(config, unwanted);
  return mended === null ? null : { config: mended, scope, note: OPTIONS_LEFT_OUT + unwanted.join(' ') };
}

type Read = Omit<TestsResult, 'output' | 'droppedBytes' | 'durationMs' | 'repeated'>;

function readResults(input: TestsInput, result: ExecResult, junit: Buffer | string | null): Read {
  const nothing = {
    tests: {},
    collectionErrors: [],
    inferredFiles: [],
    exitCode: result.exitCode,
    junit: null,
  };
  if (result.timedOut) {
    const note = `The runner did not end within ${Math.round(input.limits.timeoutMs / 1000)} s`;
    return { ...nothing, outcome: 'timeout', notes: [note] };
  }
  const parsed = Buffer.isBuffer(junit) ? parseJunit(junit.toString('utf8'), input.knownFiles) : null;
  const ended = result.exitCode !== null && result.exitCode < 128;
  if (result.outOfMemory && (parsed === null || !ended)) {
    return {
      ...nothing,
      outcome: 'memory',
      notes: [`The tests needed more than ${input.limits.memoryBytes} bytes`],
    };
  }
  // 5: nothing was collected; that is an end with complete (empty) results.
  if (parsed === null || !Buffer.isBuffer(junit)) {
    const why = typeof junit === 'string' ? junit : lastWords(result);
    return {
      ...nothing,
      outcome: 'crashed',
      notes: [`The runner ended with code ${result.exitCode} and no results${why}`],
    };
  }
  const notes = result.outOfMemory ? ['A process of the tests was killed for memory'] : [];
  return {
    outcome: 'completed',
    exitCode: result.exitCode,
    tests: underOwnNames(parsed.tests, input.planted),
    collectionErrors: parsed.collectionErrors,
    inferredFiles: parsed.inferredFiles,
    junit,
    notes: [...notes, ...crossCheck(result.exitCode, parsed.tests, parsed.collectionErrors)],
  };
}

/** The file, null when there is none, or why it cannot be taken. */
async function readJunit(sandbox: Sandbox): Promise<Buffer | string | null> {
  try {
    return await sandbox.getFile(RUNNER_FILES.junit, MAX_JUNIT_BYTES);
  } catch (error) {
    // A results file over the limit is the candidate's doing; a daemon that does not answer is not.
    if (isNonRetryable(error)) return `: the results file is larger than ${MAX_JUNIT_BYTES} bytes`;
    throw error;
  }
}

const isNonRetryable = (error: unknown): boolean =>
  error instanceof Error && 'nonRetryable' in error && error.nonRetryable === true;

function lastWords(result: ExecResult): string {
  const lines = result.output
    .toString('utf8')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const error = lines.findLast((line) => /^(E\s+)?([\w.]*(Error|Exception)\b|ERROR|error:)/.test(line));
  const words = error ?? lines.at(-1);
  return words === undefined ? '' : `: ${words.slice(0, 400)}`;
}

/** Exit code against results: a disagreement is worth a word, grading decides what it means. */
function crossCheck(
  exitCode: number | null,
  tests: Readonly<Record<string, TestResult>>,
  collectionErrors: readonly CollectionError[],
): readonly string[] {
  const failures = Object.values(tests).filter(
    ({ status }) => status === 'failed' || status === 'error',
  ).length;
  const bad = failures + collectionErrors.length;
  if (exitCode === 0 && bad > 0) return [`The runner ended with code 0 although ${bad} results are failures`];
  if (exitCode === 1 && bad === 0) return ['The runner ended with code 1 although no result is a failure'];
  if (exitCode !== 0 && exitCode !== 1) return [`The runner ended with code ${exitCode}`];
  return [];
}

/** Files of a scope in which nothing ran, for the suite-ran check. */
export function silentFiles(scope: readonly string[], result: TestsResult): readonly string[] {
  const seen = new Set([
    ...Object.keys(result.tests).map(fileOfTest),
    ...result.collectionErrors.map(({ file }) => file),
  ]);
  return scope.filter((file) => !seen.has(file));
}

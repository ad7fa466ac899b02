// `npm test`: all set-up of a fresh machine, then types, lint and every test. Arguments after `--` go to vitest; with
// arguments that name files only those files' needs are set up, and types and lint are left out.
import { spawn } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunSummary } from '../test/support/summaryReporter.ts';
import { LAYERS, prepare, step, type Layer, type MissingLayer } from './testSetup.ts';

const args = process.argv.slice(2);
const root = join(import.meta.dirname, '..');
process.chdir(root);

const summary = await main();
process.stdout.write(`${summary.passed} passed, ${summary.failed} failed, ${summary.skipped} skipped\n`);
process.exitCode = summary.failed > 0 || summary.passed === 0 ? 1 : 0;

interface Totals {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

async function main(): Promise<Totals> {
  const startedAt = Date.now();
  const files = selectedFiles();
  const layers = LAYERS.filter((layer) => files.some((file) => layerOf(file) === layer));
  const missing = await prepare(layers);
  const failedChecks = args.length > 0 ? 0 : await check();
  note(`set-up and checks: ${seconds(Date.now() - startedAt)}`);
  const skips = await skippedLayers(missing);
  const left = layers.filter((layer) => !missing.some((entry) => entry.layer === layer));
  const ran = left.length === 0 ? null : await vitest(left);
  if (ran) print(ran);
  for (const skip of [...(ran?.skipped ?? []), ...skips]) note(`skipped: ${skip.test}: ${skip.reason}`);
  note(`whole run: ${seconds(Date.now() - startedAt)}`);
  return {
    passed: ran?.passed ?? 0,
    // where tests decide what lands, a layer that could not be set up has failed
    failed: (ran?.failed ?? 0) + failedChecks + (process.env['CI'] ? missing.length : 0),
    skipped: (ran?.skipped.length ?? 0) + skips.length,
  };
}

/** Test files that vitest's own filter (a part of the path) would take. */
function selectedFiles(): readonly string[] {
  const filters = args.filter((arg) => !arg.startsWith('-')).map((arg) => arg.replace(/:\d+$/, ''));
  const files = globSync('test/**/*.test.ts');
  const chosen = files.filter((file) => filters.some((filter) => join(root, file).includes(filter)));
  return chosen.length > 0 ? chosen : files; // values of options (`-t name`) name no file
}

function layerOf(file: string): Layer {
  return LAYERS.find((layer) => file.endsWith(`.${layer}.test.ts`)) ?? 'pure';
}

async function check(): Promise<number> {
  const results = [
    await step('Types', () => command('tsc', ['--noEmit'])),
    await step('Lint', () => command('npm', ['run', '-s', 'lint'])),
  ];
  return results.filter((failure) => failure !== null).length;
}

async function command(name: string, commandArgs: readonly string[]): Promise<string> {
  const code = await run(name, commandArgs, process.env);
  if (code !== 0) throw new Error(`${name} ${commandArgs.join(' ')} found errors (above)`);
  return 'clean';
}

async function vitest(layers: readonly Layer[]): Promise<RunSummary> {
  const dir = mkdtempSync(join(tmpdir(), 'repoforge-npm-test-'));
  const file = join(dir, 'summary.json');
  try {
    const projects = args.includes('--project') ? [] : layers.map((layer) => `--project=${layer}`);
    const reporters = ['--reporter=default', '--reporter=./test/support/summaryReporter.ts'];
    const code = await run('vitest', ['run', ...projects, ...reporters, ...args], {
      ...process.env,
      VITEST_SUMMARY: file,
    });
    const result = readSummary(file);
    // an exit code that no counted failure explains (a crash, a failed global set-up) is a failure of its own
    return code !== 0 && result.failed === 0 ? { ...result, failed: 1 } : result;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function readSummary(file: string): RunSummary {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as RunSummary;
  } catch {
    return { passed: 0, failed: 1, skipped: [], layers: [], slowest: [] };
  }
}

/** Every test of a layer that cannot run here, counted one by one. */
async function skippedLayers(
  missing: readonly MissingLayer[],
): Promise<readonly { readonly test: string; readonly reason: string }[]> {
  return missing.flatMap(({ layer, reason }) =>
    globSync(`test/**/*.${layer}.test.ts`).flatMap((file) =>
      // counted in the text: loading the file would need what is missing
      [...readFileSync(file, 'utf8').matchAll(/^\s*(?:it|test)(?:\.\w+)*(?:\(|`)/gm)].map((_, index) => ({
        test: `${file} #${index + 1}`,
        reason,
      })),
    ),
  );
}

function print(result: RunSummary): void {
  for (const layer of result.layers) {
    note(`layer ${layer.name}: ${layer.tests} tests in ${layer.files} files, ${seconds(layer.wallMs)}`);
  }
  for (const { test, ms } of result.slowest) note(`slow: ${seconds(ms)} ${test}`);
}

function run(name: string, commandArgs: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(name, commandArgs, { stdio: ['ignore', 'inherit', 'inherit'], env });
    // Ctrl-C reaches the child by itself; we stay to print the count. Other signals are for us alone: pass them on.
    const passOn = (signal: NodeJS.Signals): void => void (signal === 'SIGINT' || child.kill(signal));
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
    for (const signal of signals) process.on(signal, passOn);
    child.once('error', reject);
    child.once('close', (code) => {
      for (const signal of signals) process.off(signal, passOn);
      resolve(code ?? 1);
    });
  });
}

function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

import { availableParallelism, cpus, totalmem } from 'node:os';

/** What every bench prints: one figure with its unit, the machine it was taken on, and the runs behind it. */
export interface BenchReport {
  readonly bench: string;
  readonly figure: number | null;
  readonly unit: string;
  /** What the figure is, in one sentence. */
  readonly what: string;
  /** The design's target for the figure, for comparison; a bench never fails because of it. */
  readonly target: string;
  readonly machine: string;
  readonly runs: readonly Readonly<Record<string, number | string | null>>[];
  /** Further figures of the same runs; `--json` prints them beside the others. */
  readonly more: Readonly<Record<string, number | string | boolean | null>>;
}

/** The middle of the values (mean of the two middle ones); null for none. */
export function median(values: readonly number[]): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  const [low, high] = [sorted[Math.ceil(sorted.length / 2) - 1], sorted[Math.floor(sorted.length / 2)]];
  return low === undefined || high === undefined ? null : (low + high) / 2;
}

/** One line on the machine that figures were taken on. */
export function machineLine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  const memory = Math.round(totalmem() / 1024 ** 3);
  return `${availableParallelism()} cores (${model}), ${memory} GiB, ${process.platform} ${process.arch}, Node ${process.versions.node}`;
}

/** The report for scripts: every figure at the top level, by its own name. */
export const reportJson = ({ more, ...report }: BenchReport): Readonly<Record<string, unknown>> => ({
  ...report,
  ...more,
});

/** The report for people. */
export function reportText(report: BenchReport): string {
  const more = Object.entries(report.more).map(([name, value]) => `  ${name}: ${value}`);
  return [
    `${report.bench}: ${report.figure ?? 'nothing measured'} ${report.unit} (target: ${report.target})`,
    `  ${report.what}`,
    `  ${report.runs.length} runs on ${report.machine}`,
    ...more,
  ].join('\n');
}

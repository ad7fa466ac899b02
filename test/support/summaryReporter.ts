import { writeFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

/** What scripts/test.ts prints about a run; written to the file named by VITEST_SUMMARY. */
export interface RunSummary {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: readonly { readonly test: string; readonly reason: string }[];
  readonly layers: readonly {
    readonly name: string;
    readonly files: number;
    readonly tests: number;
    readonly wallMs: number;
  }[];
  readonly slowest: readonly { readonly test: string; readonly ms: number }[];
}

const SLOWEST = 5;

const span = new Map<string, { from: number; to: number }>();

function noteTime(module: TestModule): void {
  const now = Date.now();
  const known = span.get(module.project.name);
  span.set(module.project.name, { from: known?.from ?? now, to: now });
}

/** Counts every test once; a file that cannot be loaded, and an error outside every test, is one failure. */
function summarise(modules: readonly TestModule[], outsideErrors: number): RunSummary {
  const cases = modules.flatMap((module) =>
    [...module.children.allTests()].map((test) => ({ module, test })),
  );
  const failedCases = cases.filter(({ test }) => test.result().state === 'failed');
  const brokenFiles = modules.filter(
    (module) => !module.ok() && !failedCases.some((failed) => failed.module === module),
  );
  const nameOf = ({ module, test }: (typeof cases)[number]): string =>
    `${module.relativeModuleId} > ${test.fullName}`;
  const layers = [...new Set(modules.map((module) => module.project.name))].map((name) => {
    const { from, to } = span.get(name) ?? { from: 0, to: 0 };
    return {
      name,
      files: modules.filter((module) => module.project.name === name).length,
      tests: cases.filter(({ module }) => module.project.name === name).length,
      wallMs: to - from,
    };
  });
  return {
    passed: cases.filter(({ test }) => test.result().state === 'passed').length,
    failed: failedCases.length + brokenFiles.length + outsideErrors,
    skipped: cases.flatMap((entry) => {
      const result = entry.test.result();
      if (result.state !== 'skipped') return [];
      return [{ test: nameOf(entry), reason: result.note ?? entry.test.options.mode }];
    }),
    layers,
    slowest: cases
      .map((entry) => ({ test: nameOf(entry), ms: Math.round(entry.test.diagnostic()?.duration ?? 0) }))
      .toSorted((a, b) => b.ms - a.ms)
      .slice(0, SLOWEST),
  };
}

const reporter = (): Reporter => ({
  onTestModuleStart: noteTime,
  onTestModuleEnd: noteTime,
  onTestRunEnd(modules, errors) {
    const file = process.env['VITEST_SUMMARY'];
    if (file !== undefined) writeFileSync(file, JSON.stringify(summarise(modules, errors.length)));
  },
});

/** Vitest makes reporters with `new`; a function that returns an object serves. */
export default function SummaryReporter(): Reporter {
  return reporter();
}

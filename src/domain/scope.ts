/** Which test files a row runs: those of the test patch, then the base suite's up to a time budget. Pure. */
import type { RunRecord } from './runs.ts';
import { classifyPath } from './split.ts';
import { fileOfTest } from './testIds.ts';

/** Smallest step of the cost scale: below it, times are noise. */
const COST_STEP_MS = 250;

/**
 * Test files to hand to the runner: `testFiles` first, then every file of the base suite in which a test passed, sorted by
 * path, when the whole suite fits into the budget; else the cheapest ones until the budget is spent.
 *
 * Times waver, and a published row must not. So a suite is measured against *half* the budget (a suite between half and
 * the whole of it is still cut, but one that is well inside never changes), and costs are rounded up to 250 ms times a
 * power of two. What remains: a suite near half the budget, or a file near a power of two, may fall on either side on
 * another machine. Such a row differs in its scope, never in what its tests mean, and the scope is stored in the row.
 */
export function chooseScope(
  health: RunRecord,
  testFiles: readonly string[],
  budgetMs: number,
): readonly string[] {
  const first = [...new Set(testFiles)].sort();
  const costs = new Map<string, { totalMs: number; passed: boolean }>();
  for (const [id, test] of Object.entries(health.tests)) {
    const file = fileOfTest(id);
    // Doctests of sources and texts belong to whoever changes the sources: never in a scope.
    if (!file.endsWith('.py') || classifyPath(file) !== 'test' || first.includes(file)) continue;
    const cost = costs.get(file) ?? { totalMs: 0, passed: false };
    cost.totalMs += test.durationMs;
    cost.passed ||= test.status === 'passed';
    costs.set(file, cost);
  }
  const useful = [...costs].filter(([, cost]) => cost.passed);
  const totalMs = useful.reduce((sum, [, cost]) => sum + cost.totalMs, 0);
  if (totalMs <= budgetMs / 2) return [...first, ...useful.map(([file]) => file).sort()];
  return [...first, ...cheapest(useful, budgetMs)];
}

function cheapest(
  files: readonly (readonly [string, { readonly totalMs: number }])[],
  budgetMs: number,
): readonly string[] {
  const ranked = files
    .map(([file, cost]) => ({ file, stepMs: quantised(cost.totalMs) }))
    .sort((a, b) => a.stepMs - b.stepMs || (a.file < b.file ? -1 : 1));
  const chosen: string[] = [];
  let spentMs = 0;
  for (const { file, stepMs } of ranked) {
    spentMs += stepMs;
    if (spentMs > budgetMs) break;
    chosen.push(file);
  }
  return chosen.sort();
}

function quantised(costMs: number): number {
  let stepMs = COST_STEP_MS;
  while (stepMs < costMs) stepMs *= 2;
  return stepMs;
}

import type { RunRecord } from '../domain/runs.ts';
import { barChart } from './charts.ts';
import { formatDuration, html, type Html } from './html.ts';

type Durations = RunRecord['durations'];

/** Where container runs spent their time. Milliseconds; a median is over the runs. */
export interface TimeBreakdown {
  readonly runs: number;
  readonly totalMs: number;
  /** The test processes' part of it. */
  readonly testsMs: number;
  /** Median of a run's time outside its tests. */
  readonly overheadP50Ms: number;
  /** In the order of a run; `rest` is what no phase booked. */
  readonly phases: readonly { readonly phase: string; readonly totalMs: number; readonly p50Ms: number }[];
}

/** The order in which a run goes through its phases; a phase that is not named here comes last. */
const ORDER = ['startMs', 'treeMs', 'installMs', 'patchMs', 'testsMs', 'teardownMs'];

/** Adds up the phases of some runs; null for none. */
export function breakdownOf(runs: readonly Durations[]): TimeBreakdown | null {
  const [first] = runs;
  if (first === undefined) return null;
  const place = (name: string): number => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  const names = (Object.keys(first) as (keyof Durations)[])
    .filter((name) => name !== 'totalMs')
    .toSorted((a, b) => place(a) - place(b));
  const part = (phase: string, of: (run: Durations) => number) => ({
    phase,
    totalMs: total(runs.map(of)),
    p50Ms: middle(runs.map(of)),
  });
  const booked = (run: Durations): number => total(names.map((name) => run[name]));
  return {
    runs: runs.length,
    totalMs: total(runs.map((run) => run.totalMs)),
    testsMs: total(runs.map((run) => run.testsMs)),
    overheadP50Ms: middle(runs.map((run) => run.totalMs - run.testsMs)),
    phases: [
      ...names.map((name) => part(name.replace(/Ms$/, ''), (run) => run[name])),
      part('rest', (run) => Math.max(0, run.totalMs - booked(run))),
    ],
  };
}

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

/** Nearest-rank median. */
const middle = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.ceil(values.length / 2) - 1] ?? 0;

/** The part of the time that tests took, as a person reads it. */
export const testsShare = ({ testsMs, totalMs }: TimeBreakdown): string =>
  totalMs === 0 ? '–' : `${Math.round((100 * testsMs) / totalMs)} %`;

/** The breakdown as plot and table: tests against everything around them. */
export function breakdownSection(breakdown: TimeBreakdown | null): Html {
  if (breakdown === null) return html`<p class="soft">No container run left its times.</p>`;
  const { phases, totalMs, testsMs, runs, overheadP50Ms } = breakdown;
  return html`<p>
      ${runs} container runs took ${formatDuration(totalMs)}: ${formatDuration(testsMs)} in tests
      (${testsShare(breakdown)}), ${formatDuration(totalMs - testsMs)} around them; median around one run
      ${formatDuration(overheadP50Ms)}.
    </p>
    ${barChart(
      'Time of container runs by phase',
      phases.map(({ phase, totalMs: value }) => ({ name: phase, value, text: formatDuration(value) })),
    )}
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Phase of a run</th>
            <th class="number">Median</th>
            <th class="number">In all</th>
            <th class="number">Share</th>
          </tr>
        </thead>
        <tbody>
          ${phases.map(
            (row) =>
              html`<tr>
                <td>${row.phase}</td>
                <td class="number">${formatDuration(row.p50Ms)}</td>
                <td class="number">${formatDuration(row.totalMs)}</td>
                <td class="number">
                  ${totalMs === 0 ? '–' : `${((100 * row.totalMs) / totalMs).toFixed(1)} %`}
                </td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}

import type { EvaluationOrigin, Verdict } from '../domain/verdicts.ts';
import { breakdownSection, type TimeBreakdown } from './breakdown.ts';
import { barChart } from './charts.ts';
import type { RunTimes } from './evaluationTimes.ts';
import { formatDuration, html, page, type Html } from './html.ts';

interface TestLists {
  readonly success: readonly string[];
  readonly failure: readonly string[];
}

/** What an evaluation run's page shows; only rendered here. */
export interface EvaluationReport {
  readonly runId: string;
  /** Path of the dataset. */
  readonly dataset: string;
  readonly createdAt: string;
  readonly time: TimeBreakdown | null;
  readonly times: RunTimes | null;
  readonly evaluations: readonly {
    readonly instanceId: string;
    readonly model: string;
    readonly verdict: Verdict;
    readonly graded: number | null;
    readonly failToPass: TestLists;
    readonly passToPass: TestLists;
    readonly origin: EvaluationOrigin;
    /** null when this run executed nothing. */
    readonly testsMs: number | null;
    readonly totalMs: number | null;
    /** Folder of logs, relative to the page; null when there are none. */
    readonly logs: string | null;
  }[];
}

const MAX_ROWS = 2_000; // a page of tens of thousands opens in no browser; repoforge.json has them all
const ORIGINS: Readonly<Record<EvaluationOrigin, string>> = {
  executed: 'executed',
  served: 'served',
  not_run: 'nothing to run',
  infra: 'not graded',
};

const percent = (part: number): string => `${Math.round(100 * part)} %`;

/** The page of an evaluation run: how it went, where its time went, and each evaluation. */
export function evaluationPage(report: EvaluationReport): string {
  const { evaluations } = report;
  const verdicts = [...Map.groupBy(evaluations, ({ verdict }) => verdict.verdict)];
  return page(
    `RepoForge – ${report.runId}`,
    html`<h1>${report.runId}</h1>
      <p class="soft">Started ${report.createdAt} on <code>${report.dataset}</code>.</p>
      ${headline(report)}
      <h2 id="verdicts">Verdicts</h2>
      ${barChart(
        'Evaluations by verdict',
        verdicts.map(([name, group]) => ({ name, value: group.length, text: String(group.length) })),
      )}
      <h2 id="time">Where the time goes</h2>
      ${parallel(report.times)} ${breakdownSection(report.time)}
      <h2 id="evaluations">Evaluations</h2>
      ${table(report)}`,
  );
}

function headline({ evaluations, time, times }: EvaluationReport): Html {
  const graded = evaluations.filter(({ verdict }) => verdict.verdict !== 'infra');
  const resolved = graded.filter(({ verdict }) => verdict.verdict === 'resolved').length;
  const from = (wanted: EvaluationOrigin): number =>
    evaluations.filter(({ origin }) => origin === wanted).length;
  const cards: readonly (readonly [string, string])[] = [
    [
      graded.length === 0 ? '–' : percent(resolved / graded.length),
      `resolved (${resolved}/${graded.length} graded)`,
    ],
    [String(from('executed')), `executed, ${from('served')} served, ${from('not_run')} with nothing to run`],
    [String(evaluations.length - graded.length), 'not graded: infrastructure failed'],
    [times === null ? '–' : formatDuration(times.wallMs), 'wall time of what was executed'],
    [
      times === null ? '–' : percent(times.efficiency),
      `parallel efficiency${times === null ? '' : ` on ${times.slots} slots`}`,
    ],
    [time === null ? '–' : formatDuration(time.overheadP50Ms), 'median around the tests of one run'],
  ];
  return html`<ul class="cards">
    ${cards.map(([figure, words]) => html`<li><b>${figure}</b><span>${words}</span></li>`)}
  </ul>`;
}

function parallel(times: RunTimes | null): Html {
  if (times === null) return html`<p class="soft">Nothing was executed in this run.</p>`;
  return html`<p>
    Up to ${times.slots} evaluations at once, slots busy ${percent(times.busy)} of
    ${formatDuration(times.wallMs)}. The tests as they ran here need at least ${formatDuration(times.limitMs)}
    on so many slots (the longest, or their sum shared out): ${percent(times.efficiency)} of the wall time.
  </p>`;
}

function table({ evaluations }: EvaluationReport): Html {
  const failed = ({ success, failure }: TestLists): string =>
    `${success.length}/${success.length + failure.length}`;
  const time = (ms: number | null): string => (ms === null ? '–' : formatDuration(ms));
  return html`<div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Instance</th>
            <th>Model</th>
            <th>Verdict</th>
            <th class="number">F2P</th>
            <th class="number">P2P</th>
            <th>How</th>
            <th class="number">Tests</th>
            <th class="number">Around</th>
          </tr>
        </thead>
        <tbody>
          ${evaluations.slice(0, MAX_ROWS).map(
            (one) =>
              html`<tr>
                <td>
                  ${one.logs === null ? one.instanceId : html`<a href="${encodeURI(one.logs)}">${one.instanceId}</a>`}
                </td>
                <td>${one.model}</td>
                <td class="${one.verdict.verdict === 'resolved' ? 'good' : 'bad'}">
                  ${wordsOf(one.verdict)}
                </td>
                <td class="number">${failed(one.failToPass)}</td>
                <td class="number">${failed(one.passToPass)}</td>
                <td>${ORIGINS[one.origin]}</td>
                <td class="number">${time(one.testsMs)}</td>
                <td class="number">
                  ${time(one.totalMs === null ? null : one.totalMs - (one.testsMs ?? 0))}
                </td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${evaluations.length > MAX_ROWS ? html`<p class="soft">${evaluations.length - MAX_ROWS} more in repoforge.json.</p>` : ''}`;
}

const wordsOf = (verdict: Verdict): string =>
  'reason' in verdict ? `${verdict.verdict}: ${verdict.reason}` : verdict.verdict;

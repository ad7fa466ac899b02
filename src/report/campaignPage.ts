import { breakdownSection, testsShare } from './breakdown.ts';
import { barChart } from './charts.ts';
import { formatBytes, formatDuration, html, page, type Html } from './html.ts';
import { instanceFile } from './instancePage.ts';
import type { CampaignReport } from './model.ts';

const percent = (part: number, whole: number): string =>
  whole === 0 ? '–' : `${Math.round((100 * part) / whole)} %`;

/** The campaign's first page: what was found, what was refused and why, what it cost. */
export function campaignPage(report: CampaignReport): string {
  return page(
    `RepoForge – ${report.campaign}`,
    html`<h1>${report.campaign}</h1>
      <p class="soft">
        ${report.finished ? 'Campaign finished.' : 'Campaign still running: this is what it has so far.'}
      </p>
      ${headline(report)}
      <h2 id="funnel">Funnel</h2>
      ${barChart(
        'Candidates that reached each stage',
        report.funnel.map((row) => ({ name: row.stage, value: row.count, text: String(row.count) })),
      )}
      <h2 id="rejections">Rejections</h2>
      ${rejections(report)}
      <h2 id="storage">Storage</h2>
      ${storage(report)}
      <h2 id="durations">Durations per stage</h2>
      ${durations(report)}
      <h2 id="time">Where the time goes</h2>
      <p class="soft">Container runs of the published instances: validation's, from health to gold.</p>
      ${breakdownSection(report.time)}
      <h2 id="difficulty">Difficulty</h2>
      ${difficulty(report)}
      <h2 id="instances">Instances</h2>
      ${instances(report)}`,
  );
}

function headline(report: CampaignReport): Html {
  const cards: readonly (readonly [string, string])[] = [
    [String(report.instances.length), 'published instances'],
    [String(report.rejections.reduce((sum, row) => sum + row.count, 0)), 'rejected candidates'],
    [
      percent(report.gold.resolved, report.gold.total),
      `gold resolved (${report.gold.resolved}/${report.gold.total})`,
    ],
    [
      percent(report.nop.resolved, report.nop.total),
      `nop resolved (${report.nop.resolved}/${report.nop.total})`,
    ],
    [
      report.uniqueBytesPerInstance === null ? '–' : formatBytes(report.uniqueBytesPerInstance),
      'unique bytes per instance',
    ],
    [
      report.environments.p50Ms === null ? '–' : formatDuration(report.environments.p50Ms),
      `median environment (${report.environments.count})`,
    ],
    [
      report.instances.length === 0
        ? '–'
        : (report.publishedEnvironments / report.instances.length).toFixed(2),
      `environments per instance (${report.publishedEnvironments} for ${report.instances.length})`,
    ],
    [
      report.time === null ? '–' : testsShare(report.time),
      'of the published instances’ container time in tests',
    ],
    [
      String(report.runs.executed),
      `container runs executed, ${report.runs.served} served; at most ${report.runs.maxPerPublished} per published instance`,
    ],
  ];
  return html`<ul class="cards">
    ${cards.map(([figure, words]) => html`<li><b>${figure}</b><span>${words}</span></li>`)}
  </ul>`;
}

function rejections(report: CampaignReport): Html {
  if (report.rejections.length === 0) return html`<p class="soft">No candidate was rejected.</p>`;
  return html`<div class="scroll">
    <table>
      <thead>
        <tr>
          <th>Reason</th>
          <th class="number">Count</th>
          <th>For example</th>
        </tr>
      </thead>
      <tbody>
        ${report.rejections.map(
          (row) =>
            html`<tr>
              <td><code>${row.reason}</code></td>
              <td class="number">${row.count}</td>
              <td>
                ${row.examples.map((example) => html`<div><b>${example.instanceId}</b>: ${example.detail}</div>`)}
              </td>
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

function storage(report: CampaignReport): Html {
  const pruned = report.environments.fullBytes - report.environments.prunedBytes;
  return html`${
      report.storage === null
        ? html`<p class="soft">The package store could not be measured (no Docker daemon).</p>`
        : html`<div class="scroll">
            <table>
              <thead>
                <tr>
                  <th>What</th>
                  <th class="number">Bytes</th>
                  <th>Note</th>
                </tr>
              </thead>
              <tbody>
                ${report.storage.map(
                  (row) =>
                    html`<tr>
                      <td>${row.what}</td>
                      <td class="number">${formatBytes(row.bytes)}</td>
                      <td class="soft">${row.note}</td>
                    </tr>`,
                )}
              </tbody>
            </table>
          </div>`
    }
    <p>
      ${report.environments.count} environments; pruning by rule took ${formatBytes(Math.max(0, pruned))} of
      ${formatBytes(report.environments.fullBytes)}
      (${percent(Math.max(0, pruned), report.environments.fullBytes)}).
    </p>
    ${exceptions(report)}`;
}

/** Environments that pruning would have changed. */
function exceptions({ environments }: CampaignReport): Html {
  if (environments.exceptions.length === 0)
    return html`<p class="soft">No pruned environment behaved differently from its full variant.</p>`;
  return html`<p>Used in full, since the pruned variant behaved differently:</p>
    <ul>
      ${environments.exceptions.map(
        ({ key, detail }) => html`<li><code>${key.slice(0, 12)}</code> ${detail}</li>`,
      )}
    </ul>`;
}

function durations(report: CampaignReport): Html {
  return html`${barChart(
      'Median duration of each stage',
      report.durations.map((row) => ({ name: row.stage, value: row.p50Ms, text: formatDuration(row.p50Ms) })),
    )}
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Stage</th>
            <th class="number">Count</th>
            <th class="number">Median</th>
            <th class="number">p90</th>
            <th class="number">Max</th>
          </tr>
        </thead>
        <tbody>
          ${report.durations.map(
            (row) =>
              html`<tr>
                <td>${row.stage}</td>
                <td class="number">${row.count}</td>
                <td class="number">${formatDuration(row.p50Ms)}</td>
                <td class="number">${formatDuration(row.p90Ms)}</td>
                <td class="number">${formatDuration(row.maxMs)}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}

const DIMENSIONS = [
  ['issue_clarity', 'Issue clarity'],
  ['test_fairness', 'Test fairness'],
  ['effort', 'Effort'],
] as const;

function difficulty(report: CampaignReport): Html {
  const labelers = [...new Set(report.instances.map((instance) => instance.labels.labeler))];
  return html`<p class="soft">
      Scores run from 0 (good, little effort) to 3. Labelled by
      ${labelers.join(', ') || 'nobody yet'}.${
        report.labelCost === null
          ? ''
          : ` ${Math.round(report.labelCost.tokensPer1000).toLocaleString('en')} tokens per 1,000 instances${report.labelCost.usdPer1000 === null ? '' : `, $${report.labelCost.usdPer1000.toFixed(2)}`}.`
      }
    </p>
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Label</th>
            ${[0, 1, 2, 3].map((score) => html`<th class="number">${score}</th>`)}
            <th class="number">Controversial</th>
          </tr>
        </thead>
        <tbody>
          ${DIMENSIONS.map(
            ([key, words]) =>
              html`<tr>
                <td>${words}</td>
                ${[0, 1, 2, 3].map((score) => html`<td class="number">${report.instances.filter((instance) => instance.labels[key].score === score).length}</td>`)}
                <td class="number">
                  ${report.instances.filter((instance) => instance.labels[key].controversial).length}
                </td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}

function instances(report: CampaignReport): Html {
  if (report.instances.length === 0) return html`<p class="soft">No instance has been published.</p>`;
  return html`<div class="scroll">
    <table>
      <thead>
        <tr>
          <th>Instance</th>
          <th class="number">F2P</th>
          <th class="number">P2P</th>
          <th>Clarity / tests / effort</th>
          <th>Gold</th>
          <th>Nop</th>
        </tr>
      </thead>
      <tbody>
        ${report.instances.map(
          (instance) =>
            html`<tr>
              <td><a href="${instanceFile(instance.instanceId)}">${instance.instanceId}</a></td>
              <td class="number">${instance.failToPass.length}</td>
              <td class="number">${instance.passToPass.length}</td>
              <td>
                ${instance.labels.issue_clarity.score} / ${instance.labels.test_fairness.score} /
                ${instance.labels.effort.score}
              </td>
              <td class="${instance.gold === 'resolved' ? 'good' : 'bad'}">${instance.gold}</td>
              <td class="${instance.nop === 'resolved' ? 'bad' : 'good'}">${instance.nop}</td>
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

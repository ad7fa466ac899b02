import { formatDuration, html, page, type Html } from './html.ts';
import type { InstanceReport } from './model.ts';

/** Diffs longer than this are cut on the page; the dataset has them whole. */
const MAX_DIFF_LINES = 4_000;

/** Path of an instance's page, relative to the campaign's page. Ids are safe file names already. */
export const instanceFile = (instanceId: string): string =>
  `instances/${encodeURIComponent(instanceId)}.html`;

export function instancePage(campaign: string, instance: InstanceReport): string {
  return page(
    `${instance.instanceId} – ${campaign}`,
    html`<p><a href="../index.html">← ${campaign}</a></p>
      <h1>${instance.instanceId}</h1>
      <p class="soft">
        ${instance.repo}${instance.version === '' ? '' : ` ${instance.version}`},
        ${instance.createdAt.slice(0, 10)}, licence ${instance.license ?? 'unknown'}; Python
        ${instance.environment.runtime}, packages as of ${instance.environment.cutoff.slice(0, 10)},
        environment
        <code>${instance.environment.key.slice(0, 12)}</code
        >${instance.environment.variant === 'full' ? ' (not pruned)' : ''}.
      </p>
      <h2 id="problem">Problem</h2>
      <pre class="text">${instance.problemStatement}</pre>
      <h2 id="labels">Labels</h2>
      ${labels(instance)}
      <h2 id="patch">Gold patch</h2>
      ${diff(instance.patch)}
      <h2 id="test-patch">Test patch</h2>
      ${diff(instance.testPatch)}
      <h2 id="tests">Tests</h2>
      ${ids('FAIL_TO_PASS', instance.failToPass, true)}
      ${instance.collectionFailToPass.length === 0 ? '' : ids('of these, by a file that cannot be collected before', instance.collectionFailToPass, false)}
      ${ids('PASS_TO_PASS', instance.passToPass, false)}
      ${instance.quarantined.length === 0 ? '' : ids('Quarantined (wavering)', instance.quarantined, false)}
      <h2 id="runs">Runs</h2>
      ${runs(instance)}`,
  );
}

function labels(instance: InstanceReport): Html {
  const rows = [
    ['Issue clarity', instance.labels.issue_clarity],
    ['Test fairness', instance.labels.test_fairness],
    ['Effort', instance.labels.effort],
  ] as const;
  return html`<div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Label</th>
            <th class="number">Score</th>
            <th>Votes</th>
            <th>Why</th>
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            ([name, label]) =>
              html`<tr>
                <td>${name}</td>
                <td class="number">${label.score}</td>
                <td>
                  ${label.votes.join(', ') || label.method}${label.controversial ? ' (controversial)' : ''}
                </td>
                <td>${label.rationale}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <p class="soft">Labeller: ${instance.labels.labeler}</p>`;
}

/** A unified diff with added and removed lines coloured. */
export function diff(text: string): Html {
  const lines = text.replace(/\n$/, '').split('\n');
  const shown = lines.slice(0, MAX_DIFF_LINES).map((line) => {
    const kind =
      line.startsWith('@@') || line.startsWith('diff ')
        ? 'hunk'
        : line.startsWith('+')
          ? 'add'
          : line.startsWith('-')
            ? 'del'
            : '';
    return kind === '' ? html`${line} ` : html`<span class="${kind}">${line} </span>`;
  });
  return html`<pre>${shown}</pre>
    ${lines.length > MAX_DIFF_LINES ? html`<p class="soft">${lines.length - MAX_DIFF_LINES} more lines in dataset.jsonl.</p>` : ''}`;
}

const ids = (title: string, list: readonly string[], open: boolean): Html =>
  html`<details${open ? html` open` : ''}><summary>${title}: ${list.length}</summary><ul class="ids">${list.map((id) => html`<li>${id}</li>`)}</ul></details>`;

function runs(instance: InstanceReport): Html {
  return html`${instance.runs.map(
    (run) =>
      html`<details>
        <summary>
          <b>${run.name}</b>: ${run.outcome}, ${run.passed} passed, ${run.failed} failed,
          ${formatDuration(run.totalMs)}
        </summary>
        <pre class="text">${run.logTail || 'No log was kept.'}</pre>
      </details>`,
  )}`;
}

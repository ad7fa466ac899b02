import { formatDuration, html, page, type Html } from './html.ts';
import { bubbleCharts, rewardCharts, throughputCharts, trainerCharts } from './rlCurves.ts';
import { gantt } from './rlGantt.ts';
import type { RlReport } from './rlModel.ts';
import { RL_STYLE } from './rlStyle.ts';
import {
  bubbleTable,
  decimals,
  endTable,
  fateTable,
  optionTable,
  share,
  stepTable,
  table,
} from './rlTables.ts';
import { trajectoryFile, type TrajectoryView } from './rlTrajectoryPage.ts';
import { NUMBER, rowsOfNumbers } from './rlWords.ts';

/** The page of a training run: what was learned, how stale, how idle, and what became of every group. */
export function rlPage(report: RlReport, trajectories: readonly TrajectoryView[]): string {
  const { options } = report;
  return page(
    `RepoForge – ${report.run}`,
    html`<h1>${report.run}</h1>
      <p class="soft">${opening(report)}</p>
      ${warnings(report)} ${headline(report)}
      <h2 id="reward">Reward and staleness</h2>
      ${rewardCharts(report)}
      <p class="soft">
        Finished: all episodes that ended since the step before, those of dropped groups too. Trained:
        episodes of the step's batch. Staleness: versions between what sampled an episode's oldest token and
        what trained on it; at most ${options.maxStaleness}
        here${options.stale === 'drop' ? ', older groups are dropped' : ', a step waits rather'}.
      </p>
      <h2 id="bubbles">Bubbles: who stood idle, and why</h2>
      ${bubbleTable(report)} ${bubbleCharts(report)}
      <h2 id="timeline">Timeline</h2>
      ${gantt(
        report.log,
        report.total.servers.map(({ server }) => server),
      )}
      <h2 id="throughput">Throughput</h2>
      ${throughputCharts(report)}
      <h2 id="trainer">Trainer</h2>
      ${trainerCharts(report)}
      <h2 id="groups">Groups and episodes</h2>
      ${fateTable(report)} ${endTable(report)}
      <h2 id="trajectories">Trajectories</h2>
      ${trajectoryTable(trajectories)}
      <h2 id="steps">Steps and options</h2>
      ${stepTable(report)} ${optionTable(report)}`,
    RL_STYLE,
  );
}

function opening(report: RlReport): Html {
  const { options, state, note, startedMs } = report;
  const began =
    startedMs === null
      ? ''
      : ` Began ${new Date(startedMs).toISOString().replace('T', ' ').slice(0, 16)} UTC.`;
  const how = options.lora === null ? 'all parameters' : `LoRA of rank ${options.lora.rank}`;
  return html`State: <b>${state}</b>${note === '' ? '' : html` (${note})`}.${began} Agent ${options.agent},
    ${options.groupsPerStep} × ${options.groupSize} episodes a step, ${how}, S = ${options.maxStaleness}, on
    <code>${report.manifest.dataset}</code
    >.${options.permuteRewards ? html` <b>A control: rewards are permuted within each batch.</b>` : ''}`;
}

function warnings({ missing, unreadable }: RlReport): Html {
  return html`${missing.length === 0 ? '' : html`<p class="warning">There is no record of ${rowsOfNumbers(missing)}: the curves have a gap there, and the sums leave ${missing.length === 1 ? 'it' : 'them'} out.</p>`}
  ${unreadable === 0 ? '' : html`<p class="warning">${unreadable} trajectories were not in the store: their requests are missing from the servers' times, and servers look idler than they were.</p>`}`;
}

function headline(report: RlReport): Html {
  const { figures, options, wallMs, verdicts } = report;
  const pace = (value: number | null): string => (value === null ? '–' : NUMBER.format(value));
  const cards: readonly (readonly [string, string])[] = [
    [
      `${decimals(figures.reward_first, 2)} → ${decimals(figures.reward_last, 2)}`,
      'mean reward of the first and of the last ten steps',
    ],
    ...(figures.held_out_last === null
      ? []
      : [[decimals(figures.held_out_last, 2), 'on held-out instances, the last score'] as const]),
    [`${figures.steps} / ${options.steps}`, `steps in ${formatDuration(wallMs)}`],
    [share(figures.bubble), 'bubble ratio: mean idle time of trainer and servers'],
    [`${figures.staleness_max ?? '–'}`, `largest staleness; the bound is ${options.maxStaleness}`],
    ...(figures.parity_max === null
      ? []
      : [
          [
            figures.parity_max.toExponential(1),
            'largest difference of log-probabilities between servers and trainer',
          ] as const,
        ]),
    [pace(figures.steps_per_hour), 'steps per hour'],
    [
      `${pace(figures.tokens_per_s_sampled)} / ${pace(figures.tokens_per_s_trained)}`,
      'tokens per second, sampled and trained',
    ],
    [share(figures.tokens_wasted), 'of the sampled tokens were dropped with their groups'],
    [
      verdicts === null ? '–' : `${NUMBER.format(verdicts.executed)} / ${NUMBER.format(verdicts.served)}`,
      'verdicts by containers, and served from the store',
    ],
  ];
  return html`<ul class="cards">
    ${cards.map(([figure, words]) => html`<li><b>${figure}</b><span>${words}</span></li>`)}
  </ul>`;
}

function trajectoryTable(views: readonly TrajectoryView[]): Html {
  if (views.length === 0) return html`<p class="soft">No trajectory can be read yet.</p>`;
  return table(
    ['Sample', 'Episode', 'Instance', '#Reward', 'End', '#Turns', '#Tokens', 'Group'],
    views.map((view) => [
      view.why,
      html`<a href="${trajectoryFile(view)}">${view.trajectory.group} / ${view.episode.member}</a>`,
      view.trajectory.instanceId,
      view.episode.reward,
      html`<code>${view.episode.end}</code>`,
      view.episode.turns,
      NUMBER.format(view.episode.sampledTokens),
      view.fate,
    ]),
  );
}

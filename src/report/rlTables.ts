import { SERVER_CAUSES, TRAINER_CAUSES, idleShare } from '../domain/rl/intervals.ts';
import { metricText } from '../domain/rl/details.ts';
import type { GroupFate } from '../domain/rl/timeline.ts';
import { formatDuration, html, type Html } from './html.ts';
import type { FateRow, RlReport } from './rlModel.ts';
import { NUMBER, SERVER_WORDS, TRAINER_WORDS, idleShares, percent, serverName } from './rlWords.ts';

/** The tables of a training run's page. */

const STEP_ROWS = 200; // newest; `steps/` of the run's records has them all

type Cell = Html | string | number | null;

/** A table that scrolls by itself where it is too wide. Columns that start with `#` hold numbers. */
export function table(columns: readonly string[], rows: readonly (readonly Cell[])[]): Html {
  const kind = columns.map((name) => (name.startsWith('#') ? 'number' : ''));
  return html`<div class="scroll">
    <table>
      <thead>
        <tr>
          ${columns.map((name, index) => html`<th class="${kind[index]}">${name.replace(/^#/, '')}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) =>
            html`<tr>
              ${row.map((value, index) => html`<td class="${kind[index]}">${value === null ? '–' : value}</td>`)}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

export const share = (value: number | null): string => (value === null ? '–' : percent(value));
export const decimals = (value: number | null, digits = 3): string =>
  value === null ? '–' : value.toFixed(digits);

/** Idle time of each resource by cause, over the steps whose figures are final. */
export function bubbleTable({ total }: RlReport): Html {
  return table(
    ['Resource', '#Idle', 'Of what', '#Requests in flight'],
    [
      [
        'trainer',
        share(idleShare(total.trainer)),
        causes(idleShares(total.trainer, TRAINER_CAUSES, TRAINER_WORDS)),
        null,
      ],
      ...total.servers.map((use) => [
        html`<code>${serverName(use.server)}</code>`,
        share(idleShare(use)),
        causes(idleShares(use, SERVER_CAUSES, SERVER_WORDS)),
        use.occupancy.toFixed(1),
      ]),
    ],
  );
}

const causes = (shares: ReturnType<typeof idleShares>): Html =>
  html`<ul class="legend">
    ${shares.map(({ short, long, color, share: part }) => html`<li title="${long}"><i style="background:${color}"></i>${short} ${part}</li>`)}
  </ul>`;

const FATE_NAMES: Readonly<Record<GroupFate, string>> = {
  trained: 'trained',
  no_variance: 'dropped: all rewards equal',
  infra: 'dropped: infrastructure',
  overlong: 'dropped: every episode overlong',
  stale: 'dropped: stale',
};

export function fateTable(report: RlReport): Html {
  const tokens = report.fates.reduce((sum, row) => sum + row.tokens, 0);
  return html`${table(
    ['Groups', '#Count', '#Tokens', '#Of all', '#Tokens per episode', '#Mean reward', '#Mean time'],
    report.fates
      .filter(({ fate, groups }) => groups > 0 || fate === 'trained')
      .map((row) => [
        FATE_NAMES[row.fate],
        row.groups,
        NUMBER.format(row.tokens),
        share(tokens === 0 ? null : row.tokens / tokens),
        row.tokensPerEpisode === null ? null : NUMBER.format(row.tokensPerEpisode),
        decimals(row.meanReward),
        row.meanMs === null ? null : formatDuration(row.meanMs),
      ]),
  )}
  ${lengthBias(report.fates)}`;
}

/** What dropping stale groups does to the lengths that are trained. */
function lengthBias(fates: readonly FateRow[]): Html | '' {
  const trained = fates.find(({ fate }) => fate === 'trained')?.tokensPerEpisode ?? null;
  const stale = fates.find(({ fate }) => fate === 'stale')?.tokensPerEpisode ?? null;
  if (trained === null || stale === null || trained === 0) return '';
  const ratio = stale / trained;
  return html`<p>
    Length bias: an episode that was dropped as stale has ${NUMBER.format(stale)} tokens, a trained one
    ${NUMBER.format(trained)} (${ratio.toFixed(2)} times as
    many${ratio > 1.05 ? ': what is trained is shorter than what was sampled' : ''}).
  </p>`;
}

export const endTable = ({ ends }: RlReport): Html =>
  ends.length === 0
    ? html`<p class="soft">No episode has ended yet.</p>`
    : table(
        ['Episodes that ended by', '#Count', '#Mean reward', '#Mean tokens', '#Mean turns'],
        ends.map(({ end, episodes, meanReward, meanTokens, meanTurns }) => [
          html`<code>${end}</code>`,
          episodes,
          decimals(meanReward),
          NUMBER.format(meanTokens),
          meanTurns.toFixed(1),
        ]),
      );

export function stepTable({ steps }: RlReport): Html {
  const rows = steps.slice(-STEP_ROWS).toReversed();
  return html`<details>
    <summary>
      ${steps.length} steps${steps.length > STEP_ROWS ? `, the last ${STEP_ROWS} of them` : ''}
    </summary>
    ${table(
      [
        '#Step',
        '#Reward',
        '#Trained',
        'Staleness',
        '#Tokens',
        '#Bubble',
        '#Mismatch KL',
        '#Clipped',
        '#Entropy',
        '#Gradient',
        '#Forks',
        '#Time',
      ],
      rows.map((step) => [
        step.step,
        step.reward.toFixed(3),
        step.trainedReward.toFixed(3),
        `${step.staleness.min} / ${step.staleness.mean.toFixed(2)} / ${step.staleness.max}`,
        NUMBER.format(step.tokens),
        `${share(step.bubble)}${step.settled ? '' : ' *'}`,
        metricText(step, 'mismatch_kl'),
        metricText(step, 'clip_fraction'),
        metricText(step, 'entropy'),
        metricText(step, 'gradient_norm'),
        step.forks,
        formatDuration(step.wallMs),
      ]),
    )}
    ${rows.some(({ settled }) => !settled) ? html`<p class="soft">* Not final: groups of this time still ran when the last step was recorded, and what they asked of the servers is not known yet.</p>` : ''}
  </details>`;
}

/** Every option by its name, nested ones with a dot. */
export function optionTable({ options, manifest }: RlReport): Html {
  const flat = (value: unknown, name: string): readonly (readonly Cell[])[] =>
    typeof value === 'object' && value !== null
      ? Object.entries(value).flatMap(([key, inner]) => flat(inner, name === '' ? key : `${name}.${key}`))
      : [[html`<code>${name}</code>`, String(value)]];
  return html`<details>
    <summary>All options</summary>
    ${table(
      ['Option', 'Value'],
      [
        ['dataset', html`<code>${manifest.dataset}</code>`],
        ['model', html`<code>${manifest.model}</code>`],
        ['instances', `${manifest.prompts.length}, ${manifest.heldOut.length} held out`],
        ['servers', html`<code>${manifest.servers.join(', ')}</code>`],
        ['trainer', html`<code>${manifest.trainer}</code>`],
        ...flat(options, ''),
      ],
    )}
  </details>`;
}

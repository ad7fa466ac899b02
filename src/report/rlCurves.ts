import { SERVER_CAUSES, TRAINER_CAUSES } from '../domain/rl/intervals.ts';
import type { ResourceUse } from '../domain/rl/intervals.ts';
import { html, type Html } from './html.ts';
import { lineChart, stackChart, type Curve } from './rlCharts.ts';
import { MOVING_STEPS, type RlReport, type StepRow } from './rlModel.ts';
import { settledUses, type StepUse } from './rlTimes.ts';
import { SERVER_WORDS, TRAINER_WORDS, serverName } from './rlWords.ts';
import type { KindWords } from './rlWords.ts';

/** The curves of a training run, one function for each section of its page. */

const BLUE = '#2f6fd0';
const GREEN = '#1f8a4c';
const ORANGE = '#d9772b';
const PURPLE = '#8860c9';
const MAX_SERVER_CHARTS = 4;

/** Values by step, with a gap at each step that has no record. */
function pointsOf(report: RlReport, value: (step: StepRow) => number | null): Curve['points'] {
  const known = report.steps.map((step) => [step.step, finite(value(step))] as const);
  return [...known, ...report.missing.map((step) => [step, null] as const)].toSorted((a, b) => a[0] - b[0]);
}
const finite = (value: number | null): number | null =>
  value !== null && Number.isFinite(value) ? value : null;

export const rewardCharts = (report: RlReport): Html =>
  html`<div class="charts">
    ${lineChart(
      'Reward',
      [
        {
          name: 'finished episodes',
          color: BLUE,
          look: 'faint',
          points: pointsOf(report, ({ reward }) => reward),
        },
        {
          name: `mean of ${MOVING_STEPS} steps`,
          color: BLUE,
          look: 'bold',
          points: pointsOf(report, ({ movingReward }) => movingReward),
        },
        {
          name: 'trained episodes',
          color: ORANGE,
          look: 'faint',
          points: pointsOf(report, ({ trainedReward }) => trainedReward),
        },
        ...(report.heldOut.length === 0
          ? []
          : [
              {
                name: 'held-out',
                color: GREEN,
                look: 'dots' as const,
                points: report.heldOut.map(({ step, reward }) => [step, reward] as const),
              },
            ]),
      ],
      rewardScale(report),
    )}
    ${stalenessChart(report)}
  </div>`;

/** Rewards between 0 and 1 are drawn on that scale, so that a small rise looks small. */
const rewardScale = ({ steps }: RlReport): { readonly min?: number; readonly max?: number } =>
  steps.every(
    ({ reward, trainedReward }) =>
      Math.min(reward, trainedReward) >= 0 && Math.max(reward, trainedReward) <= 1,
  )
    ? { min: 0, max: 1 }
    : {};

function stalenessChart(report: RlReport): Html {
  const bound = report.options.maxStaleness;
  return lineChart(
    'Staleness',
    [
      { name: 'most', color: ORANGE, points: pointsOf(report, ({ staleness }) => staleness.max) },
      {
        name: 'mean',
        color: BLUE,
        look: 'bold',
        points: pointsOf(report, ({ staleness }) => staleness.mean),
      },
      { name: `bound ${bound}`, color: '#c22b21', look: 'dashed', points: pointsOf(report, () => bound) },
    ],
    {
      min: 0,
      whole: true,
      max: Math.max(bound + 1, ...report.steps.map(({ staleness }) => staleness.max)),
      band: {
        name: 'least to most',
        color: BLUE,
        points: report.steps.map(({ step, staleness }) => [step, staleness.min, staleness.max]),
      },
    },
  );
}

/** How trainer and servers spent their time, step by step; many servers are drawn as one. */
export function bubbleCharts(report: RlReport): Html {
  const uses = settledUses(report.uses);
  const left = report.uses.length - uses.length;
  const servers = report.total.servers.map(({ server }) => server);
  const groups = servers.length > MAX_SERVER_CHARTS ? [servers] : servers.map((server) => [server]);
  return html`<div class="charts">
      ${resourceChart(
        'Trainer',
        uses,
        uses.map(({ trainer }) => [trainer]),
        ['busy', ...TRAINER_CAUSES],
        TRAINER_WORDS,
      )}
      ${groups.map((group) =>
        resourceChart(
          group.length === 1 ? `Server ${serverName(group[0] ?? '')}` : `All ${group.length} servers`,
          uses,
          uses.map((use) => use.servers.filter(({ server }) => group.includes(server))),
          ['busy', ...SERVER_CAUSES],
          SERVER_WORDS,
        ),
      )}
    </div>
    ${left === 0 ? '' : html`<p class="soft">The last ${left === 1 ? 'step is' : `${left} steps are`} left out: groups of ${left === 1 ? 'its' : 'their'} time had no fate yet, so that not all requests are known.</p>`}`;
}

function resourceChart<Kind extends string>(
  label: string,
  uses: readonly StepUse[],
  spent: readonly (readonly ResourceUse[])[],
  kinds: readonly Kind[],
  words: Readonly<Record<Kind, KindWords>>,
): Html {
  const timeOf = (use: ResourceUse, kind: string): number =>
    kind === 'busy' ? use.busyMs : (use.idleMs[kind] ?? 0);
  const layers = kinds.map((kind) => ({
    name: words[kind].short,
    color: words[kind].color,
    values: spent.map((own) => own.reduce((sum, use) => sum + timeOf(use, kind), 0)),
  }));
  return stackChart(
    label,
    uses.map(({ step }) => step),
    spent.map((own) => own.reduce((sum, { wallMs }) => sum + wallMs, 0)),
    layers.filter(({ values }) => values.some((value) => value > 0)),
  );
}

export const throughputCharts = (report: RlReport): Html =>
  html`<div class="charts">
    ${lineChart(
      'Tokens per second',
      [
        {
          name: 'sampled',
          color: BLUE,
          points: pointsOf(report, (step) => perSecond(step.sampledTokens, step)),
        },
        { name: 'trained', color: GREEN, points: pointsOf(report, (step) => perSecond(step.tokens, step)) },
        {
          name: 'dropped',
          color: ORANGE,
          look: 'faint',
          points: pointsOf(report, (step) => perSecond(step.droppedTokens, step)),
        },
      ],
      { min: 0 },
    )}
    ${lineChart(
      'Steps per hour',
      [
        {
          name: 'each step',
          color: BLUE,
          look: 'faint',
          points: pointsOf(report, ({ wallMs }) => (wallMs === 0 ? null : 3_600_000 / wallMs)),
        },
        { name: `over ${MOVING_STEPS} steps`, color: BLUE, look: 'bold', points: movingPace(report) },
      ],
      { min: 0 },
    )}
  </div>`;

const perSecond = (tokens: number, { wallMs }: StepRow): number | null =>
  wallMs === 0 ? null : (tokens * 1000) / wallMs;

function movingPace({ steps }: RlReport): Curve['points'] {
  return steps.map(({ step }, index) => {
    const window = steps.slice(Math.max(0, index + 1 - MOVING_STEPS), index + 1);
    const wallMs = window.reduce((sum, one) => sum + one.wallMs, 0);
    return [step, wallMs === 0 ? null : (window.length * 3_600_000) / wallMs];
  });
}

/** Metrics that the trainer is known to tell; one that it does not tell has no chart. */
const TRAINER_METRICS = [
  ['mismatch_kl', 'Mismatch KL (sampler against trainer)', BLUE, {}],
  ['clip_fraction', 'Clip fraction', ORANGE, { unit: 'percent', min: 0 }],
  ['entropy', 'Entropy', GREEN, {}],
  ['gradient_norm', 'Gradient norm', PURPLE, { min: 0 }],
] as const;

export function trainerCharts(report: RlReport): Html {
  const told = TRAINER_METRICS.filter(([name]) =>
    report.steps.some(({ metrics }) => Number.isFinite(metrics[name])),
  );
  if (told.length === 0) return html`<p class="soft">The trainer told no metrics yet.</p>`;
  return html`<div class="charts">
    ${told.map(([name, label, color, options]) =>
      lineChart(
        label,
        [{ name, color, points: pointsOf(report, ({ metrics }) => metrics[name] ?? null) }],
        options,
      ),
    )}
  </div>`;
}

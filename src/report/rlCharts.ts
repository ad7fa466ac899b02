import { BarChart, LineChart, ScatterChart } from 'echarts/charts';
import { use } from 'echarts/core';
import { svgChart } from './charts.ts';
import { html, type Html } from './html.ts';

use([BarChart, LineChart, ScatterChart]);

/** Curves over the steps of a run. Two stand side by side on a wide page, one under the other on a phone. */

const SIZE = { width: 420, height: 190 }; // on a phone letters are four fifths of this, on a wide page more than it
const GRID = { left: 46, right: 14, top: 10, bottom: 34 };
// these can be read on a light page and on a dark one
const INK = '#7d8590';
const RULE = 'rgba(128, 136, 145, 0.28)';
const MAX_BARS = 60; // thinner ones cannot be told apart
const SMALL = 12; // so many steps are shown as points, too

export interface Curve {
  readonly name: string;
  readonly color: string;
  /** [step, value]; null leaves a gap, e.g. a step that has no record. */
  readonly points: readonly (readonly [number, number | null])[];
  readonly look?: 'line' | 'faint' | 'bold' | 'dots' | 'dashed' | 'band';
}

interface LineOptions {
  /** `percent`: values are shares of 1. */
  readonly unit?: 'percent';
  readonly log?: boolean;
  readonly min?: number;
  readonly max?: number;
  /** Whole numbers only. */
  readonly whole?: boolean;
  /** Area between two of the curves' values: [step, low, high]. */
  readonly band?: {
    readonly name: string;
    readonly color: string;
    readonly points: readonly (readonly [number, number, number])[];
  };
}

/** Lines over steps. */
export function lineChart(label: string, curves: readonly Curve[], options: LineOptions = {}): Html {
  if (curves.every(({ points }) => points.every(([, value]) => value === null)))
    return html`<p class="soft">${label}: nothing to draw yet.</p>`;
  const steps = curves.flatMap(({ points }) => points.map(([step]) => step));
  const picture = svgChart(label, SIZE, {
    grid: GRID,
    xAxis: stepAxis(Math.min(...steps), Math.max(...steps)),
    yAxis: valueAxis(options),
    series: [...bandSeries(options.band), ...curves.map(seriesOf)],
  });
  const band = options.band === undefined ? [] : [{ ...options.band, look: 'band' as const }];
  return plot(label, [...curves.map((curve) => ({ look: 'line' as const, ...curve })), ...band], picture);
}

function seriesOf({ name, color, points, look = 'line' }: Curve): object {
  if (look === 'dots')
    return {
      name,
      type: 'scatter',
      data: points,
      symbolSize: 8,
      itemStyle: { color, borderColor: '#fff' },
      z: 5,
    };
  const widths = { line: 1.6, faint: 1, bold: 2.6, dashed: 1.4, band: 0 } as const;
  return {
    name,
    type: 'line',
    data: points,
    showSymbol: points.length <= SMALL,
    symbolSize: 5,
    sampling: 'lttb',
    connectNulls: false,
    itemStyle: { color },
    lineStyle: {
      color,
      width: widths[look],
      type: look === 'dashed' ? 'dashed' : 'solid',
      opacity: look === 'faint' ? 0.7 : 1,
    },
    z: look === 'bold' ? 4 : 3,
  };
}

function bandSeries(band: LineOptions['band']): readonly object[] {
  if (band === undefined) return [];
  const common = {
    type: 'line',
    stack: 'band',
    symbol: 'none',
    lineStyle: { width: 0 },
    itemStyle: { color: band.color },
  };
  return [
    { ...common, name: 'from', data: band.points.map(([step, low]) => [step, low]) },
    {
      ...common,
      name: band.name,
      areaStyle: { color: band.color, opacity: 0.25 },
      data: band.points.map(([step, low, high]) => [step, high - low]),
    },
  ];
}

export interface Layer {
  readonly name: string;
  readonly color: string;
  /** One for each step, in the same order as the steps. */
  readonly values: readonly number[];
}

/**
 * Stacked parts of a whole over the steps, in percent. Many steps are put together into one bar each.
 * @param whole of each step; the layers' values are parts of it
 */
export function stackChart(
  label: string,
  steps: readonly number[],
  whole: readonly number[],
  layers: readonly Layer[],
): Html {
  if (steps.length === 0) return html`<p class="soft">${label}: nothing to draw yet.</p>`;
  const size = Math.ceil(steps.length / MAX_BARS);
  const bins = Array.from({ length: Math.ceil(steps.length / size) }, (_none, bin) => bin * size);
  const sum = (values: readonly number[], from: number): number =>
    values.slice(from, from + size).reduce((total, one) => total + one, 0);
  const names = bins.map((from) => {
    const [first, last] = [steps[from], steps[Math.min(from + size, steps.length) - 1]];
    return first === last ? `${first}` : `${first}–${last}`;
  });
  const picture = svgChart(label, SIZE, {
    grid: GRID,
    xAxis: {
      type: 'category',
      data: names,
      axisTick: { show: false },
      axisLine: { lineStyle: { color: RULE } },
      axisLabel: { color: INK, fontSize: 11 },
      ...axisName('step'),
    },
    yAxis: valueAxis({ unit: 'percent', min: 0, max: 1 }),
    series: layers.map(({ name, color, values }) => ({
      name,
      type: 'bar',
      stack: 'all',
      barCategoryGap: '12%',
      itemStyle: { color },
      data: bins.map((from) => (sum(whole, from) === 0 ? 0 : sum(values, from) / sum(whole, from))),
    })),
  });
  return plot(label, layers, picture);
}

/** Title and legend are HTML above the picture: they wrap, and stay as large as the page's text on a phone. */
const plot = (
  label: string,
  kinds: readonly { readonly name: string; readonly color: string; readonly look?: Curve['look'] }[],
  picture: Html,
): Html =>
  html`<figure>
    <figcaption><b>${label}</b>${kinds.length > 1 ? legend(kinds) : ''}</figcaption>
    ${picture}
  </figure>`;

const legend = (kinds: Parameters<typeof plot>[1]): Html =>
  html`<ul class="legend">
    ${kinds.map(({ name, color, look }) => html`<li><i class="${look ?? ''}" style="background:${color}"></i>${name}</li>`)}
  </ul>`;

const axisName = (name: string): object => ({
  name,
  nameLocation: 'middle',
  nameGap: 21,
  nameTextStyle: { color: INK, fontSize: 11 },
});

const stepAxis = (min: number, max: number): object => ({
  type: 'value',
  min,
  max: Math.max(max, min + 1),
  minInterval: 1,
  splitLine: { show: false },
  axisLine: { lineStyle: { color: RULE } },
  axisLabel: { color: INK, fontSize: 11 },
  ...axisName('step'),
});

const valueAxis = ({ unit, log, min, max, whole }: LineOptions): object => ({
  type: log === true ? 'log' : 'value',
  ...(min === undefined ? {} : { min }),
  ...(max === undefined ? {} : { max }),
  ...(whole === true ? { minInterval: 1 } : {}),
  splitLine: { lineStyle: { color: RULE } },
  axisLabel: {
    color: INK,
    fontSize: 11,
    formatter: (value: number): string =>
      unit === 'percent' ? `${Math.round(100 * value)} %` : short(value),
  },
});

/** A number of an axis, in a few characters. */
function short(value: number): string {
  if (value !== 0 && (Math.abs(value) < 0.001 || Math.abs(value) >= 1e6)) return value.toExponential(0);
  return Math.abs(value) >= 10_000 ? `${Math.round(value / 1000)}k` : String(Number(value.toPrecision(3)));
}

import { init, use } from 'echarts/core';
import type { EChartsCoreOption } from 'echarts/core';
import { BarChart } from 'echarts/charts';
import { GridComponent, TitleComponent } from 'echarts/components';
import { SVGRenderer } from 'echarts/renderers';
import { html, trusted, type Html } from './html.ts';

use([BarChart, GridComponent, TitleComponent, SVGRenderer]);

const WIDTH_PX = 480; // scaled down by a third on a phone, its letters can still be read
const BAR_HEIGHT_PX = 28;

export interface Bar {
  readonly name: string;
  readonly value: number;
  /** What stands at the bar's end, e.g. `1.2 s`. */
  readonly text: string;
}

/** A chart as an SVG that scales with the page; drawn on the server, without a DOM. */
export function svgChart(
  label: string,
  size: { readonly width: number; readonly height: number },
  option: EChartsCoreOption,
): Html {
  const chart = init(null, null, { renderer: 'svg', ssr: true, ...size });
  try {
    chart.setOption({ animation: false, ...option });
    return html`<div class="chart" role="img" aria-label="${label}">
      ${trusted(chart.renderToSVGString())}
    </div>`;
  } finally {
    chart.dispose();
  }
}

/** Horizontal bars. */
export function barChart(label: string, bars: readonly Bar[]): Html {
  if (bars.length === 0) return html`<p class="soft">Nothing to draw yet.</p>`;
  return svgChart(
    label,
    { width: WIDTH_PX, height: bars.length * BAR_HEIGHT_PX + 24 },
    {
      grid: {
        left: 8,
        right: 70,
        top: 4,
        bottom: 4,
        outerBoundsMode: 'same',
        outerBoundsContain: 'axisLabel',
      },
      xAxis: { type: 'value', show: false },
      yAxis: {
        type: 'category',
        inverse: true,
        data: bars.map((bar) => bar.name),
        axisTick: { show: false },
        axisLine: { show: false },
        axisLabel: { color: '#57606a' },
      },
      series: [
        {
          type: 'bar',
          barWidth: 16,
          itemStyle: { color: '#0b6bcb', borderRadius: 2 },
          data: bars.map((bar) => ({
            value: bar.value,
            label: {
              show: true,
              position: 'right',
              color: '#1b1f24',
              formatter: bar.text.replace(/[{}]/g, ''),
            },
          })),
        },
      ],
    },
  );
}

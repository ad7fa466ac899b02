import { partition, serverParts, trainerParts, union } from '../domain/rl/intervals.ts';
import { groupNumber } from '../domain/rl/groupIds.ts';
import type { ActivityLog, Span } from '../domain/rl/intervals.ts';
import { formatDuration, html, type Html } from './html.ts';
import type { RlLog, RlLogEntry, RolloutDigest } from './rlLog.ts';
import { GAP_MS, activityOf, windowsOf } from './rlTimes.ts';
import { SERVER_WORDS, TRAINER_WORDS, serverName } from './rlWords.ts';
import type { KindWords } from './rlWords.ts';

/** A picture of who did what when, over the last steps of a run: trainer, servers, and one row for each group. SVG by hand: rectangles with tooltips. */

const STEPS_SHOWN = 6;
const MAX_GROUPS = 48;
const WIDTH_PX = 1060;
const LABELS_PX = 132;
const TOP_PX = 34;
const RESOURCE_PX = 22;
const GROUP_PX = 12;
const GAP_PX = 3;

const WAITING: KindWords = {
  short: 'waits for a step',
  long: 'it has ended, and no step has taken it yet',
  color: '#c9b458',
};
const UNTOLD: KindWords = {
  short: 'not told yet',
  long: 'its requests are told with its fate',
  color: '#dfe3e8',
};
const AROUND: KindWords = { short: 'starting, grading', long: 'no request and no act', color: '#b9c0c8' };
/** In the order in which the legend names them. */
const KINDS: readonly KindWords[] = [
  TRAINER_WORDS.busy,
  SERVER_WORDS.busy,
  SERVER_WORDS.agents,
  AROUND,
  UNTOLD,
  WAITING,
  TRAINER_WORDS.publish,
  SERVER_WORDS.paused,
  TRAINER_WORDS.paused,
  SERVER_WORDS.starting,
  TRAINER_WORDS.starved,
  SERVER_WORDS.admission,
];
const FATE_WORDS = {
  trained: { mark: '●', words: 'trained', color: '#1f8a4c' },
  no_variance: { mark: '○', words: 'dropped: no variance', color: '#6e7781' },
  infra: { mark: '✕', words: 'dropped: infrastructure', color: '#c22b21' },
  overlong: { mark: '▷', words: 'dropped: every episode overlong', color: '#8a6d1f' },
  stale: { mark: '◆', words: 'dropped: stale', color: '#d9772b' },
  open: { mark: '…', words: 'still runs or waits', color: '#6e7781' },
} as const;
type ShownFate = keyof typeof FATE_WORDS;

interface Row {
  readonly label: string;
  readonly height: number;
  readonly bars: readonly Bar[];
  readonly mark?: { readonly atMs: number; readonly fate: ShownFate };
}
interface Bar {
  readonly spans: readonly Span[];
  readonly words: KindWords;
  /** Part of the row's height. */
  readonly thickness: number;
}

/** The picture with its legend; a note where there is nothing to draw. */
export function gantt(log: RlLog, servers: readonly string[]): Html {
  const scene = sceneOf(log);
  if (scene === null) return html`<p class="soft">Nothing to draw yet.</p>`;
  const { window, entries, omitted } = scene;
  const activity = activityOf(log);
  const rows = [
    trainerRow(activity, window),
    ...servers.map((server) => serverRow(activity, server, window)),
    ...scene.groups,
  ];
  return html`${legend(rows)}
    <div class="scroll gantt">${draw(rows, window, scene.marks)}</div>
    <p class="soft">
      Steps ${entries[0]?.step.step} to ${entries.at(-1)?.step.step},
      ${formatDuration(window.endedMs - window.startedMs)}. Below the servers each line is a group, in order
      of dispatch, named by its version.${omitted > 0 ? ` ${omitted} earlier groups are left out.` : ''}
    </p>`;
}

interface Scene {
  readonly window: Span;
  readonly entries: readonly RlLogEntry[];
  readonly marks: readonly StepMark[];
  readonly groups: readonly Row[];
  readonly omitted: number;
}

/** A stop of an hour would leave a few pixels to the rest. */
const hasGap = (windows: readonly Span[]): boolean =>
  windows.some(({ startedMs }, index) => startedMs - (windows[index - 1]?.endedMs ?? startedMs) > GAP_MS);

/** The last steps without a stop between them: as many as have no more groups than a picture can hold. */
function sceneOf(log: RlLog): Scene | null {
  const windows = windowsOf(log.entries);
  for (let count = Math.min(STEPS_SHOWN, windows.length); count > 0; count -= 1) {
    const [first, last] = [windows.at(-count), windows.at(-1)];
    if (first === undefined || last === undefined || last.endedMs <= first.startedMs) return null;
    const window = { startedMs: first.startedMs, endedMs: last.endedMs };
    const groups = groupRows(log, window);
    if (count > 1 && (groups.length > MAX_GROUPS || hasGap(windows.slice(-count)))) continue;
    const entries = log.entries.slice(-count);
    return {
      window,
      entries,
      marks: stepMarks(entries, windows.slice(-count)),
      groups: groups.slice(-MAX_GROUPS),
      omitted: Math.max(0, groups.length - MAX_GROUPS),
    };
  }
  return null;
}

const trainerRow = (activity: ActivityLog, window: Span): Row => {
  const parts = trainerParts(activity, [window]);
  return {
    label: 'trainer',
    height: RESOURCE_PX,
    bars: (['starved', 'paused', 'publish', 'busy'] as const).map((kind) => ({
      spans: parts[kind],
      words: TRAINER_WORDS[kind],
      thickness: kind === 'busy' ? 1 : 0.5,
    })),
  };
};

const serverRow = (activity: ActivityLog, server: string, window: Span): Row => {
  const parts = serverParts(activity, server, [window]);
  return {
    label: serverName(server),
    height: RESOURCE_PX,
    bars: (['admission', 'starting', 'halted', 'agents', 'paused', 'busy'] as const).map((kind) => ({
      spans: parts[kind],
      words: SERVER_WORDS[kind],
      thickness: kind === 'busy' ? 1 : 0.5,
    })),
  };
};

/** Groups that reach into the window, in order of dispatch: what each did, and what became of it. */
function groupRows(log: RlLog, window: Span): readonly Row[] {
  const rollouts = Map.groupBy(
    log.entries.flatMap((entry) => entry.rollouts),
    ({ group }) => group,
  );
  const ended = log.entries.flatMap((entry) =>
    entry.timeline.groups.map((group) => ({ ...group, takenMs: takenAt(entry, group.fate) })),
  );
  const known = new Set(ended.map(({ id }) => id));
  const open = (log.entries.at(-1)?.timeline.open ?? [])
    .filter(({ id }) => !known.has(id))
    .map((group) => ({
      ...group,
      endedMs: group.endedMs ?? window.endedMs,
      takenMs: window.endedMs,
      fate: 'open' as const,
    }));
  return [...ended, ...open]
    .filter(
      ({ dispatchedMs, takenMs, endedMs }) =>
        dispatchedMs < window.endedMs && Math.max(takenMs, endedMs) > window.startedMs,
    )
    .toSorted((a, b) => a.dispatchedMs - b.dispatchedMs || (a.id < b.id ? -1 : 1))
    .map((group) => groupRow(group, rollouts.get(group.id) ?? [], window));
}

/** When a step took the group; a dropped one waits for nobody. */
const takenAt = ({ step }: RlLogEntry, fate: ShownFate): number =>
  fate === 'trained' ? step.startedMs : Number.NEGATIVE_INFINITY;

function groupRow(
  group: {
    readonly id: string;
    readonly dispatchedMs: number;
    readonly endedMs: number;
    readonly takenMs: number;
    readonly fate: ShownFate;
  },
  rollouts: readonly RolloutDigest[],
  window: Span,
): Row {
  const running = { startedMs: group.dispatchedMs, endedMs: group.endedMs };
  const waiting = { startedMs: group.endedMs, endedMs: group.takenMs };
  const parts = partition<'sampling' | 'acting' | 'running' | 'waiting' | 'outside'>(
    [window],
    [
      ['sampling', rollouts.flatMap(({ calls }) => calls)],
      ['acting', rollouts.flatMap(({ acts }) => acts)],
      ['running', [running]],
      ['waiting', union([waiting])],
    ],
    'outside',
  );
  const version = rollouts.flatMap(({ calls }) => calls)[0]?.version;
  const endMs = Math.max(group.endedMs, group.takenMs);
  return {
    label: `group ${groupNumber(group.id) ?? group.id}${version === undefined || version === null ? '' : ` · v${version}`}`,
    height: GROUP_PX,
    bars: [
      { spans: parts.running, words: group.fate === 'open' ? UNTOLD : AROUND, thickness: 0.35 },
      { spans: parts.waiting, words: WAITING, thickness: 0.35 },
      { spans: parts.acting, words: SERVER_WORDS.agents, thickness: 0.8 },
      { spans: parts.sampling, words: SERVER_WORDS.busy, thickness: 0.8 },
    ],
    ...(endMs > window.endedMs ? {} : { mark: { atMs: endMs, fate: group.fate } }),
  };
}

interface StepMark {
  readonly atMs: number;
  readonly label: string;
}

const stepMarks = (entries: readonly RlLogEntry[], windows: readonly Span[]): readonly StepMark[] =>
  entries.map(({ step }, index) => ({ atMs: windows[index]?.endedMs ?? 0, label: `step ${step.step}` }));

function draw(rows: readonly Row[], window: Span, marks: readonly StepMark[]): Html {
  const scale = (WIDTH_PX - LABELS_PX - 18) / (window.endedMs - window.startedMs);
  const xOf = (ms: number): number => LABELS_PX + (Math.max(window.startedMs, ms) - window.startedMs) * scale;
  let y = TOP_PX;
  const drawn = rows.map((row) => {
    const top = y;
    y += row.height + GAP_PX;
    return drawRow(row, top, xOf, window, 0.5 / scale);
  });
  return html`<svg
    viewBox="0 0 ${WIDTH_PX} ${y + 4}"
    role="img"
    aria-label="Timeline of trainer, servers and groups"
  >
    ${marks.map(
      ({ atMs, label }) =>
        html`<line x1="${at(xOf(atMs))}" x2="${at(xOf(atMs))}" y1="16" y2="${y}" class="grid" /><text
            x="${at(xOf(atMs) - 3)}"
            y="12"
            class="tick"
            text-anchor="end"
            >${label}</text
          >`,
    )}
    ${drawn}
  </svg>`;
}

function drawRow(row: Row, top: number, xOf: (ms: number) => number, window: Span, leastMs: number): Html {
  const middle = top + row.height / 2;
  return html`<g>
    <text
      x="${LABELS_PX - 8}"
      y="${at(middle + 3.5)}"
      class="${row.height === GROUP_PX ? 'tick' : 'name'}"
      text-anchor="end"
      >${row.label}</text
    >
    ${row.bars.map(({ spans, words, thickness }) =>
      coarse(spans, leastMs).map((span) => {
        const x = xOf(span.startedMs);
        const height = row.height * thickness;
        return html`<rect
          x="${at(x)}"
          y="${at(middle - height / 2)}"
          width="${at(Math.max(0.4, xOf(span.endedMs) - x))}"
          height="${at(height)}"
          fill="${words.color}"
          ><title>
            ${row.label}: ${words.short}, ${formatDuration(span.endedMs - span.startedMs)} from
            ${formatDuration(span.startedMs - window.startedMs)}
          </title></rect
        >`;
      }),
    )}
    ${row.mark === undefined ? '' : html`<text x="${at(xOf(row.mark.atMs) + 2)}" y="${at(middle + 3.5)}" class="mark" style="fill:${FATE_WORDS[row.mark.fate].color}">${FATE_WORDS[row.mark.fate].mark}<title>${row.label}: ${FATE_WORDS[row.mark.fate].words}</title></text>`}
  </g>`;
}

const at = (pixels: number): string => pixels.toFixed(1);

/** Spans that are nearer than half a pixel are drawn as one: a busy server has thousands. */
const coarse = (spans: readonly Span[], leastMs: number): readonly Span[] =>
  union(spans.map(({ startedMs, endedMs }) => ({ startedMs, endedMs: endedMs + leastMs })));

function legend(rows: readonly Row[]): Html {
  const drawn = new Set(
    rows.flatMap(({ bars }) => bars.flatMap(({ spans, words }) => (spans.length > 0 ? [words] : []))),
  );
  const seen = new Set(rows.flatMap(({ mark }) => (mark === undefined ? [] : [mark.fate])));
  const fates = (Object.keys(FATE_WORDS) as ShownFate[]).filter((fate) => seen.has(fate));
  return html`<ul class="legend">
    ${KINDS.filter((kind) => drawn.has(kind)).map(({ short, long, color }) => html`<li title="${long}"><i style="background:${color}"></i>${short}</li>`)}
    ${fates.map((fate) => html`<li><b style="color:${FATE_WORDS[fate].color}">${FATE_WORDS[fate].mark}</b>${FATE_WORDS[fate].words}</li>`)}
  </ul>`;
}

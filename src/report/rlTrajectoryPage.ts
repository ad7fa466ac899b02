import type { Trajectory, TrajectoryEpisode } from '../domain/rl/trajectory.ts';
import { formatDuration, html, page, type Html } from './html.ts';
import { RL_STYLE } from './rlStyle.ts';
import { NUMBER, serverName } from './rlWords.ts';

/** One episode of a training run, turn by turn. */
export interface TrajectoryView {
  readonly why: SampleReason;
  /** When its group was trained, or why not. */
  readonly fate: string;
  readonly trajectory: Trajectory;
  readonly episode: TrajectoryEpisode;
  /** The first prompt, rebuilt from the dataset, since only its token ids are recorded; null where that cannot be done. */
  readonly prompt: string | null;
}
export type SampleReason = 'best' | 'worst' | 'latest';

const MAX_TEXT = 20_000; // characters of one answer or observation

/** Path of an episode's page, relative to the run's page: the same on disk and in a link. */
export const trajectoryFile = ({
  trajectory,
  episode,
}: Pick<TrajectoryView, 'trajectory' | 'episode'>): string =>
  `trajectories/${trajectory.group.replace(/[^A-Za-z0-9_-]/g, '_')}-${episode.member}.html`;

export function trajectoryPage(run: string, view: TrajectoryView): string {
  const { trajectory, episode } = view;
  const name = `${trajectory.group}, member ${episode.member}`;
  return page(
    `${name} – ${run}`,
    html`<p><a href="../index.html">← ${run}</a></p>
      <h1>${trajectory.instanceId}</h1>
      <p class="soft">${name}, agent ${trajectory.agent}; ${view.fate}.</p>
      ${headline(episode)} ${episode.note === '' ? '' : html`<p class="bad">${episode.note}</p>`}
      <h2 id="prompt">Prompt</h2>
      ${prompt(view)}
      <h2 id="turns">Turns</h2>
      ${episode.steps.length === 0 ? html`<p class="soft">Nothing was recorded.</p>` : episode.steps.map(turn)}`,
    RL_STYLE,
  );
}

function prompt({ prompt: text, episode }: TrajectoryView): Html {
  const tokens = episode.steps[0]?.call.promptTokenIds.length ?? 0;
  if (text === null)
    return html`<p class="soft">${NUMBER.format(tokens)} tokens; their text is not known.</p>`;
  return html`<details${text.length < 1_500 ? html` open` : ''}><summary>The first prompt, ${NUMBER.format(tokens)} tokens, rebuilt from the dataset; the prompt of each later turn is everything before it</summary><pre class="text">${cut(text)}</pre></details>`;
}

function headline(episode: TrajectoryEpisode): Html {
  const calls = episode.steps.map(({ call }) => call);
  const versions = [...new Set(calls.map(({ version }) => (version === null ? 'none' : `${version}`)))];
  const startedMs = calls[0]?.startedMs;
  const endedMs = episode.steps.at(-1)?.step.endedMs;
  const cards: readonly (readonly [string, string])[] = [
    [
      episode.reward === null ? '–' : String(episode.reward),
      `reward${episode.verdict === null ? '' : ` (${episode.verdict})`}`,
    ],
    [episode.end, 'how it ended'],
    [String(episode.turns), episode.turns === 1 ? 'turn' : 'turns'],
    [NUMBER.format(episode.sampledTokens), 'tokens sampled'],
    [versions.join(', ') || '–', versions.length === 1 ? 'version' : 'versions'],
    [
      startedMs === undefined || endedMs === undefined ? '–' : formatDuration(endedMs - startedMs),
      'from first request to last act',
    ],
  ];
  return html`<ul class="cards">
    ${cards.map(([figure, words]) => html`<li><b>${figure}</b><span>${words}</span></li>`)}
  </ul>`;
}

function turn({ call, choice, step }: TrajectoryEpisode['steps'][number], index: number): Html {
  const answer = call.choices[choice];
  const tokens = answer?.tokenIds.length ?? 0;
  const acted = step.endedMs - step.startedMs;
  return html`<section class="turn" id="turn-${index + 1}">
    <h3>Turn ${index + 1} <span class="soft">version ${call.version ?? 'none'} · ${step.action}</span></h3>
    <p class="soft">
      <code>${call.model}</code> on ${serverName(call.server)}, temperature ${call.temperature}: prompt
      ${NUMBER.format(call.promptTokenIds.length)} tokens, answer ${NUMBER.format(tokens)} tokens in
      ${formatDuration(call.endedMs - call.startedMs)}${meanLogprob(answer?.logprobs ?? [])}${answer?.finishReason === 'length' ? '; cut by its limit' : ''}${call.choices.length > 1 ? `; choice ${choice + 1} of ${call.choices.length}` : ''}
    </p>
    <h4>Answer</h4>
    <pre class="text">${cut(answer?.text ?? '')}</pre>
    <h4>
      Action:
      ${step.action}${acted > 0 ? `, ${formatDuration(acted)}` : ''}${step.exitCode === null ? '' : `, exit ${step.exitCode}`}
    </h4>
    ${step.argument === '' ? '' : html`<pre class="text act">${cut(step.argument)}</pre>`}
    ${
      step.observation === null
        ? html`<p class="soft">The episode ends here.</p>`
        : html`<h4>Observation</h4>
            <pre class="text seen">${cut(step.observation)}</pre>`
    }
  </section>`;
}

const meanLogprob = (logprobs: readonly number[]): string =>
  logprobs.length === 0
    ? ''
    : `, mean log-probability ${(logprobs.reduce((sum, one) => sum + one, 0) / logprobs.length).toFixed(3)}`;

const cut = (text: string): string =>
  text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}\n… ${text.length - MAX_TEXT} more characters`;

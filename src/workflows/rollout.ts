/**
 * Invariant: each turn is sampled once and acted once, by what is recorded; a worker that dies loses the turn in flight. An
 * act has one attempt, since nobody knows what a lost one has done: the workspace is opened anew instead, under a higher
 * fence, and the recorded steps are done again there. Members that share their only prompt are one request. History holds
 * refs and counts. Whoever started this hears of its end, whatever the end, and no container outlives it.
 */
import {
  ActivityFailure,
  CancellationScope,
  TemporalFailure,
  condition,
  getExternalWorkflowHandle,
  isCancellation,
  log,
  rootCause,
  setCurrentDetails,
  sleep,
  upsertSearchAttributes,
} from '@temporalio/workflow';
import { cutText } from '../domain/failures.ts';
import { ROLLOUT_SIGNALS } from '../domain/rl/messages.ts';
import type { RolloutInput, RolloutReport } from '../domain/rl/messages.ts';
import { isInfra } from '../domain/rl/trajectory.ts';
import type { EpisodeEnd, RolloutOutcome } from '../domain/rl/trajectory.ts';
import type { ArtefactRef } from '../domain/types.ts';
import { attributes } from './attributes.ts';
import { episodeOn, hostOn, sampleOn } from './proxies.ts';

/** Openings of one turn's workspace after which infrastructure, or the agent's way of killing it, is believed. */
const MAX_OPENINGS = 5;
const TURNS_SHOWN = 8;

interface Play {
  readonly input: RolloutInput;
  /** Where the workspace is; null while there is none. */
  host: string | null;
  fence: number;
  turn: number;
  /** Openings since the last act that was heard of. */
  openings: number;
  sampledTokens: number;
  /** The time of the episode counts from here on: waiting for a place on a host is nobody's fault. */
  begun: boolean;
  note: string;
  readonly shown: string[];
}

/** How an episode ended, and what it left. */
interface End {
  readonly end: EpisodeEnd;
  readonly patch: ArtefactRef | null;
  readonly note: string;
}

export async function rollout(input: RolloutInput): Promise<RolloutOutcome> {
  const play = newPlay(input);
  let outcome: RolloutOutcome | null = null;
  let cancelled: unknown;
  try {
    const ends = await endsOf(play);
    outcome = withFailure(
      play,
      await episodeOn(input.queuePrefix, 'grade').gradeRollout({ rollout: input, ends }),
    );
  } catch (error) {
    // a bug is not an end: it fails the workflow task, which waits for the mended code
    if (!(error instanceof TemporalFailure)) throw error;
    if (isCancellation(error)) cancelled = error;
    else outcome = infraOutcome(play, error);
  }
  await CancellationScope.nonCancellable(async () => {
    await both(discard(play), report(play, outcome));
  });
  if (outcome === null) throw cancelled;
  return outcome;
}

const newPlay = (input: RolloutInput): Play => ({
  input,
  host: null,
  fence: 0,
  turn: 0,
  openings: 0,
  sampledTokens: 0,
  begun: input.agent === 'selector',
  note: '',
  shown: [],
});

const endsOf = async (play: Play): Promise<readonly End[]> =>
  play.input.agent === 'selector' ? choose(play) : [await work(play)];

/** One turn for all members. */
async function choose(play: Play): Promise<readonly End[]> {
  const end = await withinWall(play, async () => {
    const { end: ended } = await sample(play);
    return ended ?? 'finished';
  });
  return play.input.members.map(() => ({ end, patch: null, note: '' }));
}

/** Turns in a workspace, and the change that they left there. */
async function work(play: Play): Promise<End> {
  const end = await withinWall(play, () => turns(play));
  const nothingDone = play.host === null && play.turn === 0;
  if (isInfra(end) || nothingDone) return { end, patch: null, note: play.note };
  for (play.openings = 0; ;) {
    if (!(await opened(play))) return { end: 'infra', patch: null, note: play.note };
    const closed = await onHost(play, 'close', (host) =>
      host.closeEpisode({ rollout: play.input, fence: play.fence, discard: false }),
    );
    if (closed === 'lost') continue;
    play.host = null;
    return { end, ...closed };
  }
}

async function turns(play: Play): Promise<EpisodeEnd> {
  const { maxTurns } = play.input.budget;
  for (; play.turn < maxTurns; play.turn += 1) {
    // the container starts while the model answers for the first time
    const [{ next, end, action }, there] = await both(sample(play), opened(play));
    if (next === 'end') return end ?? 'finished';
    if (!there) return 'infra';
    const ended = await act(play, action);
    if (ended !== null) return ended;
  }
  return 'max_turns';
}

/** Both, and neither left behind: what is still opening when the other fails is waited for, so that it is closed. */
async function both<A, B>(one: Promise<A>, other: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([one, other]);
  return Promise.all([one, other]);
}

async function sample(play: Play) {
  const { input, turn } = play;
  const sampled = await sampleOn(input.queuePrefix, `turn ${turn}: sample`).sampleTurn({
    rollout: input,
    turn,
  });
  play.sampledTokens += sampled.sampledTokens;
  show(play, `${sampled.action} (${sampled.sampledTokens} tokens)`);
  return sampled;
}

async function act(play: Play, action: string): Promise<EpisodeEnd | null> {
  for (;;) {
    if (!(await opened(play))) return 'infra';
    const acted = await onHost(play, action, (host) =>
      host.actOnTurn({ rollout: play.input, turn: play.turn, fence: play.fence }),
    );
    if (acted === 'lost') continue;
    play.openings = 0;
    show(play, `${action}: ${acted.told}`);
    return acted.end;
  }
}

/** Sees to it that there is a workspace with all that was done so far. False when there can be none; the note says why. */
async function opened(play: Play): Promise<boolean> {
  if (play.host !== null) return true;
  if (play.openings === MAX_OPENINGS) {
    play.note = `The workspace was lost ${MAX_OPENINGS} times in turn ${play.turn}. ${play.note}`.trim();
    return false;
  }
  play.openings += 1;
  play.fence += 1;
  const { host, diverged } = await episodeOn(
    play.input.queuePrefix,
    play.fence === 1 ? 'open' : `open again, replay ${play.turn} turns`,
  ).openEpisode({ rollout: play.input, fence: play.fence });
  play.host = host;
  play.begun = true;
  if (diverged === null) return true;
  play.note = `Done again, a step came out otherwise: ${diverged}`;
  return false;
}

/** Asks the host of the episode; `lost` when it is not known what came of it. */
async function onHost<T>(
  play: Play,
  what: string,
  ask: (host: ReturnType<typeof hostOn>) => Promise<T>,
): Promise<T | 'lost'> {
  if (play.host === null) return 'lost';
  try {
    return await ask(hostOn(play.input.queuePrefix, play.host, `turn ${play.turn}: ${what}`));
  } catch (error) {
    // a worker that shuts down cancels its activities, too: only our own scope tells
    if (!(error instanceof ActivityFailure) || CancellationScope.current().consideredCancelled) throw error;
    play.note = `${play.host}: ${cutText(rootCause(error) ?? error.message, 200)}`;
    log.warn('the workspace is lost and opened anew', {
      host: play.host,
      turn: play.turn,
      reason: play.note,
    });
    play.host = null;
    return 'lost';
  }
}

/** Plays until it ends or its time is over; what runs at that moment is cancelled. */
async function withinWall(play: Play, episode: () => Promise<EpisodeEnd>): Promise<EpisodeEnd> {
  const clock = new CancellationScope();
  const playing = new CancellationScope();
  let over = false;
  const ring = async (): Promise<void> => {
    await condition(() => play.begun);
    await sleep(play.input.budget.maxWallMs);
    over = true;
    playing.cancel();
  };
  clock.run(ring).catch((error: unknown) => {
    if (!isCancellation(error)) throw error;
  });
  try {
    return await playing.run(episode);
  } catch (error) {
    if (over && isCancellation(error)) return 'max_wall';
    throw error;
  } finally {
    clock.cancel();
  }
}

/** Removes the container of an episode that nobody takes a patch from. A host that is gone has none. */
async function discard(play: Play): Promise<void> {
  if (play.host === null) return;
  await onHost(play, 'discard', (host) =>
    host.closeEpisode({ rollout: play.input, fence: play.fence, discard: true }),
  );
}

/** Says why nothing came of it, where nothing did. */
function withFailure({ note }: Play, outcome: RolloutOutcome): RolloutOutcome {
  if (outcome.episodes.some(({ reward }) => reward !== null)) return outcome;
  const silent = outcome.episodes.every(({ turns: played }) => played === 0);
  const otherwise = silent
    ? 'no answer came within the time of an episode: do the policy servers answer?'
    : 'no verdict could be found';
  return { ...outcome, failure: note === '' ? otherwise : note };
}

/** Infrastructure failed for longer than the retry policies allow: says nothing about the policy. */
function infraOutcome(play: Play, error: TemporalFailure): RolloutOutcome {
  const { group, members } = play.input;
  play.note = cutText(rootCause(error) ?? error.message, 500);
  log.warn('infrastructure failed for good', { reason: play.note });
  return {
    group,
    episodes: members.map((member) => ({
      member,
      end: 'infra',
      reward: null,
      verdict: null,
      turns: play.turn,
      sampledTokens: Math.round(play.sampledTokens / members.length),
    })),
    trajectory: null,
    oldestVersion: null,
    newestVersion: null,
    executed: 0,
    served: 0,
    failure: play.note,
  };
}

async function report(play: Play, outcome: RolloutOutcome | null): Promise<void> {
  const { group, members, parent } = play.input;
  setCurrentDetails(describe(play, outcome));
  const reward = outcome === null ? null : meanReward(outcome);
  if (reward !== null) upsertSearchAttributes([{ key: attributes.reward, value: reward }]);
  if (parent === null) return;
  const message: RolloutReport = { group, members, outcome };
  try {
    await getExternalWorkflowHandle(parent).signal(ROLLOUT_SIGNALS.rolloutDone, message);
  } catch (error) {
    log.info('whoever started this rollout is gone', { parent, reason: rootCause(error) ?? String(error) });
  }
}

function show(play: Play, line: string): void {
  play.shown.push(`- turn ${play.turn}: ${line}`);
  setCurrentDetails(
    [`**turn ${play.turn}**, ${play.sampledTokens} tokens`, ...play.shown.slice(-TURNS_SHOWN)].join('\n'),
  );
}

const describe = (play: Play, outcome: RolloutOutcome | null): string =>
  [
    outcome === null
      ? '**cancelled**'
      : `**${summaryOf(outcome)}**, ${play.sampledTokens} tokens${play.note === '' ? '' : `. ${play.note}`}`,
    ...play.shown.slice(-TURNS_SHOWN),
  ].join('\n');

function summaryOf({ episodes }: Pick<RolloutOutcome, 'episodes'>): string {
  const [only] = episodes;
  if (episodes.length === 1 && only !== undefined) return `${only.end}: ${only.verdict ?? 'no verdict'}`;
  return `${episodes.length} members, mean reward ${meanReward({ episodes })?.toFixed(2) ?? 'unknown'}`;
}

/** null where infrastructure ended every episode. */
function meanReward({ episodes }: Pick<RolloutOutcome, 'episodes'>): number | null {
  const rewards = episodes.flatMap(({ reward }) => (reward === null ? [] : [reward]));
  return rewards.length === 0 ? null : rewards.reduce((sum, one) => sum + one, 0) / rewards.length;
}

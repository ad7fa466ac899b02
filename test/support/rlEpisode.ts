import type { EpisodeEnd, PolicyCall, TrajectoryEpisode } from '../../src/domain/rl/trajectory.ts';

/** Episodes as a coder's might be, with made-up tokens. */

export interface EpisodePlan {
  /** Uniform in [0, 1). */
  readonly draw: () => number;
  readonly member: number;
  readonly server: string;
  readonly version: number;
  readonly startedMs: number;
  /** Of a reward of 1. */
  readonly chance: number;
  /** Ended by infrastructure. */
  readonly failing: boolean;
  /** Put into all its texts. */
  readonly text: string;
}

/** A number around `median` with a heavy tail. */
export function logNormal(draw: () => number, median: number, sigma: number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
  return Math.round(median * Math.exp(sigma * normal));
}

export function makeEpisode(plan: EpisodePlan): TrajectoryEpisode {
  const { draw, member, failing, text } = plan;
  const turns = 1 + Math.floor(draw() * 5);
  const steps: TrajectoryEpisode['steps'][number][] = [];
  let atMs = plan.startedMs + Math.floor(200 * draw());
  for (let turn = 0; turn < turns; turn += 1) {
    const one = makeTurn(plan, atMs, turn, turn === turns - 1);
    steps.push(one);
    atMs = one.step.endedMs;
  }
  const reward = failing ? null : draw() < plan.chance ? 1 : 0;
  const overlong = turns === 5 && draw() < 0.4;
  const end: EpisodeEnd = failing ? 'infra' : overlong ? 'max_turns' : 'finished';
  return {
    member,
    end,
    reward,
    verdict: reward === null ? null : reward === 1 ? 'resolved' : 'unresolved',
    turns,
    sampledTokens: steps.reduce((sum, { call }) => sum + (call.choices[0]?.tokenIds.length ?? 0), 0),
    steps,
    patch: null,
    note: failing ? `the container was lost ${text}` : '',
  };
}

function makeTurn(
  plan: EpisodePlan,
  startedMs: number,
  turn: number,
  last: boolean,
): TrajectoryEpisode['steps'][number] {
  const call = makeCall(plan, startedMs, turn);
  return {
    call,
    choice: 0,
    step: {
      action: last ? 'finish' : turn === 0 ? 'bash' : 'edit',
      argument: last ? '' : `grep -n "last" parser_${turn}.py ${plan.text}`,
      observation: last ? null : `parser_${turn}.py:${10 + turn}: return lines[:-1] ${plan.text}`,
      exitCode: last ? null : 0,
      startedMs: call.endedMs,
      endedMs: last ? call.endedMs : call.endedMs + logNormal(plan.draw, 400, 0.9),
    },
  };
}

function makeCall({ draw, server, version, text }: EpisodePlan, startedMs: number, turn: number): PolicyCall {
  const count = 20 + Math.floor(40 * draw());
  return {
    schema: 1,
    server,
    model: `policy-v${version}`,
    version,
    temperature: 1,
    maxTokens: 256,
    promptTokenIds: Array.from({ length: 24 + 12 * turn }, (_none, index) => index),
    choices: [
      {
        tokenIds: Array.from({ length: count }, (_none, index) => 500 + index),
        logprobs: Array.from({ length: count }, () => -0.25),
        text: `I look at the parser first.\n<tool_call>{"name": "bash"}</tool_call> ${text}`,
        finishReason: 'stop',
      },
    ],
    startedMs,
    endedMs: startedMs + logNormal(draw, 750, 0.6),
  };
}

import { SMALL_VIEW, choiceLetters, rightOf, selectorMessages } from '../agents/selector.ts';
import type { SelectorTask } from '../agents/types.ts';
import { drawsOf } from '../domain/draws.ts';
import { shuffled } from '../domain/shuffled.ts';
import { supervise, type LossPoint, type SupervisedSample } from './supervise.ts';
import type { RenderedMessage, TrainerBackend, TrainerConfig } from './types.ts';

/**
 * The warm start of a small selector: supervised on choices of other tasks than it will be trained on, until it knows how to
 * answer and that the answer lies in the content, and no more. Labels are smoothed: a policy that is sure cannot be trained by
 * its rewards any more, since all members of a group choose alike.
 */
export interface WarmRequest {
  readonly run: string;
  readonly config: TrainerConfig;
  readonly tasks: readonly SelectorTask[];
  readonly seed: number;
  readonly steps: number;
}

export const WARM_DEFAULTS = { tasks: 20, steps: 300, promptsPerStep: 16, learningRate: 1e-3 } as const;
const SMOOTHING = 0.4; // spread evenly over the letters; with hard labels training by rewards was dead on arrival
const WARM_UP_STEPS = 20;

interface Prompt {
  readonly tokenIds: readonly number[];
  /** What each letter is, and how an answer ends. */
  readonly letters: readonly number[];
  readonly end: number;
  /** Index of the right letter. */
  readonly right: number;
}

/** Trains; resumable, see `supervise`. */
export async function warmSelector(
  backend: TrainerBackend,
  request: WarmRequest,
): Promise<readonly LossPoint[]> {
  const { tasks, run, config, seed, steps } = request;
  const { promptsPerStep, learningRate: peak } = WARM_DEFAULTS;
  return supervise(backend, {
    run,
    config,
    steps,
    learningRate: (step) => peak * Math.min(1, step / WARM_UP_STEPS),
    samplesPerPart: promptsPerStep * 8,
    batchOf: async (step) => {
      const draws = drawsOf(`warm ${seed} ${step}`);
      const chosen = Array.from(
        { length: promptsPerStep },
        () => tasks[Math.floor(draws() * tasks.length)],
      ).flatMap((task) =>
        task === undefined ? [] : [{ task, order: shuffled([...task.candidates.keys()], draws) }],
      );
      const prompts = await promptsOf(backend, run, chosen);
      return prompts.flatMap((prompt, at) => samplesOf(prompt, String(at), promptsPerStep, at === 0));
    },
  });
}

/** One sample for each letter; of one prompt of the step also how an answer ends, since that costs a pass of its own. */
function samplesOf(
  prompt: Prompt,
  id: string,
  prompts: number,
  withEnd: boolean,
): readonly SupervisedSample[] {
  const { tokenIds, letters, right, end } = prompt;
  const at = tokenIds.length;
  const chances = letters.map(
    (_letter, index) => (index === right ? 1 - SMOOTHING : 0) + SMOOTHING / letters.length,
  );
  return letters.flatMap((letter, index) => {
    const sample = {
      tokenIds: [...tokenIds, letter],
      positions: [at],
      weight: (chances[index] ?? 0) / prompts,
    };
    const ending = { tokenIds: [...tokenIds, letter, end], positions: [at + 1], weight: 1 / prompts };
    const samples = [{ id: `${id}/${index}`, ...sample }];
    return withEnd && index === right ? [...samples, { id: `${id}/end`, ...ending }] : samples;
  });
}

async function promptsOf(
  backend: TrainerBackend,
  run: string,
  chosen: readonly { readonly task: SelectorTask; readonly order: readonly number[] }[],
): Promise<readonly Prompt[]> {
  const conversations = chosen.map(({ task, order }) => rendered(selectorMessages(task, order, SMALL_VIEW)));
  const count = Math.max(...chosen.map(({ order }) => order.length));
  const answers = choiceLetters(count).map((letter) => [
    ...(conversations[0] ?? []),
    { role: 'assistant', content: letter },
  ]);
  const prompts = await backend.render({ run, conversations });
  const answered = await backend.render({ run, conversations: answers, openAnswer: false });
  const endings = answered.map((ids) => answerAfter(prompts[0] ?? [], ids));
  return chosen.map(({ task, order }, at) => ({
    tokenIds: prompts[at] ?? [],
    letters: endings.slice(0, order.length).map(({ letter }) => letter),
    end: endings[0]?.end ?? 0,
    right: order.indexOf(rightOf(task)),
  }));
}

/** A template must not change what came before an answer, and a letter must be one token. */
function answerAfter(prompt: readonly number[], whole: readonly number[]): { letter: number; end: number } {
  const [letter, end] = whole.slice(prompt.length);
  if (letter === undefined || end === undefined || !prompt.every((token, at) => whole[at] === token))
    throw new Error(
      'The model cannot be warmed: its chat template does not append a letter to what came before.',
    );
  return { letter, end };
}

/** The selector's messages are plain text. */
const rendered = (messages: ReturnType<typeof selectorMessages>): readonly RenderedMessage[] =>
  messages.map(({ role, content }) => ({ role, content: content ?? '' }));

export interface WarmReport {
  /** Mean chance of the likeliest letter. */
  readonly maxP: number;
  /** Mean chance of all letters together, among all tokens; and the smallest. */
  readonly mass: number;
  readonly minMass: number;
  /** Mean chance of the right letter: what a policy that samples is paid. */
  readonly reward: number;
  readonly prompts: number;
}

/** What the run's present model says of tasks, in so many drawn orders of each; sampled over the letters alone. */
export async function examineSelector(
  backend: TrainerBackend,
  request: Pick<WarmRequest, 'run' | 'tasks' | 'seed'> & { readonly orders: number },
): Promise<WarmReport> {
  const { run, tasks, seed, orders } = request;
  const draws = drawsOf(`examine ${seed}`);
  const chosen = tasks.flatMap((task) =>
    Array.from({ length: orders }, () => ({ task, order: shuffled([...task.candidates.keys()], draws) })),
  );
  const prompts = await promptsOf(backend, run, chosen);
  const samples = prompts.flatMap((prompt, at) =>
    samplesOf(prompt, String(at), 1, false).map(({ id, tokenIds, positions }) => ({
      sampleId: id,
      tokenIds,
      positions,
      logprobs: [0],
      advantage: 0,
      weight: 0,
      temperature: 1,
      oldestVersion: 0,
      newestVersion: 0,
    })),
  );
  const found = await backend.forward({ run, samples });
  const chances = found.map(([logprob = Number.NaN]) => Math.exp(logprob));
  let next = 0;
  const each = prompts.map(({ letters, right }) => {
    const own = chances.slice(next, (next += letters.length));
    const mass = own.reduce((sum, p) => sum + p, 0);
    return { mass, maxP: Math.max(...own) / mass, reward: (own[right] ?? 0) / mass };
  });
  const mean = (of: (one: (typeof each)[number]) => number): number =>
    each.reduce((sum, one) => sum + of(one), 0) / each.length;
  return {
    maxP: mean(({ maxP }) => maxP),
    mass: mean(({ mass }) => mass),
    minMass: Math.min(...each.map(({ mass }) => mass)),
    reward: mean(({ reward }) => reward),
    prompts: each.length,
  };
}

const MAX_P = 0.6; // at 0.8 nothing was learned any more
const MIN_MASS = 0.95;
const MIN_LEARNED = 0.5; // of 0.7, which smoothed labels teach; below, learning by rewards took twice as long or did not begin

/**
 * Why a warmed policy should not be trained by rewards; null when it may. `unseen`: what it says of tasks that it was not
 * warmed on; `learned`: of those that it was.
 */
export function warmProblem({ maxP, mass }: WarmReport, learned: WarmReport): string | null {
  if (learned.reward < MIN_LEARNED)
    return `it has not learned to answer from what it reads: of the tasks that it was warmed on, it gives the right letter a chance of ${learned.reward.toFixed(2)}, below ${MIN_LEARNED}`;
  if (mass < MIN_MASS)
    return `it puts ${(100 * mass).toFixed(0)} % of its chances on the letters: it has not learned how to answer`;
  if (maxP > MAX_P)
    return `its likeliest letter has a chance of ${maxP.toFixed(2)} on unseen tasks, above ${MAX_P}: groups would have no variance`;
  return null;
}

import { Agent, fetch } from 'undici';
import { z } from 'zod';
import { cutText, FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import type { TrainingSample } from '../domain/rl/training.ts';
import { TrainerRefused } from './refusals.ts';
import type { TrainerBackend, TrainerConfig, TrainerLoss } from './types.ts';

/** How long each verb may take: those that compute or write weights wait for a large model on a slow disk. */
const DEADLINES_MS = {
  health: 10_000,
  journal: 60_000,
  remove_version: 120_000,
  render: 120_000,
  open_run: 15 * 60_000, // loads a model
  forward: 15 * 60_000,
  publish: 15 * 60_000,
  forward_backward: 30 * 60_000,
  optim_step: 30 * 60_000, // writes a checkpoint
} as const;
export type TrainerVerb = keyof typeof DEADLINES_MS;

/** The trainer of `trainer/` over HTTP. Requests are not retried here: every verb is safe to repeat by whoever asks. */
export function createHttpTrainer(options: {
  /** e.g. `http://127.0.0.1:8790` */
  readonly url: string;
  readonly deadlinesMs?: Partial<Readonly<Record<TrainerVerb, number>>>;
}): TrainerBackend {
  const call = callerOf(options);
  return {
    async createModel({ run, config, anew, signal }) {
      const body = { run, config: wireConfig(config), anew: anew === true };
      return call('open_run', openedSchema, signal, body);
    },
    async forwardBackward({ run, step, epoch, part, samples, loss, signal }) {
      const body = { run, step, epoch, part, samples: samples.map(wireSample), loss: wireLoss(loss) };
      return call('forward_backward', partSchema, signal, body);
    },
    async optimStep({ run, step, epoch, parts, sampleIds, batchHash, learningRate, final, signal }) {
      const rest = { sample_ids: sampleIds, batch_hash: batchHash, learning_rate: learningRate };
      return call('optim_step', stepSchema, signal, { run, step, epoch, parts, ...rest, final });
    },
    async forward({ run, samples, step, signal }) {
      const body = { run, samples: samples.map(wireSample), ...(step === undefined ? {} : { step }) };
      return (await call('forward', forwardSchema, signal, body)).logprobs;
    },
    publish: async ({ run, step, signal }) => call('publish', versionSchema, signal, { run, step }),
    async removeVersion({ run, step, signal }) {
      await call('remove_version', z.object({}), signal, { run, step });
    },
    async render({ run, conversations, openAnswer, signal }) {
      const body = { run, conversations, open_answer: openAnswer ?? true };
      return (await call('render', renderSchema, signal, body)).token_ids;
    },
    async journal(run, signal) {
      const { steps } = await call(
        'journal',
        journalSchema,
        signal,
        undefined,
        `/${encodeURIComponent(run)}`,
      );
      return steps.map(({ step, batch_hash, metrics, committed_at, sample_ids }) => ({
        step,
        batchHash: batch_hash,
        metrics,
        committedMs: Math.round(committed_at * 1_000),
        sampleIds: sample_ids,
      }));
    },
    health: async (signal) => call('health', healthSchema, signal),
  };
}

const metricsSchema = z.record(z.string(), z.number());
const openedSchema = z.object({
  incarnation: z.string(),
  step: z.int().min(0),
  versions: z.array(z.int().min(0)),
});
const partSchema = z.object({ incarnation: z.string(), hash: z.string() });
const stepSchema = z.object({
  incarnation: z.string(),
  committed: z.boolean(),
  again: z.boolean(),
  metrics: metricsSchema,
});
const forwardSchema = z.object({ logprobs: z.array(z.array(z.number())) });
const renderSchema = z.object({ token_ids: z.array(z.array(z.int())) });
const versionSchema = z.object({
  name: z.string(),
  path: z.string(),
  sha256: z.string(),
  step: z.int().min(0),
});
const journalSchema = z.object({
  steps: z.array(
    z.object({
      step: z.int(),
      batch_hash: z.string(),
      metrics: metricsSchema,
      committed_at: z.number(),
      sample_ids: z.array(z.string()),
    }),
  ),
});
const healthSchema = z.object({
  incarnation: z.string(),
  run: z.string().nullable(),
  busy: z.string().nullable(),
  device: z.string(),
});
const refusalSchema = z.object({
  kind: z.string(),
  message: z.string(),
  facts: z.record(z.string(), z.unknown()).default({}),
});

const wireConfig = (config: TrainerConfig): Record<string, unknown> => ({
  base: config.base,
  lora:
    config.lora === null
      ? null
      : {
          rank: config.lora.rank,
          alpha: config.lora.alpha,
          seed: config.lora.seed ?? 0,
          ...(config.lora.targetModules === undefined ? {} : { target_modules: config.lora.targetModules }),
        },
  dtype: config.dtype,
  gradient_checkpointing: config.gradientCheckpointing ?? false,
  weight_decay: config.weightDecay ?? 0,
  ...(config.maxGradientNorm === undefined ? {} : { max_gradient_norm: config.maxGradientNorm }),
  ...(config.tokensAtOnce === undefined ? {} : { tokens_at_once: config.tokensAtOnce }),
});

const wireSample = (sample: TrainingSample): Record<string, unknown> => ({
  sample_id: sample.sampleId,
  token_ids: sample.tokenIds,
  positions: sample.positions,
  logprobs: sample.logprobs,
  allowed: sample.allowed ?? null,
  advantage: sample.advantage,
  weight: sample.weight,
  temperature: sample.temperature,
});

const wireLoss = (loss: TrainerLoss): Record<string, unknown> =>
  loss.name === 'cross_entropy'
    ? { name: loss.name }
    : {
        name: loss.name,
        clip_low: loss.clipLow,
        clip_high: loss.clipHigh,
        tis_cap: loss.tisCap,
        kl_coefficient: loss.klCoefficient,
        entropy_coefficient: loss.entropyCoefficient,
      };

type Call = <T>(
  verb: TrainerVerb,
  schema: z.ZodType<T>,
  signal: AbortSignal | undefined,
  body?: unknown,
  path?: string,
) => Promise<T>;

function callerOf(options: Parameters<typeof createHttpTrainer>[0]): Call {
  const base = options.url.replace(/\/+$/, '');
  // the answer's headers come when the work is done: only our own deadlines count
  const dispatcher = new Agent({ headersTimeout: 0, bodyTimeout: 0 });
  return async (verb, schema, signal, body, path = '') => {
    const deadlineMs = options.deadlinesMs?.[verb] ?? DEADLINES_MS[verb];
    const deadline = AbortSignal.timeout(deadlineMs);
    let status: number;
    let text: string;
    try {
      const response = await fetch(`${base}/${verb}${path}`, {
        dispatcher,
        signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
        ...(body === undefined
          ? {}
          : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      });
      status = response.status;
      text = await response.text();
    } catch (error) {
      if (signal?.aborted === true)
        throw permanentFailure(
          FAILURE_TYPES.cancelled,
          `Asking the trainer for ${verb} was cancelled.`,
          error,
        );
      const why = deadline.aborted
        ? `did not answer within ${deadlineMs / 1_000} s`
        : `cannot be reached (${reasonOf(error)})`;
      throw infraFailure(`The trainer at ${base} ${why} when asked for ${verb}.`, { cause: error });
    }
    return read(verb, base, status, text, schema);
  };
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

/** The one place where an answer's status is given its meaning. */
function read<T>(verb: TrainerVerb, base: string, status: number, text: string, schema: z.ZodType<T>): T {
  const value = parsed(text);
  if (status === 200) {
    const answer = schema.safeParse(value);
    if (answer.success) return answer.data;
    throw permanentFailure(
      FAILURE_TYPES.badAnswer,
      `The trainer at ${base} answered ${verb} in another form than agreed: ${z.prettifyError(answer.error)}`,
    );
  }
  const refusal = refusalSchema.safeParse(value);
  if ((status === 409 || status === 507) && refusal.success)
    throw new TrainerRefused(refusal.data.kind, refusal.data.message, refusal.data.facts);
  const why = refusal.success ? refusal.data.message : cutText(text, 500);
  if (status === 422 || status === 400)
    throw permanentFailure(FAILURE_TYPES.badInput, `The trainer cannot do ${verb} with this: ${why}`);
  if (status >= 500 || status === 429)
    throw infraFailure(`The trainer at ${base} failed at ${verb} (HTTP ${status}): ${why}`);
  throw permanentFailure(
    FAILURE_TYPES.badAnswer,
    `${base} answers ${verb} with HTTP ${status}: is it a RepoForge trainer? ${why}`,
  );
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FAILURE_TYPES } from '../../src/domain/failures.ts';
import type { TrainingSample } from '../../src/domain/rl/training.ts';
import { createHttpTrainer } from '../../src/training/httpTrainer.ts';
import { isRefusal, type TrainerRefused } from '../../src/training/refusals.ts';
import { sendJson, startHttpServer, type TestHttpServer } from '../support/http.ts';

let server: TestHttpServer;
beforeAll(async () => {
  server = await startHttpServer(() => undefined);
});
afterAll(() => server.close());

const sample: TrainingSample = {
  sampleId: 's',
  tokenIds: [1, 2, 3],
  positions: [2],
  logprobs: [-0.5],
  advantage: 1,
  weight: 0.25,
  temperature: 0.7,
  oldestVersion: 0,
  newestVersion: 0,
};

const failureOf = async (
  work: Promise<unknown>,
): Promise<Error & { type?: string; nonRetryable?: boolean }> =>
  work.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: unknown) => error as Error,
  );

describe('the trainer over HTTP', () => {
  it('is sent samples and losses in the field names that it knows', async () => {
    server.use((_request, response) => sendJson(response, { incarnation: 'i', hash: 'h', metrics: {} }));
    const trainer = createHttpTrainer({ url: `${server.url}/` });
    const loss = { clipLow: 0.2, clipHigh: 0.28, tisCap: null, klCoefficient: 0, entropyCoefficient: 0.05 };
    const request = { run: 'r', step: 3, epoch: 1, part: 0, samples: [sample] };
    await trainer.forwardBackward({ ...request, loss: { name: 'clipped_ratio', ...loss } });
    await trainer.forwardBackward({ ...request, loss: { name: 'cross_entropy' } });
    const [first, second] = server.requests.slice(-2);
    expect(first?.url).toBe('/forward_backward');
    expect(JSON.parse(first?.body ?? '')).toEqual({
      run: 'r',
      step: 3,
      epoch: 1,
      part: 0,
      samples: [
        {
          sample_id: 's',
          token_ids: [1, 2, 3],
          positions: [2],
          logprobs: [-0.5],
          allowed: null,
          advantage: 1,
          weight: 0.25,
          temperature: 0.7,
        },
      ],
      loss: {
        name: 'clipped_ratio',
        clip_low: 0.2,
        clip_high: 0.28,
        tis_cap: null,
        kl_coefficient: 0,
        entropy_coefficient: 0.05,
      },
    });
    expect(JSON.parse(second?.body ?? '')).toMatchObject({ loss: { name: 'cross_entropy' } });
  });

  it.each([
    ['no_run', 409, FAILURE_TYPES.trainerRefused, false],
    ['parts_missing', 409, FAILURE_TYPES.trainerRefused, false],
    ['already_trained', 409, FAILURE_TYPES.trainerRefused, true],
    ['other_batch', 409, FAILURE_TYPES.trainerRefused, true],
    ['wrong_step', 409, FAILURE_TYPES.trainerRefused, true],
    ['not_finite', 409, FAILURE_TYPES.notFinite, true],
    ['no_disk', 507, FAILURE_TYPES.trainerDisk, false],
  ] as const)(
    'says that it was refused with %s, and whether trying again can help',
    async (kind, status, type, nonRetryable) => {
      server.use((_request, response) =>
        sendJson(response, { kind, message: 'because', facts: { parts: [1] } }, { status }),
      );
      const error = await failureOf(createHttpTrainer({ url: server.url }).publish({ run: 'r', step: 1 }));
      expect(isRefusal(error, kind)).toBe(true);
      expect(error).toMatchObject({ type, nonRetryable, facts: { parts: [1] } });
      expect(error.message).toContain('because');
    },
  );

  it('takes a refusal that it does not know for one that no retry mends', async () => {
    server.use((_request, response) => sendJson(response, { kind: 'new', message: 'x' }, { status: 409 }));
    const error = await failureOf(createHttpTrainer({ url: server.url }).publish({ run: 'r', step: 1 }));
    expect((error as TrainerRefused).kind).toBe('unknown');
    expect(error.nonRetryable).toBe(true);
  });

  it.each([
    ['an error of the server', 500, 'oops', FAILURE_TYPES.infra, false],
    ['a proxy without a server', 502, '<html>', FAILURE_TYPES.infra, false],
    ['a request without a meaning', 422, '{"detail":[{"msg":"bad"}]}', FAILURE_TYPES.badInput, true],
    ['something that is no trainer', 404, 'Not Found', FAILURE_TYPES.badAnswer, true],
    ['an answer cut short', 200, '{"name": "r-v1"', FAILURE_TYPES.badAnswer, true],
    ['an answer in another form', 200, '{"name": "r-v1", "path": 7}', FAILURE_TYPES.badAnswer, true],
  ])('tells %s', async (_what, status, text, type, nonRetryable) => {
    server.use((_request, response) => void response.writeHead(status).end(text));
    const error = await failureOf(createHttpTrainer({ url: server.url }).publish({ run: 'r', step: 1 }));
    expect(error).toMatchObject({ type, nonRetryable });
  });

  it('is infrastructure when nobody listens, when the connection is cut and when the deadline passes', async () => {
    const closed = await startHttpServer(() => undefined);
    await closed.close();
    const nobody = await failureOf(createHttpTrainer({ url: closed.url }).health());
    expect(nobody).toMatchObject({ type: FAILURE_TYPES.infra, nonRetryable: false });
    expect(nobody.message).toMatch(/^The trainer at http.* cannot be reached \(.*ECONNREFUSED/);
    server.use((_request, response) => void response.destroy());
    expect(await failureOf(createHttpTrainer({ url: server.url }).health())).toMatchObject({
      type: FAILURE_TYPES.infra,
    });
    server.use(() => new Promise(() => undefined));
    const late = createHttpTrainer({ url: server.url, deadlinesMs: { health: 50 } });
    expect((await failureOf(late.health())).message).toContain('did not answer within 0.05 s');
  });

  it('is cancelled by its caller as a cancellation, not as a fault', async () => {
    server.use(() => new Promise(() => undefined));
    const stop = new AbortController();
    const asked = createHttpTrainer({ url: server.url }).health(stop.signal);
    stop.abort();
    expect(await failureOf(asked)).toMatchObject({ type: FAILURE_TYPES.cancelled });
  });
});

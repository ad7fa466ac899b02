import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { reach } from '../../src/policy/reach.ts';
import { startHttpServer } from '../support/http.ts';
import type { TestHttpServer } from '../support/http.ts';

let server: TestHttpServer;
beforeAll(async () => (server = await startHttpServer(() => undefined)));
afterAll(() => server.close());

const answer = (status: number, body: unknown): void =>
  server.use((_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });

describe('a policy server, asked before work begins', () => {
  test.each(['127.0.0.1:8000/v1', 'localhost:8000', 'ftp://host', 'http://'])(
    '%s is no address',
    async (url) => {
      const { problem } = await reach(url);
      expect(problem).toBe(`"${url}" is no address of a server; one looks like http://127.0.0.1:8000/v1.`);
    },
  );

  test('says which models it has, and sees the key', async () => {
    answer(200, { object: 'list', data: [{ id: 'policy' }, { id: 'other' }] });
    expect(await reach(`${server.url}/v1`, 'secret')).toEqual({ problem: null, models: ['policy', 'other'] });
    expect(server.requests.at(-1)).toMatchObject({
      url: '/v1/models',
      headers: { authorization: 'Bearer secret' },
    });
  });

  test('may list nothing', async () => {
    answer(404, { error: { message: 'Not Found' } });
    expect(await reach(server.url)).toEqual({ problem: null, models: null });
    answer(200, {});
    expect(await reach(server.url)).toEqual({ problem: null, models: null });
  });

  test('that refuses the key, or does not answer, is told', async () => {
    answer(401, { error: { message: 'no' } });
    expect((await reach(server.url)).problem).toMatch(/refuses the API key \(401\)/);
    const gone = await startHttpServer(() => undefined);
    await gone.close();
    expect((await reach(gone.url)).problem).toMatch(/cannot be reached/);
  });
});

import { afterAll, beforeAll, expect, test } from 'vitest';
import { listedModels } from '../../src/policy/listed.ts';
import { startHttpServer } from '../support/http.ts';
import type { TestHttpServer } from '../support/http.ts';

let server: TestHttpServer;
beforeAll(async () => (server = await startHttpServer(() => undefined)));
afterAll(() => server.close());

const answer = (status: number, body: unknown): void =>
  server.use((_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });

test('a server says which models it has, and sees the key', async () => {
  answer(200, { object: 'list', data: [{ id: 'policy' }, { id: 'other' }] });
  expect(await listedModels(`${server.url}/v1`, 'secret')).toEqual(['policy', 'other']);
  expect(server.requests.at(-1)).toMatchObject({
    url: '/v1/models',
    headers: { authorization: 'Bearer secret' },
  });
});

test('a server may list nothing', async () => {
  answer(404, { error: { message: 'Not Found' } });
  expect(await listedModels(server.url)).toBeNull();
  answer(200, {});
  expect(await listedModels(server.url)).toBeNull();
});

test('a server that refuses the key, fails, or does not answer is told', async () => {
  answer(401, { error: { message: 'no' } });
  await expect(listedModels(server.url)).rejects.toThrow(/refuses the API key \(401\)/);
  answer(503, { error: { message: 'loading' } });
  await expect(listedModels(server.url)).rejects.toThrow(/503/);
  const gone = await startHttpServer(() => undefined);
  await gone.close();
  await expect(listedModels(gone.url)).rejects.toThrow(/cannot be reached/);
});

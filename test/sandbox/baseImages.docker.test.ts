import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createBaseImages } from '../../src/sandbox/baseImages.ts';
import { findRegistry } from '../../src/sandbox/pulledBase.ts';
import { defaultCacheDir } from '../../src/setup/state.ts';
import { testInstallation, type TestInstallation } from '../support/docker.ts';

let own: TestInstallation;
beforeAll(async () => {
  own = await testInstallation();
});
afterAll(async () => own.cleanup());

describe('base images', () => {
  it('that exist are found at once, by many askers, and their size is told', async () => {
    const image = await own.image();
    const startedAt = Date.now();
    const asked = Array.from({ length: 20 }, async () =>
      own.baseImages.ensure('debian-bookworm/1', '3.11', []),
    );
    expect(new Set(await Promise.all(asked))).toEqual(new Set([image]));
    expect(Date.now() - startedAt).toBeLessThan(5_000);
    const mine = (await own.baseImages.sizes()).find((one) => one.image === image);
    expect(mine?.bytes).toBeGreaterThan(50e6);
    expect(mine?.bytes).toBeLessThan(170e6); // 144 MB when this was written; the amortised figure of DESIGN section 11 rests on it
  });

  it('carry no address, proxy or certificate of this host', async () => {
    const { Config } = await own.docker.getImage(await own.image()).inspect();
    expect(Config.Env).toEqual([
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'LANG=C.UTF-8',
      'UV_PYTHON_DOWNLOADS=never',
    ]);
  });

  it('of a Python that cannot be had are refused with the list of those that can', async () => {
    await expect(own.baseImages.ensure('debian-bookworm/1', '2.7', [])).rejects.toThrow(
      /no base debian-bookworm\/1 with Python 2\.7 here; there are: .*debian-bookworm\/1 with Python 3\.11/,
    );
  });

  it('never pass a strange package name to a command', async () => {
    await expect(
      own.baseImages.ensure('debian-bookworm/1', '3.11', ['--allow-unauthenticated']),
    ).rejects.toThrow(/is not a Debian package name/);
  });

  it('offer the Pythons that only a registry has when one answers', () => {
    const { docker, installer, log } = own;
    const deps = { docker, installer, log, cacheDir: defaultCacheDir(), say: () => undefined };
    const versions = (registry: string | null): readonly string[] =>
      createBaseImages({ ...deps, registry })
        .available()
        .map(({ runtimeVersion }) => runtimeVersion);
    expect(versions(null)).toEqual(['3.9', '3.11', '3.13', '3.14']);
    expect(versions('')).toEqual(['3.8', '3.9', '3.10', '3.11', '3.12', '3.13', '3.14']);
  });
});

async function listen(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return (server.address() as AddressInfo).port;
}

describe('the question for a registry', () => {
  it('is answered no at once where nothing listens, and when it is switched off', async () => {
    const server = createServer();
    const port = await listen(server);
    await new Promise((resolve) => server.close(resolve));
    expect(await findRegistry(own.docker, `127.0.0.1:${port}`)).toBeNull();
    expect(await findRegistry(own.docker, 'none')).toBeNull();
  });

  it('is given up after five seconds where something listens that never speaks', async () => {
    const server = createServer(() => undefined);
    await using _closing = { [Symbol.asyncDispose]: async () => void server.close() };
    const port = await listen(server);
    const startedAt = Date.now();
    expect(await findRegistry(own.docker, `127.0.0.1:${port}`)).toBeNull();
    expect(Date.now() - startedAt).toBeLessThan(8_000);
  });
});

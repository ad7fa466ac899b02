import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { listServers } from '../../src/setup/temporalProcess.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-nodocker-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

it('A campaign on a machine whose Docker does not answer ends with one sentence and exit code 1, and starts nothing', async () => {
  const file = join(dir, 'campaign.yaml');
  await writeFile(file, 'name: nowhere\nsources:\n  - pypi: six\n');
  const state = join(dir, 'state');
  const host = `unix://${join(dir, 'dead.sock')}`;
  const { exitCode, stdout, stderr } = await execa(
    process.execPath,
    [join(import.meta.dirname, '../../src/cli/main.ts'), '--state', state, 'campaign', 'run', file],
    { reject: false, env: { DOCKER_HOST: host, REPOFORGE_CACHE: join(dir, 'cache') } },
  );
  expect(stderr).toBe(
    `repoforge: No Docker daemon answers at DOCKER_HOST=${host} (ENOENT): start it, or unset DOCKER_HOST.`,
  );
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
  expect(listServers().filter(({ database }) => database.startsWith(dir))).toEqual([]);
  expect(await readdir(dir)).toEqual(['campaign.yaml']); // no state, no cache
});

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sweepLeft } from '../../src/activities/janitor.ts';
import { testInstallation, type TestInstallation } from '../support/docker.ts';

let installation: TestInstallation;
const children: ChildProcess[] = [];
beforeAll(async () => {
  installation = await testInstallation();
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await installation.cleanup();
});

/** Another process with a container of its own. */
async function worker(): Promise<{ readonly child: ChildProcess; readonly container: string }> {
  const { installation: id } = installation;
  const child = spawn(
    process.execPath,
    [resolve('test/support/containerMaker.ts'), id, await installation.image()],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  children.push(child);
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, container: line.toString().trim() };
}

test('Containers of a killed worker go; those of a working one, and of one that is only stopped, stay', async () => {
  const [killed, working, stopped] = await Promise.all([worker(), worker(), worker()]);
  const there = async (): Promise<readonly string[]> =>
    (await installation.driver.list(installation.installation)).map(({ id }) => id).toSorted();
  stopped.child.kill('SIGSTOP');
  expect(await sweepLeft(installation)).toMatchObject({ containers: 0 });
  expect(await there()).toHaveLength(3);
  const gone = once(killed.child, 'exit');
  killed.child.kill('SIGKILL');
  await gone;
  expect(await sweepLeft(installation)).toMatchObject({ containers: 1 });
  expect(await there()).toEqual([working.container, stopped.container].toSorted());
});

import { spawnSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { installScript } from '../../../src/ecosystems/python/runScripts.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-install-'));
  const tools = join(dir, 'bin');
  await mkdir(tools);
  await mkdir(join(dir, 'tree'));
  const tool = async (name: string, lines: string): Promise<void> => {
    await writeFile(join(tools, name), `#!/bin/sh\n${lines}\n`);
    await chmod(join(tools, name), 0o755);
  };
  await tool('python3', `mkdir -p ${dir}/venv/lib/python3.11/site-packages`);
  await tool('python', `echo "$@" >> ${dir}/developed`);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** Runs the script with an installer that does this; whether `setup.py develop` took its place, and the exit code. */
async function install(how: string): Promise<{ readonly code: number | null; readonly developed: boolean }> {
  const { command } = installScript(['sh', '-c', how], null);
  const [program = '', ...args] = command.map((word) => word.replaceAll('/venv', join(dir, 'venv')));
  const { status } = spawnSync(program, args, {
    cwd: join(dir, 'tree'),
    env: { PATH: `${join(dir, 'bin')}:${process.env['PATH']}`, HOME: dir },
  });
  const developed = await readFile(join(dir, 'developed'), 'utf8').catch(() => '');
  return { code: status, developed: developed !== '' };
}

test.each([
  ['that succeeds is enough', 'exit 0', true, { code: 0, developed: false }],
  ['that fails makes way for setup.py develop', 'exit 2', true, { code: 0, developed: true }],
  ['that fails without a setup.py fails', 'exit 2', false, { code: 2, developed: false }],
  ['that was killed does not make way', 'kill -KILL $$', true, { code: 137, developed: false }],
])('an installer %s', async (_title, how, setup, outcome) => {
  if (setup) await writeFile(join(dir, 'tree', 'setup.py'), '');
  expect(await install(how)).toEqual(outcome);
});

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shortLine } from '../../src/cli/context.ts';
import { table } from '../../src/cli/output.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'repoforge-cli-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const repoforge = (...args: string[]) =>
  execa(
    process.execPath,
    [join(import.meta.dirname, '../../src/cli/main.ts'), '--state', join(dir, 'state'), ...args],
    { reject: false },
  );

describe('the command line', () => {
  it.each([
    ['an unknown command', ['campain'], /unknown command 'campain'[\s\S]*Did you mean campaign\?/],
    ['an unknown option', ['doctor', '--jsn'], /unknown option '--jsn'[\s\S]*Did you mean --json\?/],
    [
      'a campaign file that is not there',
      ['campaign', 'run', 'nosuch.yaml'],
      /^repoforge: There is no campaign file nosuch\.yaml\.$/,
    ],
    [
      'a training file that is not there',
      ['rl', 'run', 'nosuch.yaml'],
      /^repoforge: There is no training file nosuch\.yaml\.$/,
    ],
    [
      'a dataset that is not there',
      ['evaluate', '-d', 'nosuch', '--gold'],
      /^repoforge: There is no dataset of a campaign "nosuch" in .*; run the campaign first/,
    ],
    [
      'two things to evaluate',
      ['evaluate', '-d', 'x', '--gold', '--nop'],
      /exactly one of --gold, --nop and -p FILE/,
    ],
    [
      'a job count that is none',
      ['evaluate', '-d', 'x', '--gold', '-j', 'many'],
      /-j needs a whole number of at least 1/,
    ],
    [
      'an attack that is none',
      ['audit', '-d', 'x', '--attacks', 'nop,nonsense'],
      /There is no attack "nonsense"/,
    ],
    ['an audit of nothing', ['audit'], /Say what to audit/],
    ['a sample that is none', ['audit', '-d', 'x', '--sample', '0'], /--sample needs a whole number/],
    [
      'an unknown format',
      ['export', 'x', '-f', 'parquet', '-o', 'out'],
      /There is no format "parquet"; formats are classic, v5, native\./,
    ],
    ['scores that are none', ['export', 'x', '-o', 'out', '--max-scores', '1,9'], /max-scores|scores/],
    [
      'an unknown role',
      ['worker', '--role', 'gpu'],
      /There is no role "gpu"; roles are control, mining, sandbox, llm, trainer\./,
    ],
  ])('answers %s with a sentence, exit code 2 and nothing on stdout', async (_title, args, message) => {
    const { exitCode, stdout, stderr } = await repoforge(...args);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  });

  it('names file, line and the meant key when a campaign file has a misspelt one', async () => {
    const file = join(dir, 'campaign.yaml');
    await writeFile(file, 'name: x\nsources:\n  - pypi: six\nmax_instance: 3\n');
    const { exitCode, stderr } = await repoforge('campaign', 'run', file);
    expect(stderr).toBe(`repoforge: ${file}:4:1: unknown key "max_instance"; did you mean "max_instances"?`);
    expect(exitCode).toBe(2);
  });

  it('refuses an environment variable that nobody reads, with the one that was meant', async () => {
    const { stderr, exitCode } = await execa(
      process.execPath,
      [join(import.meta.dirname, '../../src/cli/main.ts'), 'report', 'x'],
      {
        reject: false,
        env: { REPOFORGE_DISK_FLOR: '1GiB' },
      },
    );
    expect(stderr).toMatch(/REPOFORGE_DISK_FLOR.*REPOFORGE_DISK_FLOOR/s);
    expect(exitCode).not.toBe(0);
  });

  it('prints one JSON document for doctor --json and lists every part a campaign needs', async () => {
    const { stdout } = await repoforge('--json', 'doctor');
    const { checks } = JSON.parse(stdout) as { checks: { name: string; ok: string; detail: string }[] };
    expect(checks.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        'node',
        'docker',
        'temporal',
        'package index',
        'disk',
        'github',
        'label model',
      ]),
    );
    expect(checks.every(({ ok, detail }) => ['ok', 'warn', 'fail'].includes(ok) && detail !== '')).toBe(true);
  });

  it('says that no embedded server was running when there is none to stop', async () => {
    const { stdout, exitCode } = await repoforge('dev', 'stop', '--json');
    expect({ answer: JSON.parse(stdout) as unknown, exitCode }).toEqual({
      answer: { stopped: false },
      exitCode: 0,
    });
  });
});

describe('what people read', () => {
  it('aligns numbers right and words left', () => {
    expect(
      table([
        ['mined', 12],
        ['published', 3],
      ]),
    ).toBe('mined      12\npublished   3');
  });

  it('shortens a log entry of a failed activity to what, where and why', () => {
    const entry = {
      level: 40,
      activity: 'runTests',
      workflow: 'instance/a/b',
      attempt: 2,
      err: { message: 'docker is gone\nstack', type: 'x' },
      msg: 'activity failed',
    };
    expect(shortLine(JSON.stringify(entry))).toBe(
      'warn: runTests of instance/a/b (attempt 2): docker is gone; it is tried again',
    );
  });
});

it('audit --list says what each attack tries, and starts nothing', async () => {
  const { stdout, exitCode } = await repoforge('audit', '--list', '--json', '--attacks', 'nop,module-hook');
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toEqual([
    expect.objectContaining({ name: 'nop', kind: 'prediction', expected: ['unresolved'] }),
    expect.objectContaining({
      name: 'module-hook',
      tries: expect.stringMatching(/^turns failures into passes/),
    }),
  ]);
});

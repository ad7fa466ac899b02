import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SANDBOX_USERS, type Sandbox } from '../../src/sandbox/types.ts';
import { testInstallation, type TestInstallation } from '../support/docker.ts';
import { PYTHON_FORK_BOMB, sandboxSpec } from './sandboxSpec.ts';

let own: TestInstallation;
let sandbox: Sandbox;
const asTest = { user: SANDBOX_USERS.test, timeoutMs: 20_000 };

beforeAll(async () => {
  own = await testInstallation();
  sandbox = await own.driver.create(
    sandboxSpec({ image: await own.image(), installation: own.installation }),
  );
});
afterAll(async () => own.cleanup());

/** Command lines of all processes of the container. */
async function processes(): Promise<string> {
  const script = 'for f in /proc/[0-9]*/cmdline; do tr "\\0" " " < $f 2>/dev/null; echo; done';
  const { stdout } = await sandbox.exec(['sh', '-c', script], {
    user: SANDBOX_USERS.root,
    timeoutMs: 20_000,
  });
  return stdout.toString();
}

const isAlive = async (): Promise<boolean> =>
  (await sandbox.exec(['true'], { user: SANDBOX_USERS.test, timeoutMs: 10_000 })).exitCode === 0;

describe('a command in a sandbox', () => {
  it('gives its exit code, its stdin, both streams apart and interleaved, and its environment and directory', async () => {
    const script = 'cat; echo out; sleep 0.2; echo err >&2; sleep 0.2; echo "$A $PWD"; exit 7';
    const result = await sandbox.exec(['sh', '-c', script], {
      ...asTest,
      stdin: 'in\n',
      cwd: '/testbed',
      env: { A: 'x y' },
    });
    expect(result).toMatchObject({ exitCode: 7, timedOut: false, outOfMemory: false, droppedBytes: 0 });
    expect(result.stdout.toString()).toBe('in\nout\nx y /testbed\n');
    expect(result.stderr.toString()).toBe('err\n');
    expect(result.output.toString()).toBe('in\nout\nerr\nx y /testbed\n');
  });

  it('that does not exist is exit code 126 or 127, not an infrastructure failure', async () => {
    expect([126, 127]).toContain((await sandbox.exec(['no-such-program'], asTest)).exitCode);
  });

  it('is over when it ends, even if a child in the background holds its output', async () => {
    const result = await sandbox.exec(['sh', '-c', 'sleep 60 & echo done'], asTest);
    expect(result).toMatchObject({ exitCode: 0, timedOut: false });
    expect(result.durationMs).toBeLessThan(10_000);
  });

  it('that floods its output is drained: the first bytes are kept, the rest is counted', async () => {
    const flood = 'import sys\nfor _ in range(640): sys.stdout.write("x" * 102400)';
    const result = await sandbox.exec(['python3', '-c', flood], { ...asTest, outputBytes: 1_000 });
    expect(result.exitCode).toBe(0);
    expect(result.output.toString()).toBe('x'.repeat(1_000));
    expect(result.droppedBytes).toBe(640 * 102_400 - 1_000);
  });
});

describe('a deadline', () => {
  it('ends every process of the user, also those that left the session, and the container lives on', async () => {
    const script =
      'nohup sleep 4711 >/dev/null 2>&1 & setsid sleep 4712 >/dev/null 2>&1 & (setsid sleep 4713 &) ; sleep 4714';
    const result = await sandbox.exec(['sh', '-c', script], { ...asTest, timeoutMs: 500 });
    expect(result).toMatchObject({ exitCode: null, timedOut: true });
    expect(result.durationMs).toBeLessThan(8_000);
    expect(await processes()).not.toMatch(/471\d/);
    expect(await isAlive()).toBe(true);
  });

  it('ends a process that ignores signals', async () => {
    const script = 'trap "" TERM INT HUP; while :; do sleep 4721; done';
    expect(await sandbox.exec(['sh', '-c', script], { ...asTest, timeoutMs: 500 })).toMatchObject({
      timedOut: true,
    });
    expect(await processes()).not.toContain('4721');
  });

  it("ends root's commands as well without ending the container's main process", async () => {
    const script = 'setsid sleep 4731 & sleep 4732';
    const result = await sandbox.exec(['sh', '-c', script], { user: SANDBOX_USERS.root, timeoutMs: 500 });
    expect(result.timedOut).toBe(true);
    expect(await processes()).not.toMatch(/473\d/);
    expect(await processes()).toContain('sleep infinity');
  });

  it('is not reached by a cancelled command: an abort kills its processes and throws the reason', async () => {
    const controller = new AbortController();
    const running = sandbox.exec(['sh', '-c', 'setsid sleep 4741 & sleep 4742'], {
      ...asTest,
      signal: controller.signal,
    });
    setTimeout(() => controller.abort(new Error('cancelled by the test')), 300);
    await expect(running).rejects.toThrow('cancelled by the test');
    expect(await processes()).not.toMatch(/474\d/);
  });
});

describe('a greedy command', () => {
  it('that eats memory is killed by its limit and reported as out of memory, and the next command is not', async () => {
    const hog = await sandbox.exec(['python3', '-c', 'x = bytearray(2 * 1024**3)'], asTest);
    expect(hog).toMatchObject({ outOfMemory: true, timedOut: false });
    expect(hog.exitCode).not.toBe(0);
    expect((await sandbox.exec(['true'], asTest)).outOfMemory).toBe(false);
    expect(await sandbox.peakMemoryBytes()).toBeGreaterThan(200 * 1024 ** 2);
  });

  it('whose child eats memory is reported as out of memory even when it ends with 0 itself', async () => {
    const script = 'python3 -c "x = bytearray(2 * 1024**3)"; exit 0';
    expect(await sandbox.exec(['sh', '-c', script], asTest)).toMatchObject({
      exitCode: 0,
      outOfMemory: true,
    });
  });

  it('that forks without end meets the process limit; the deadline ends all of it and the sandbox is usable again', async () => {
    const bomb = await sandbox.exec(['python3', '-c', PYTHON_FORK_BOMB], { ...asTest, timeoutMs: 1_500 });
    expect(bomb).toMatchObject({ exitCode: null, timedOut: true });
    expect(await processes()).not.toContain('os.fork');
    expect(await isAlive()).toBe(true);
  });
});

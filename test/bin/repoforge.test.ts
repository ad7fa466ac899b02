import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'rf-bin-'));
  mkdirSync(join(root, 'bin'));
  cpSync(resolve('bin/repoforge.mjs'), join(root, 'bin/repoforge.mjs'));
  write('package.json', '{"type":"module"}');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

const MAIN = `process.on('SIGTERM', () => { process.stdout.write('ended in order'); process.exit(5); });
process.stdout.write(JSON.stringify({ node: process.versions.node, args: process.argv.slice(2) }));
if (process.argv.includes('wait')) setInterval(() => {}, 1000);
else process.exitCode = Number(process.argv[3] ?? 0);`;

/** Makes this Node say that it is version 20, as a machine's own Node would. */
const OLD = [
  '--import',
  `data:text/javascript,${encodeURIComponent("Object.defineProperty(process,'versions',{value:{...process.versions,node:'20.20.2'}})")}`,
];
const run = (nodeArgs: readonly string[], ...args: string[]) =>
  spawnSync(process.execPath, [...nodeArgs, join(root, 'bin/repoforge.mjs'), ...args], { encoding: 'utf8' });

describe('bin/repoforge.mjs', () => {
  it('runs the TypeScript of a checkout on the pinned Node when the machine has an old one', () => {
    write('src/cli/main.ts', `const typed: string = 'x'; void typed;\n${MAIN}`);
    mkdirSync(join(root, 'node_modules/.bin'), { recursive: true });
    symlinkSync(process.execPath, join(root, 'node_modules/.bin/node'));
    const ran = run(OLD, 'exit', '3', '--json');
    expect(ran.status).toBe(3);
    expect(JSON.parse(ran.stdout)).toEqual({ node: process.versions.node, args: ['exit', '3', '--json'] });
  });

  it('runs in the same process when the Node is new enough', () => {
    write('src/cli/main.ts', 'process.stdout.write(String(process.pid))');
    mkdirSync(join(root, 'node_modules'));
    const ran = run([]);
    expect(ran.stdout).toBe(String(ran.pid));
  });

  it('runs dist of the published package, with the pinned Node that npm put beside it', () => {
    const name = `node-${process.platform}-${process.arch}`;
    write('dist/cli/main.js', MAIN);
    write(`node_modules/${name}/package.json`, JSON.stringify({ name }));
    mkdirSync(join(root, `node_modules/${name}/bin`));
    symlinkSync(process.execPath, join(root, `node_modules/${name}/bin/node`));
    expect(run([]).status).toBe(0);
    expect(JSON.parse(run(OLD, 'a').stdout)).toEqual({ node: process.versions.node, args: ['a'] });
  });

  it('says what it needs when there is only an old Node', () => {
    write('dist/cli/main.js', MAIN);
    expect(run(OLD)).toMatchObject({
      status: 1,
      stdout: '',
      stderr: 'repoforge: needs Node 22.18 or newer, and this is 20.20.2.\n',
    });
  });

  it('passes SIGTERM on and ends with the exit code that the CLI chose', async () => {
    write('src/cli/main.ts', MAIN);
    mkdirSync(join(root, 'node_modules/.bin'), { recursive: true });
    symlinkSync(process.execPath, join(root, 'node_modules/.bin/node'));
    const child = spawn(process.execPath, [...OLD, join(root, 'bin/repoforge.mjs'), 'wait'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect(await once(child, 'close')).toEqual([5, null]);
    expect(output).toContain('ended in order');
  });
});

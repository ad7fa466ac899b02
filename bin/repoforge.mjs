#!/usr/bin/env node
// Starts the CLI on a Node that can run it. Machines still ship Node 20, which cannot load our code; the pinned Node
// comes with our dependencies. Plain JavaScript, built-ins only: this file must load on any Node.
import { spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import module, { createRequire } from 'node:module';
import { constants, homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(realpathSync(fileURLToPath(import.meta.url))));
const checkout = join(root, 'src/cli/main.ts'); // not in the published package
const isCheckout = existsSync(checkout);
const main = isCheckout ? checkout : join(root, 'dist/cli/main.js');

/** Where caches go by XDG; compiled code of every module halves the start. Never a directory that others may write to. */
const caches = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
const compileCache = join(caches, 'repoforge', 'node');
/** Without a home Node may look for a place to make the directory without end (seen under /proc). */
const mayCache = existsSync(dirname(caches));

/** Node 22.18, 23.6 and 24 strip types without a flag; dist needs the same floor for its dependencies. */
const isNewEnough = (version) => {
  const [major, minor] = version.split('.').map(Number);
  return major >= 24 || (major === 22 && minor >= 18) || (major === 23 && minor >= 6);
};

function pinnedNode() {
  const inCheckout = join(root, 'node_modules/.bin/node');
  if (isCheckout) return existsSync(inCheckout) ? inCheckout : null;
  try {
    // as a dependency we lie beside it, or above it, wherever npm put it
    const name = `node-${process.platform}-${process.arch}`;
    return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), 'bin/node');
  } catch {
    return null;
  }
}

/** Runs the CLI on another Node: same terminal, same exit code, signals passed on. */
function rerun(node) {
  const child = spawn(node, [main, ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...(mayCache ? { NODE_COMPILE_CACHE: compileCache } : {}), ...process.env },
  });
  const own = ['SIGINT', 'SIGQUIT', 'SIGHUP']; // the terminal sends these to the child itself; twice would mean "now!"
  for (const name of [...own, 'SIGTERM', 'SIGUSR2']) {
    process.on(name, () => {
      if (!own.includes(name) || !process.stdin.isTTY) child.kill(name);
    });
  }
  child.once('error', (error) => fail(`cannot run ${node}: ${error.message}`));
  child.once('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}

function fail(message) {
  process.stderr.write(`repoforge: ${message}\n`);
  process.exit(1);
}

async function start() {
  if (isCheckout && !existsSync(join(root, 'node_modules'))) {
    const { boot } = await import(pathToFileURL(join(root, 'scripts/boot.mjs')).href);
    boot(root);
  }
  if (isNewEnough(process.versions.node)) {
    if (mayCache) module.enableCompileCache(compileCache);
    return void (await import(pathToFileURL(main).href));
  }
  const node = pinnedNode();
  if (node === null) return fail(`needs Node 22.18 or newer, and this is ${process.versions.node}.`);
  rerun(node);
}

await start().catch((error) => fail(error instanceof Error ? error.message : String(error)));

// Makes node_modules match package-lock.json before any script of ours runs. It must run on whatever Node the machine
// has, before anything is installed: plain JavaScript, built-ins only. stdout stays clean (it belongs to `--json`).
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const WAIT_STEP_MS = 200;
const WAIT_LIMIT_MS = 15 * 60_000; // a first install on a slow line; longer means a stuck installer

/** What node_modules must have been made from: another lock file, platform or architecture makes it stale. */
export function stampOf(lockText, platform = process.platform, arch = process.arch) {
  return createHash('sha256').update(lockText).update(`\n${platform}\n${arch}\n`).digest('hex');
}

/** True when what npm says it installed is what the lock file asks for (a developer's own `npm install`, for one). */
export function installedMatchesLock(lockText, installedText) {
  const wanted = JSON.parse(lockText).packages ?? {};
  const installed = JSON.parse(installedText).packages ?? {};
  const same = (a, b) =>
    a !== undefined && b !== undefined && a.version === b.version && a.integrity === b.integrity;
  return (
    Object.entries(installed).every(([path, entry]) => same(wanted[path], entry)) &&
    Object.entries(wanted).every(
      ([path, entry]) =>
        path === '' || entry.optional || entry.peer || entry.devOptional || path in installed,
    )
  );
}

/** Deletes what no run on this machine can use: 170 MB of 550. */
export function slim(modules, platform = process.platform, arch = process.arch) {
  const list = (dir) => (existsSync(dir) ? readdirSync(dir) : []);
  const cpu = { x64: 'x86_64', arm64: 'aarch64' }[arch];
  const system = { linux: '-linux-', darwin: '-apple-', win32: '-windows-' }[platform];
  const releases = join(modules, '@temporalio/core-bridge/releases');
  for (const name of cpu && system ? list(releases) : []) {
    if (!name.startsWith(`${cpu}-`) || !name.includes(system))
      rmSync(join(releases, name), { recursive: true, force: true });
  }
  for (const name of list(modules).filter((entry) => entry.startsWith('node-linux-'))) {
    for (const part of ['include', 'share'])
      rmSync(join(modules, name, part), { recursive: true, force: true });
  }
}

/** Installs if needed. Returns true when it installed. */
export function boot(root) {
  const lockText = readFileSync(join(root, 'package-lock.json'), 'utf8');
  const stamp = stampOf(lockText);
  const isCurrent = () => read(stampFile(root)) === stamp;
  if (isCurrent()) return false;
  return withLock(join(root, '.repoforge', 'boot.lock'), () => {
    if (isCurrent()) return false; // another process did it while we waited
    const installed = read(join(root, 'node_modules/.package-lock.json'));
    const needed = installed === null || !installedMatchesLock(lockText, installed) || lacksPinnedNode(root);
    if (needed) install(root);
    if (lacksPinnedNode(root))
      throw new Error('npm ci left out the pinned Node (node-linux-*); check that the registry has it.');
    slim(join(root, 'node_modules'));
    writeFileSync(stampFile(root), stamp); // last: a killed install is done again
    return needed;
  });
}

const stampFile = (root) => join(root, 'node_modules', '.repoforge-stamp');

/** npm skips an optional package that it cannot fetch in silence; everything would then run on the machine's own Node. */
const lacksPinnedNode = (root) =>
  process.platform === 'linux' &&
  ['x64', 'arm64'].includes(process.arch) &&
  !existsSync(join(root, 'node_modules/.bin/node'));

function install(root) {
  const startedAt = Date.now();
  process.stderr.write('repoforge: installing dependencies (npm ci) … ');
  // Inside `npm run`, npm names itself and the Node that runs it; that Node is never the one that npm ci deletes.
  const { npm_execpath: npm, npm_node_execpath: node } = process.env;
  const viaNpm = npm !== undefined && node !== undefined && /npm-cli\.[cm]?js$/.test(npm) && existsSync(node);
  // --include: NODE_ENV=production or an omit setting in the user's npmrc would leave out half of what the scripts need.
  const args = [
    'ci',
    '--ignore-scripts',
    '--include=dev',
    '--include=optional',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ];
  const done = spawnSync(viaNpm ? node : 'npm', viaNpm ? [npm, ...args] : args, {
    cwd: root,
    stdio: ['ignore', 2, 2],
  });
  if (done.error || done.status !== 0) {
    const why = done.error
      ? done.error.message
      : `npm ci ended with ${done.signal ?? `exit code ${done.status}`}`;
    throw new Error(
      `installing the dependencies failed: ${why}. Mend the cause above (network, registry, disk) and run again.`,
    );
  }
  process.stderr.write(`done in ${((Date.now() - startedAt) / 1000).toFixed(1)} s\n`);
}

function withLock(file, work) {
  mkdirSync(dirname(file), { recursive: true });
  const deadline = Date.now() + WAIT_LIMIT_MS;
  let told = false;
  while (!tryLock(file)) {
    if (!told)
      process.stderr.write('repoforge: waiting for another process that is installing dependencies\n');
    told = true;
    if (Date.now() > deadline)
      throw new Error(`another process has held ${file} for 15 minutes; end it or delete the file.`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WAIT_STEP_MS);
  }
  try {
    return work();
  } finally {
    rmSync(file, { force: true });
  }
}

/** A lock is a file with the holder's pid; one whose holder is gone is taken over. */
function tryLock(file) {
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  if (!isAbandoned(file)) return false;
  const aside = `${file}.${process.pid}`;
  try {
    renameSync(file, aside); // one of several waiters wins; the others try again
    rmSync(aside, { force: true });
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  return false;
}

function isAbandoned(file) {
  const holder = Number(read(file));
  if (holder > 0) return !isAlive(holder);
  const made = statSync(file, { throwIfNoEntry: false })?.mtimeMs;
  return made !== undefined && Date.now() - made > 10_000; // killed between making the file and writing its pid
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  try {
    boot(dirname(dirname(fileURLToPath(import.meta.url))));
  } catch (error) {
    process.stderr.write(`\nrepoforge: ${error.message}\n`);
    process.exitCode = 1;
  }
}

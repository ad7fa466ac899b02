import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** Where everything of one installation lies. A state directory can be moved or deleted as a whole. */
export interface State {
  readonly dir: string;
  /** 12 hex digits, made once; labels every container and names the store volume. */
  readonly installation: string;
  readonly paths: {
    readonly artefacts: string;
    readonly records: string;
    readonly mirrors: string;
    readonly temporal: string;
    readonly campaigns: string;
    readonly runs: string;
    /** A bounded cache: all of it can be made again. */
    readonly workspaces: string;
  };
}

/** `$REPOFORGE_STATE`, else `$XDG_STATE_HOME/repoforge`, else `~/.local/state/repoforge`. */
export function defaultStateDir(env: NodeJS.ProcessEnv = process.env): string {
  return resolve(
    env['REPOFORGE_STATE'] || join(env['XDG_STATE_HOME'] || join(homedir(), '.local', 'state'), 'repoforge'),
  );
}

/** `$REPOFORGE_CACHE`, else `$XDG_CACHE_HOME/repoforge`, else `~/.cache/repoforge`. Everything in it can be made again. */
export function defaultCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  return resolve(
    env['REPOFORGE_CACHE'] || join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'repoforge'),
  );
}

/** Opens a state directory, making it on first use. Two processes that open a new one at once agree on its id. */
export async function openState(dir: string = defaultStateDir()): Promise<State> {
  const absolute = resolve(dir);
  const paths = {
    artefacts: join(absolute, 'artefacts'),
    records: join(absolute, 'records'),
    mirrors: join(absolute, 'mirrors'),
    temporal: join(absolute, 'temporal'),
    campaigns: join(absolute, 'campaigns'),
    runs: join(absolute, 'runs'),
    workspaces: join(absolute, 'workspaces'),
  };
  await Promise.all(Object.values(paths).map((path) => mkdir(path, { recursive: true })));
  return { dir: absolute, installation: await installationId(join(absolute, 'installation.json')), paths };
}

async function installationId(file: string): Promise<string> {
  const existing = await readFile(file, 'utf8').catch(() => null);
  if (existing !== null) return parseInstallation(existing, file);
  const mine = `${file}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
  await writeFile(mine, `${JSON.stringify({ installation: randomBytes(6).toString('hex') })}\n`);
  // link() never replaces: whoever comes second reads the first one's id
  await link(mine, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  await rm(mine, { force: true });
  return parseInstallation(await readFile(file, 'utf8'), file);
}

function parseInstallation(text: string, file: string): string {
  try {
    const id = (JSON.parse(text) as { installation?: unknown }).installation;
    if (typeof id === 'string' && /^[0-9a-f]{12}$/.test(id)) return id;
  } catch {
    // falls through to the one sentence below
  }
  throw new Error(`${file} does not hold an installation id; restore it, or use another state directory.`);
}

import type { ApplicationFailure } from '@temporalio/common';
import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';
import { git, gitOk } from './gitRun.ts';
import type { GitOptions } from './gitRun.ts';

export interface FetchOptions {
  /** Refs beside branches and tags, e.g. `refs/pull/12/head`; those that the remote lacks are reported, not fatal. */
  readonly refs?: readonly string[];
  /** False: only `refs` are fetched and the branches stay as they are. Default true. */
  readonly branches?: boolean;
  /** Value of an HTTP Authorization header; reaches git through its environment, never the command line. */
  readonly authorization?: string;
  readonly signal?: AbortSignal;
}

export interface FetchResult {
  /** Commit of the remote's HEAD; null when the remote is empty. Kept by `refs/repoforge/head`. */
  readonly head: string | null;
  /** Short name of the remote's default branch; null when the remote names none. */
  readonly defaultBranch: string | null;
  readonly missingRefs: readonly string[];
}

export interface MirrorPlace {
  readonly gitDir: string;
  readonly exists: () => Promise<boolean>;
  /** Builds the repository beside its place and renames it there. */
  readonly place: <T>(fill: (dir: string) => Promise<T>) => Promise<T>;
}

const ARGUMENTS_PER_FETCH = 200;

/**
 * Makes or updates the bare mirror of a git URL or path: all branches and tags, and the named refs. The caller holds
 * the mirror's lock. Old commits are never collected. Errors: unknown repository → permanent NotFound; refused
 * protocol or no address at all → permanent BadInput; network trouble → Infra; HTTP 429 → RateLimited.
 */
export async function fetchInto(
  place: MirrorPlace,
  url: string,
  options: FetchOptions,
): Promise<FetchResult> {
  if (url.startsWith('-') || url.trim() === '' || url.includes('\0'))
    throw permanentFailure(
      FAILURE_TYPES.badInput,
      `"${url.slice(0, 100)}" is not the address of a git repository.`,
    );
  if (await place.exists()) return update(place.gitDir, url, options);
  return place.place((dir) => update(dir, url, options));
}

async function update(gitDir: string, url: string, options: FetchOptions): Promise<FetchResult> {
  const run = remoteRunner(gitDir, url, options);
  const wanted = options.refs ?? [];
  const { head, defaultBranch, found } = await listRemote(run, url, wanted);
  const branches = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*'];
  if (head !== null) branches.push('+HEAD:refs/repoforge/head');
  const present = wanted.filter((ref) => found.has(ref));
  const specs = [...(options.branches === false ? [] : branches), ...present.map((ref) => `+${ref}:${ref}`)];
  for (let at = 0; at < specs.length; at += ARGUMENTS_PER_FETCH)
    await run([
      'fetch',
      '--quiet',
      '--no-tags',
      '--no-write-fetch-head',
      '--update-shallow',
      '--update-head-ok',
      '--',
      url,
      ...specs.slice(at, at + ARGUMENTS_PER_FETCH),
    ]);
  if (defaultBranch !== null)
    await gitOk(['symbolic-ref', 'HEAD', `refs/heads/${defaultBranch}`], { gitDir });
  return { head, defaultBranch, missingRefs: wanted.filter((ref) => !found.has(ref)) };
}

type RunRemote = (args: readonly string[]) => Promise<Buffer>;

function remoteRunner(gitDir: string, url: string, options: FetchOptions): RunRemote {
  const gitOptions: GitOptions = {
    gitDir,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.authorization === undefined
      ? {}
      : {
          env: {
            GIT_CONFIG_COUNT: '1',
            GIT_CONFIG_KEY_0: 'http.extraHeader',
            GIT_CONFIG_VALUE_0: `Authorization: ${options.authorization}`,
          },
        }),
  };
  return async (args) => {
    const result = await git(args, gitOptions);
    if (result.exitCode !== 0) throw remoteFailure(url, result.stderr);
    return result.stdout;
  };
}

async function listRemote(
  run: RunRemote,
  url: string,
  refs: readonly string[],
): Promise<Pick<FetchResult, 'head' | 'defaultBranch'> & { readonly found: ReadonlySet<string> }> {
  const found = new Set<string>();
  let head: string | null = null;
  let defaultBranch: string | null = null;
  for (let at = 0; at < Math.max(refs.length, 1); at += ARGUMENTS_PER_FETCH) {
    const output = await run([
      'ls-remote',
      '--symref',
      '--',
      url,
      'HEAD',
      ...refs.slice(at, at + ARGUMENTS_PER_FETCH),
    ]);
    for (const line of output.toString('utf8').split('\n')) {
      const symref = /^ref: refs\/heads\/(.+)\tHEAD$/.exec(line);
      if (symref) defaultBranch = symref[1] ?? null;
      const [oid, ref] = line.split('\t');
      if (oid === undefined || ref === undefined || oid.startsWith('ref:')) continue;
      if (ref === 'HEAD') head = oid;
      found.add(ref);
    }
  }
  return { head, defaultBranch, found };
}

/** A URL without what it may carry of a user's secrets. */
export const redactUrl = (url: string): string => url.replace(/\/\/[^/@\s]+@/g, '//');

const REMOTE_FAILURES: readonly {
  readonly pattern: RegExp;
  readonly make: (url: string, said: string) => ApplicationFailure;
}[] = [
  {
    pattern:
      /transport '.*' not allowed|is not a git command|unable to find remote helper|not a valid remote/i,
    make: (url) =>
      permanentFailure(
        FAILURE_TYPES.badInput,
        `"${url}" is not an address that git may read from: use https, ssh, git or a path.`,
      ),
  },
  {
    pattern: /error: 429|too many requests/i,
    make: (url, said) =>
      infraFailure(`The server of ${url} asked to slow down: ${said}`, { type: FAILURE_TYPES.rateLimited }),
  },
  {
    pattern:
      /could not resolve|timed out|connection (refused|reset)|early eof|hung up|unable to access .*: (failed to connect|gnutls|ssl|openssl|recv)|error: 5\d\d|rpc failed/i,
    make: (url, said) => infraFailure(`${url} could not be reached: ${said}`),
  },
  {
    pattern:
      /not found|does not exist|does not appear to be a git repository|not a git repository|no such file or directory/i,
    make: (url) => permanentFailure(FAILURE_TYPES.notFound, `There is no git repository at ${url}.`),
  },
  {
    pattern:
      /could not read username|authentication failed|permission denied|terminal prompts disabled|error: 40[13]|access denied/i,
    make: (url) =>
      permanentFailure(
        FAILURE_TYPES.notFound,
        `There is no git repository at ${url} that can be read without signing in.`,
      ),
  },
];

/** Maps what git said about a remote to a typed failure. */
export function remoteFailure(url: string, stderr: string): ApplicationFailure {
  const shown = redactUrl(url);
  const said = redactUrl(stderr.trim()).slice(0, 1_000);
  const known = REMOTE_FAILURES.find(({ pattern }) => pattern.test(stderr));
  return known ? known.make(shown, said) : infraFailure(`git could not read ${shown}: ${said}`);
}

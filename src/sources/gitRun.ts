import { execa } from 'execa';
import type { Readable } from 'node:stream';
import { FAILURE_TYPES, infraFailure, permanentFailure } from '../domain/failures.ts';

/** Of the caller's environment git sees only what reaching a network needs: no user configuration, no identity. */
const PASSED_THROUGH = [
  'PATH',
  'TMPDIR',
  'SSH_AUTH_SOCK',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'GIT_SSL_CAINFO',
  'CURL_CA_BUNDLE',
  ...['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'].flatMap((name) => [name, name.toUpperCase()]),
];

const FIXED: Readonly<Record<string, string>> = {
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_ATTR_NOSYSTEM: '1',
  GIT_TERMINAL_PROMPT: '0',
  GIT_ASKPASS: '/bin/false',
  GIT_SSH_COMMAND: 'ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new',
  GIT_LITERAL_PATHSPECS: '1', // a file may be called `*` or `:(top)`
  GIT_OPTIONAL_LOCKS: '0',
  GIT_NO_LAZY_FETCH: '1',
  GIT_NO_REPLACE_OBJECTS: '1',
  GIT_PAGER: 'cat',
  LC_ALL: 'C',
  TZ: 'UTC',
};

const OPTIONS = [
  'core.hooksPath=/dev/null',
  'protocol.ext.allow=never',
  'credential.helper=',
  'safe.directory=*', // a mirror may be owned by another user of the same machine
  'core.quotePath=false',
  'core.autocrlf=false',
  'core.symlinks=true',
  'tar.umask=0022', // archives do not depend on the umask of whoever asks
  'gc.auto=0', // objects between "written" and "referenced" must not be collected
  'maintenance.auto=false',
  'fetch.recurseSubmodules=false',
  'submodule.recurse=false',
  'diff.noprefix=false',
  'diff.mnemonicPrefix=false',
  'diff.algorithm=myers',
  'diff.suppressBlankEmpty=false',
  'diff.interHunkContext=0',
  'diff.context=3',
  'diff.renames=false',
].flatMap((option) => ['-c', option]);

/** Longest output that is kept in memory; longer ones are a failure, never a silent cut. */
const MAX_OUTPUT_BYTES = 256 * 1024 ** 2;

export interface GitOptions {
  readonly gitDir?: string;
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly maxOutputBytes?: number;
}

export interface GitResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export function gitEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const name of PASSED_THROUGH) {
    const value = process.env[name];
    if (value !== undefined) passed[name] = value;
  }
  return { ...passed, ...FIXED, ...extra };
}

export const gitArguments = (args: readonly string[], gitDir?: string): string[] => [
  ...OPTIONS,
  ...(gitDir === undefined ? [] : [`--git-dir=${gitDir}`]),
  ...args,
];

/**
 * Runs git to its end with a scrubbed environment. A non-zero exit is a result, not an exception.
 * Throws Infra when git cannot be started or prints more than the cap, Cancelled when the signal fires.
 */
export async function git(args: readonly string[], options: GitOptions = {}): Promise<GitResult> {
  const result = await execa('git', gitArguments(args, options.gitDir), {
    env: gitEnvironment(options.env),
    extendEnv: false,
    encoding: 'buffer',
    stripFinalNewline: false,
    reject: false,
    input: options.input ?? '',
    maxBuffer: options.maxOutputBytes ?? MAX_OUTPUT_BYTES,
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
  });
  if (result.isCanceled) throw permanentFailure(FAILURE_TYPES.cancelled, 'The git operation was cancelled.');
  if (result.isMaxBuffer)
    throw infraFailure(
      `git ${args[0] ?? ''} printed more than ${options.maxOutputBytes ?? MAX_OUTPUT_BYTES} bytes.`,
    );
  if (result.exitCode === undefined)
    throw infraFailure(
      result.signal === undefined
        ? `git could not be started: ${result.shortMessage ?? 'unknown reason'}. Install git and put it on PATH.`
        : `git ${args[0] ?? ''} was ended by ${result.signal}.`,
    );
  return {
    exitCode: result.exitCode,
    stdout: Buffer.from(result.stdout),
    stderr: Buffer.from(result.stderr).toString('utf8'),
  };
}

/** Like `git`, but a non-zero exit is an Infra failure with git's own words. Returns stdout. */
export async function gitOk(args: readonly string[], options: GitOptions = {}): Promise<Buffer> {
  const result = await git(args, options);
  if (result.exitCode !== 0)
    throw infraFailure(
      `git ${args.join(' ').slice(0, 300)} failed (${result.exitCode}): ${result.stderr.trim()}`,
    );
  return result.stdout;
}

export const gitText = async (args: readonly string[], options: GitOptions = {}): Promise<string> =>
  (await gitOk(args, options)).toString('utf8').trim();

/**
 * Starts git and hands its stdout over as it comes; nothing is kept in memory. The stream is destroyed with an Infra
 * failure when git fails. Destroying the stream early ends git.
 */
export function gitStream(args: readonly string[], options: GitOptions = {}): Readable {
  const child = execa('git', gitArguments(args, options.gitDir), {
    env: gitEnvironment(options.env),
    extendEnv: false,
    encoding: 'buffer',
    buffer: { stdout: false, stderr: true },
    stdin: 'ignore',
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
  });
  child.catch(() => undefined); // the stream below carries the failure
  return child.readable();
}

import { sha256Hex } from '../domain/canonical.ts';
import type { InstanceRow } from '../domain/types.ts';
import { SANDBOX_PATHS, SANDBOX_USERS } from '../sandbox/types.ts';
import { patchedPaths } from './patchedPaths.ts';

/** How tests are started inside a sandbox or an image: what our own runs use, so that the two agree. */
export interface RunnerInvocation {
  /** Command with its options, without test paths. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Files of ours that the command names, such as the pinned runner configuration; root-owned. */
  readonly files: readonly { readonly path: string; readonly content: string }[];
  /** Installs the project again, where the row's fix needs it; null where it does not. */
  readonly install: {
    readonly command: readonly string[];
    readonly env: Readonly<Record<string, string>>;
  } | null;
}

/**
 * The `eval_script` of a row in SWE-bench's form. The official harness applies the candidate patch in `/testbed` first and
 * then runs this as root: test files back to their base state, the row's test patch, the pinned runner configuration, then
 * the tests as the test user between the markers that the harness looks for.
 * (The harness itself notes the exit code of the command before the end marker, and strips the first two lines.)
 */
export function evalScript(row: InstanceRow, runner: RunnerInvocation): string {
  const { changed, added } = patchedPaths(row.test_patch);
  const restore = [
    ...(changed.length > 0 ? [`git checkout HEAD -- ${changed.map(shellQuote).join(' ')}`] : []),
    ...(added.length > 0 ? [`rm -rf -- ${added.map(shellQuote).join(' ')}`] : []),
  ];
  const lines = [
    '#!/bin/bash',
    'set -uxo pipefail',
    `cd ${SANDBOX_PATHS.repo}`,
    `git config --global --add safe.directory ${SANDBOX_PATHS.repo}`,
    'git status --short',
    ...restore,
    ...(row.test_patch === '' ? [] : heredoc('git apply --verbose --whitespace=nowarn -', row.test_patch)),
    ...(runner.install === null
      ? []
      : [asUser(SANDBOX_USERS.build, runner.install.env, runner.install.command)]),
    ...runner.files.flatMap(({ path, content }) => heredoc(`cat > ${shellQuote(path)}`, content)),
    ": '>>>>> Start Test Output'",
    testCommand(row, runner),
    ": '>>>>> End Test Output'",
    ...restore,
  ];
  return `${lines.join('\n')}\n`;
}

/** Not as root: some tests look for what root may do, and results should not depend on it. */
const testCommand = (row: InstanceRow, runner: RunnerInvocation): string =>
  asUser(SANDBOX_USERS.test, runner.env, [...runner.command, ...row.test_scope]);

function asUser(user: string, env: Readonly<Record<string, string>>, command: readonly string[]): string {
  const [uid, gid] = user.split(':');
  const words = [
    'setpriv',
    `--reuid=${uid}`,
    `--regid=${gid}`,
    '--clear-groups',
    '--no-new-privs',
    'env',
    '-i',
    ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
    ...command,
  ];
  return words.map(shellQuote).join(' ');
}

/** A here-document whose end word does not stand in the content. */
function heredoc(command: string, content: string): readonly string[] {
  let word = `EOF_${sha256Hex(content).slice(0, 12)}`;
  while (content.includes(word)) word = `${word}_`;
  // the harness drops lines that equal its own first two, so a file that holds one travels encoded
  const unsafe =
    /^(#!\/bin\/bash|set -uxo pipefail)$/m.test(content) ||
    content.includes('>>>>>') ||
    content.includes('\r');
  if (!unsafe) return [`${command} <<'${word}'`, content.replace(/\n$/, ''), word];
  const encoded = Buffer.from(content)
    .toString('base64')
    .replace(/.{1,76}/g, '$&\n')
    .trimEnd();
  return [`base64 -d <<'${word}' | ${command}`, encoded, word];
}

/** A word as bash reads it back; plain words stay plain. */
export const shellQuote = (word: string): string =>
  /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;

export const MAX_DIFF_BYTES = 64 * 1024 ** 2; // no change worth grading is larger

/** What a repository's own configuration could change in the form of a diff is set back to git's defaults. */
const NEUTRAL = [
  'safe.directory=*',
  'core.fsmonitor=false',
  'core.hooksPath=/dev/null',
  'core.autocrlf=false',
  'core.attributesFile=/dev/null',
  'core.excludesFile=/dev/null',
  'diff.noprefix=false',
  'diff.mnemonicPrefix=false',
];
const GIT = `git ${NEUTRAL.map((setting) => `-c ${setting}`).join(' ')}`;

/**
 * The change of a working tree against the root commit (a sandbox's repository has exactly one; commits that an agent
 * added are part of its change), untracked files included. A private index leaves the repository's own index alone.
 * Words after the command are pathspecs more, such as `:(exclude,top,literal)path`.
 */
export const diffCommand: readonly string[] = [
  'sh',
  '-c',
  `set -e
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_INDEX_FILE="/tmp/.repoforge-index-$$"
trap 'rm -f "$GIT_INDEX_FILE"' EXIT
base="$(${GIT} rev-list --max-parents=0 HEAD | tail -n 1)"
${GIT} read-tree "$base"
${GIT} add -A .
${GIT} diff --cached --binary --no-color --no-ext-diff --no-textconv --no-renames -O/dev/null --src-prefix=a/ --dst-prefix=b/ "$base" -- . "$@"`,
  'diff',
];

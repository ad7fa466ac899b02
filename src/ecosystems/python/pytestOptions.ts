/** pytest's command line options as projects write them into `addopts`: which ones a pinned run keeps. Pure. */

/** Splits a command line as Python's shlex does in POSIX mode; null when a quote is left open. */
export function splitArguments(text: string): readonly string[] | null {
  const words: string[] = [];
  let word: string | null = null;
  let quote = '';
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (quote !== '') {
      if (character === quote) quote = '';
      else if (character === '\\' && quote === '"' && /["\\]/.test(text.charAt(at + 1)))
        word += text.charAt((at += 1));
      else word += character;
    } else if (/\s/.test(character)) {
      if (word !== null) words.push(word);
      word = null;
    } else {
      word ??= '';
      if (character === '"' || character === "'") quote = character;
      else if (character === '\\') word += text.charAt((at += 1));
      else word += character;
    }
  }
  if (quote !== '') return null;
  return word === null ? words : [...words, word];
}

/** One word as shlex reads it back. */
export const quoteArgument = (word: string): string =>
  /^[\w@%+=:,./[\]*-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;

/**
 * Options that only report, stop early, reorder, parallelise or lint, or that set what our own command line sets.
 * `value`: what follows as a word of its own belongs to it: `always`, `maybe` (unless it looks like an option), `never`.
 */
interface DroppedOption {
  readonly pattern: RegExp;
  readonly value: 'always' | 'maybe' | 'never';
}

const long = (names: string, value: DroppedOption['value']): DroppedOption => ({
  pattern: new RegExp(`^--(${names})$`),
  value,
});

const DROPPED: readonly DroppedOption[] = [
  long('cov|cov-report|cov-config|cov-context|cov-fail-under|cov-precision', 'maybe'),
  long('cov-[a-z-]+|no-cov|no-cov-on-fail', 'never'),
  long('numprocesses|dist|maxprocesses|max-worker-restart|tx|px|maxschedchunk', 'always'),
  long('forked|boxed|looponfail', 'never'),
  long(
    'quiet|verbose|no-header|no-summary|no-fold-skipped|showlocals|no-showlocals|full-trace|instafail',
    'never',
  ),
  long('verbosity|tb|show-capture|durations|durations-min|color|code-highlight', 'always'),
  long('junitxml|junit-xml|junit-prefix|report-log|html|css|md|md-report-[a-z-]+|json-report-file', 'always'),
  long('self-contained-html|json-report|md-report|sugar|force-sugar|old-summary|nice|no-nice', 'never'),
  long(
    'exitfirst|failed-first|ff|last-failed|lf|new-first|nf|stepwise|sw|stepwise-skip|sw-skip|cache-clear',
    'never',
  ),
  long('maxfail|last-failed-no-failures|lfnf|stepwise-reset|sw-reset', 'always'),
  long('pdb|trace|picked|testmon|strict-config|suppress-no-test-exit-code', 'never'),
  long(
    'pdbcls|rootdir|config-file|basetemp|timeout|timeout-method|session-timeout|reruns|reruns-delay',
    'always',
  ),
  long(
    'only-rerun|rerun-except|max-runs|min-passes|randomly-seed|random-order-[a-z-]+|count|repeat-scope',
    'always',
  ),
  long('force-flaky|flaky-report|no-flaky-report|random-order|randomly-[a-z-]+|fail-on-flaky', 'never'),
  long(
    'benchmark-(storage|sort|columns|group-by|warmup|timer|min-rounds|min-time|max-time|json|name)',
    'always',
  ),
  long('benchmark-[a-z-]+', 'maybe'),
  long(
    'mypy|mypy-[a-z-]+|flake8|flakes|black|isort|pylint|pylint-[a-z-]+|ruff|ruff-format|pep8|pycodestyle',
    'never',
  ),
  long('pydocstyle|codestyle|docstyle|bandit|checkdocs|typeguard-packages|beartype-packages', 'maybe'),
  { pattern: /^-(q+|v+|l|x|f|xv|vx|xq|sq?x)$/, value: 'never' },
  { pattern: /^-[nrcd]$/, value: 'always' },
  { pattern: /^-(n|r)[^-].*$/, value: 'never' },
];

/** Options that pytest keeps and that take the next word: a bare word after any other is a path. */
const TAKES_VALUE = new RegExp(
  `^(-[kmpWo]|--(ignore|ignore-glob|deselect|import-mode|confcutdir|override-ini|capture|pythonwarnings|` +
    `doctest-glob|doctest-report|doctest-encoding|assert|log-[a-z-]+|asyncio-mode|ds|dc|django-[a-z-]+|` +
    `hypothesis-(profile|seed|verbosity)|keyword|markers?|plugin|pastebin|setup-[a-z]+|rootdir|env-file|envfile|anyio-mode))$`,
);

/** Plugins whose absence or presence our own command line decides. */
const DROPPED_PLUGINS =
  /^(no:)?(terminal|junitxml|cacheprovider|xdist|sugar|randomly|cov|pytest_cov|stepwise)$/;

export interface PinnedOptions {
  readonly kept: readonly string[];
  readonly dropped: readonly string[];
  /** Test paths that stood among the options: where discovery starts. */
  readonly paths: readonly string[];
}

/** Divides `addopts` into what steers the meaning of tests, what does not, and paths. */
export function pinOptions(words: readonly string[]): PinnedOptions {
  const kept: string[] = [];
  const dropped: string[] = [];
  const paths: string[] = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    const next = words[at + 1];
    const name = word.startsWith('--') ? (word.split('=', 1)[0] ?? word) : word;
    const attached = name !== word;
    const drop = DROPPED.find(({ pattern }) => pattern.test(name));
    if (drop !== undefined) {
      const takes = !attached && next !== undefined && takesNext(drop.value, next);
      dropped.push(takes ? `${word} ${next}` : word);
      if (takes) at += 1;
    } else if (word === '-p' || /^-p\S/.test(word)) {
      const plugin = word === '-p' ? (next ?? '') : word.slice(2);
      if (word === '-p') at += 1;
      if (DROPPED_PLUGINS.test(plugin)) dropped.push(`-p ${plugin}`);
      else kept.push('-p', plugin);
    } else if (!word.startsWith('-')) {
      paths.push(word);
    } else if (!attached && next !== undefined && TAKES_VALUE.test(word)) {
      kept.push(word, next);
      at += 1;
    } else if (!attached && next !== undefined && !next.startsWith('-') && !isKnownFlag(word)) {
      kept.push(word, next); // an option that we do not know may take the next word
      at += 1;
    } else kept.push(word);
  }
  return { kept, dropped, paths };
}

const takesNext = (value: DroppedOption['value'], next: string): boolean =>
  value === 'always' || (value === 'maybe' && !next.startsWith('-'));

/** Options of pytest itself, kept, that never take a word. */
const isKnownFlag = (word: string): boolean =>
  /^(-s|-[a-zA-Z]\S+|--(doctest-modules|doctest-ignore-import-errors|doctest-continue-on-failure|strict-markers|strict|pyargs|noconftest|keep-duplicates|continue-on-collection-errors|disable-warnings|disable-pytest-warnings|runxfail|no-migrations|nomigrations|reuse-db|create-db|xfail-tb|collect-in-virtualenv|setup-show))$/.test(
    word,
  );

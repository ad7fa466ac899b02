/**
 * The runner's configuration, pinned. What pytest would read from the tree is taken from the row's own commit, reduced to
 * what gives tests their meaning, and written to a file of ours that every run names with `-c`: nothing that a candidate
 * patch does to pytest.ini, pyproject.toml, tox.ini or setup.cfg can then steer the runner.
 */
import { parse as parseToml, stringify as stringifyToml } from 'smol-toml';
import { pinOptions, quoteArgument, splitArguments } from './pytestOptions.ts';

/** Where pytest looks, first match wins (its own order). */
export const RUNNER_CONFIG_FILES = [
  'pytest.toml',
  '.pytest.toml',
  'pytest.ini',
  '.pytest.ini',
  'pyproject.toml',
  'tox.ini',
  'setup.cfg',
] as const;

export interface RunnerConfig {
  /** Name in the repository root: `pythonpath` and `testpaths` are relative to the file that holds them. */
  readonly fileName: '.repoforge-pytest.ini' | '.repoforge-pytest.toml';
  readonly text: string;
  /** The file that it was taken from; null when the project configures nothing. */
  readonly source: string | null;
  /** Options and keys left out, for the note of the run. */
  readonly dropped: readonly string[];
  /** Paths that stood in `addopts`: discovery starts there. */
  readonly paths: readonly string[];
  /** What was kept of `addopts`. */
  readonly options: readonly string[];
  /** True when what gold's run left out is known and left out already: no run may leave out more. */
  readonly settled?: boolean;
  /** The file's text for another list of options. */
  readonly render: (options: readonly string[]) => string;
}

/** The same configuration without some words of its options (a plugin's name takes its `-p` along); null when it has none of them. */
export function withoutOptions(config: RunnerConfig, unwanted: readonly string[]): RunnerConfig | null {
  const isUnwanted = (word: string | undefined): boolean => word !== undefined && unwanted.includes(word);
  const options = config.options.filter(
    (word, at) => !isUnwanted(word) && !(word === '-p' && isUnwanted(config.options[at + 1])),
  );
  if (options.length === config.options.length) return null;
  return { ...config, options, text: config.render(options) };
}

/** The configuration as gold's run had it: nothing that a later run prints can change it further. */
export const settleConfig = (config: RunnerConfig, leftOut: readonly string[]): RunnerConfig => ({
  ...(withoutOptions(config, leftOut) ?? config),
  settled: true,
});

/** Words of a run's note before the options that were left out; exported images must leave out the same. */
export const OPTIONS_LEFT_OUT = 'Left out of addopts, for want of their plugin: ';

/** The options that a run left out, read from its note. */
export const optionsLeftOut = (note: string): readonly string[] =>
  note
    .split(OPTIONS_LEFT_OUT)
    .slice(1)
    .flatMap((part) => part.split('. ')[0]?.split(' ') ?? []);

/** Keys that only report, only check the machine, or that our command line sets. */
const DROPPED_KEYS = new Set([
  'required_plugins',
  'minversion',
  'cache_dir',
  'console_output_style',
  'junit_family',
  'junit_suite_name',
  'junit_logging',
  'junit_log_passing_tests',
  'junit_duration_report',
  'log_cli',
  'log_file',
  'strict_config',
  'strict',
  'timeout',
  'timeout_method',
  'timeout_func_only',
  'session_timeout',
  'addopts',
]);

/**
 * Extracts the effective configuration.
 * @param files texts of the files of `RUNNER_CONFIG_FILES` that the row's commit has
 */
export function pinRunnerConfig(files: ReadonlyMap<string, string>): RunnerConfig {
  for (const name of RUNNER_CONFIG_FILES) {
    const text = files.get(name);
    if (text === undefined) continue;
    const pinned = name.endsWith('.toml') ? pinToml(name, text) : pinIni(name, text);
    if (pinned !== null) return pinned;
  }
  return emptyOf(null);
}

type Table = Readonly<Record<string, unknown>>;
const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

function pinToml(name: string, text: string): RunnerConfig | null {
  let document: Table;
  try {
    document = parseToml(text);
  } catch {
    return null; // pytest would stop; the install most likely did before
  }
  const own = name !== 'pyproject.toml';
  const tool = isTable(document['tool']) ? document['tool'] : {};
  const pytest = own ? document['pytest'] : tool['pytest'];
  if (!isTable(pytest)) return own ? emptyOf(name) : null;
  const legacy = pytest['ini_options'];
  const table = isTable(legacy) ? legacy : own || Object.keys(pytest).length > 0 ? pytest : null;
  if (table === null) return null;
  const options = pinAddopts(table['addopts']);
  const kept = Object.entries(table).filter(([key, value]) => !DROPPED_KEYS.has(key) && value !== undefined);
  const render = (words: readonly string[]): string => {
    // A list keeps the words apart whatever they hold; both tables take one.
    const pinned = { ...(words.length > 0 ? { addopts: words } : {}), ...Object.fromEntries(kept) };
    return stringifyToml({ tool: { pytest: table === legacy ? { ini_options: pinned } : pinned } });
  };
  return {
    fileName: '.repoforge-pytest.toml',
    text: render(options.kept),
    options: options.kept,
    render,
    source: name,
    dropped: [...options.dropped, ...droppedKeys(Object.keys(table))],
    paths: options.paths,
  };
}

const emptyOf = (source: string | null): RunnerConfig => ({
  fileName: '.repoforge-pytest.ini',
  text: '[pytest]\n',
  source,
  dropped: [],
  paths: [],
  options: [],
  render: () => '[pytest]\n',
});

const droppedKeys = (keys: readonly string[]): readonly string[] =>
  keys.filter((key) => DROPPED_KEYS.has(key) && key !== 'addopts');

function pinAddopts(value: unknown) {
  const words = Array.isArray(value)
    ? value.filter((word) => typeof word === 'string')
    : typeof value === 'string'
      ? (splitArguments(value) ?? value.split(/\s+/))
      : [];
  return pinOptions(words);
}

function pinIni(name: string, text: string): RunnerConfig | null {
  const entries = readSection(text, name === 'setup.cfg' ? 'tool:pytest' : 'pytest');
  if (entries === null) return name.endsWith('pytest.ini') ? emptyOf(name) : null; // pytest.ini counts even when empty
  const options = pinAddopts(entries.find(({ key }) => key === 'addopts')?.value);
  const kept = entries.filter(({ key }) => !DROPPED_KEYS.has(key)).flatMap(({ lines }) => lines);
  const render = (words: readonly string[]): string => {
    const addopts = words.length > 0 ? [`addopts = ${words.map(quoteArgument).join(' ')}`] : [];
    return ['[pytest]', ...addopts, ...kept, ''].join('\n');
  };
  return {
    fileName: '.repoforge-pytest.ini',
    text: render(options.kept),
    options: options.kept,
    render,
    source: name,
    dropped: [...options.dropped, ...droppedKeys(entries.map(({ key }) => key))],
    paths: options.paths,
  };
}

interface Entry {
  readonly key: string;
  readonly lines: string[];
  value: string;
}

/** Entries of one section with their lines as they stand, read as iniconfig reads them; null when it is not there. */
function readSection(text: string, section: string): readonly Entry[] | null {
  let inside = false;
  let found = false;
  const entries: Entry[] = [];
  for (const raw of text.split(/\r?\n/)) {
    const line = /^\s*[#;]/.test(raw) ? '' : raw.trimEnd();
    if (line === '') continue;
    if (line.startsWith('[')) {
      const header = (line.split(/[#;]/)[0] ?? '').trimEnd();
      inside = header === `[${section}]`;
      found ||= inside;
    } else if (inside && /^\s/.test(line)) {
      const last = entries.at(-1);
      last?.lines.push(line);
      if (last !== undefined) last.value += `\n${line.trim()}`;
    } else if (inside) {
      const pair = /^([^=:]+?)\s*[=:]\s*(.*)$/.exec(line);
      if (pair?.[1] !== undefined) entries.push({ key: pair[1], lines: [line], value: pair[2] ?? '' });
    }
  }
  return found ? entries : null;
}

import type { IsoTime, RejectionReason } from '../../domain/types.ts';
import { withoutCarriers } from './carriers.ts';
import { dependentsOf, formatLock, parseLock } from './lock.ts';
import type { LockEntry } from './lock.ts';
import { throwIfInfrastructure } from './storeContainer.ts';
import type { StoreContainer } from './storeContainer.ts';

/** Rises when the rules of resolution change: kept resolutions are made anew. */
export const COMPILE_RULES_VERSION = 1;

/** Everything a resolution depends on. Its hash is the name under which the result is kept. */
export interface CompileInput {
  readonly rules: number;
  /** The project's own normalised name: never in its lock. */
  readonly self: string | null;
  readonly importRoots: readonly string[];
  readonly base: string;
  readonly runtimeVersion: string;
  readonly cutoff: IsoTime;
  /** Later cut-off of build back ends and runner where the runtime is younger than the cut-off. */
  readonly toolCutoff: IsoTime | null;
  readonly month: IsoTime;
  readonly exact: IsoTime;
  /** Run-time and build requirements, and the runner: all must resolve. */
  readonly required: readonly string[];
  readonly buildTools: readonly string[];
  /** Test requirements: one that cannot be had is dropped. */
  readonly optional: readonly string[];
}

/** How the lock came about, beside its text. */
export interface CompileResult {
  /** Optional requirements that could not be had. */
  readonly dropped: readonly string[];
  /** Later cut-off that build back ends and runner needed; null when none. */
  readonly relaxedTo: IsoTime | null;
  /** Packages taken from another date because that of the cut-off carries the project itself. */
  readonly carriers: Readonly<Record<string, IsoTime>>;
  /** Packages that need the project itself, which was taken out: they run on the project under test. */
  readonly dependents: readonly string[];
}

export type CompileFailure = {
  readonly ok: false;
  readonly reason: RejectionReason;
  readonly detail: string;
};
type Compiled = { readonly ok: true; readonly value: CompileResult & { readonly lockText: string } };

/** Tools whose release must fit the runtime rather than the calendar. */
const RUNNER_TOOLS = `
  pytest pluggy iniconfig packaging py attrs tomli exceptiongroup importlib-metadata more-itertools wcwidth setuptools wheel
  setuptools-scm flit-core hatchling hatch-vcs poetry-core pdm-backend editables pathspec trove-classifiers
`
  .trim()
  .split(/\s+/);
const MAX_DROPS = 12; // each costs a resolution of about half a second

/** One way to ask the resolver. */
export interface Attempt {
  readonly optional: readonly string[];
  readonly relaxedTo: IsoTime | null;
  readonly carriers: Readonly<Record<string, IsoTime>>;
}

/** Resolves in a store container: the plain way first, then tools relaxed, optional requirements dropped one by one. */
export async function compileLock(
  container: StoreContainer,
  input: CompileInput,
): Promise<Compiled | CompileFailure> {
  let attempt: Attempt = { optional: input.optional, relaxedTo: null, carriers: {} };
  const dropped: string[] = [];
  let outcome = await compileOnce(container, input, attempt);
  while (!outcome.ok) {
    const next = nextAttempt(input, attempt, outcome.output, dropped.length);
    if (next === null) {
      return {
        ok: false,
        reason: 'unresolvable',
        detail: `Nothing resolves before ${input.cutoff}: ${outcome.output.trim().slice(-1_500)}`,
      };
    }
    dropped.push(...attempt.optional.filter((line) => !next.optional.includes(line)));
    attempt = next;
    outcome = await compileOnce(container, input, attempt);
  }
  const clean = await withoutCarriers(container, input, attempt, outcome.entries);
  if (!clean.ok) return clean;
  const entries = clean.entries.filter((entry) => entry.name !== input.self);
  const dependents = input.self === null ? [] : [...dependentsOf(clean.entries, input.self)].toSorted();
  return {
    ok: true,
    value: {
      lockText: formatLock(entries),
      dropped,
      relaxedTo: attempt.relaxedTo,
      carriers: clean.carriers,
      dependents,
    },
  };
}

/** What to try after a failure; null when nothing is left. Pure. */
export function nextAttempt(
  input: CompileInput,
  attempt: Attempt,
  output: string,
  drops: number,
): Attempt | null {
  const culprit = drops < MAX_DROPS ? attempt.optional.find((line) => blamed(line, output)) : undefined;
  if (culprit !== undefined)
    return { ...attempt, optional: attempt.optional.filter((line) => line !== culprit) };
  if (attempt.relaxedTo === null) return { ...attempt, relaxedTo: input.month };
  if (attempt.relaxedTo !== input.exact) return { ...attempt, relaxedTo: input.exact };
  return attempt.optional.length > 0 ? { ...attempt, optional: [] } : null;
}

/** Does the resolver's explanation name this requirement as impossible? */
function blamed(line: string, output: string): boolean {
  const name = /^[a-z0-9-]+/.exec(line)?.[0];
  if (name === undefined) return false;
  const flat = output.replace(/\s+/g, ' ');
  return new RegExp(`(?<![\\w-])${name.replaceAll('-', '[-_.]')}(?![\\w-])`, 'i').test(flat);
}

/** Asks the resolver once. Throws Infra when its output speaks of network or disk. */
export async function compileOnce(
  container: StoreContainer,
  input: CompileInput,
  attempt: Attempt,
): Promise<
  | { readonly ok: true; readonly entries: readonly LockEntry[] }
  | { readonly ok: false; readonly output: string }
> {
  const text = [...new Set([...input.required, ...attempt.optional])].toSorted().join('\n');
  const result = await container.exec(
    [
      'flock',
      '--shared',
      '/store/.resolve.lock',
      'uv',
      'pip',
      'compile',
      '-',
      '--python',
      'python3',
      ...flagsOf(input, attempt),
    ],
    `${text}\n`,
    { SETUPTOOLS_SCM_PRETEND_VERSION: '0' },
  );
  if (result.exitCode === 0) return { ok: true, entries: parseLock(result.stdout.toString('utf8')) };
  const output = result.stderr.toString('utf8');
  throwIfInfrastructure(output, 'Resolving requirements');
  return { ok: false, output };
}

function flagsOf(input: CompileInput, attempt: Attempt): readonly string[] {
  const dates = new Map<string, IsoTime>();
  const tools = [...new Set([...RUNNER_TOOLS, ...input.buildTools])];
  const toolDate =
    attempt.relaxedTo !== null && attempt.relaxedTo > (input.toolCutoff ?? '')
      ? attempt.relaxedTo
      : input.toolCutoff;
  if (toolDate !== null) for (const tool of tools) dates.set(tool, toolDate);
  for (const [carrier, date] of Object.entries(attempt.carriers)) dates.set(carrier, date);
  return [
    `--exclude-newer=${input.cutoff}`,
    '--generate-hashes',
    '--no-header',
    '--annotation-style=line',
    '--quiet',
    ...[...dates].flatMap(([name, date]) => ['--exclude-newer-package', `${name}=${date}`]),
  ];
}

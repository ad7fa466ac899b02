/** One question to uv's resolver, and what it depends on. */
import type { IsoTime, RejectionReason } from '../../domain/types.ts';
import { parseLock } from './lock.ts';
import type { LockEntry } from './lock.ts';
import { throwIfKilled, throwIfUndelivered } from './storeContainer.ts';
import type { StoreContainer } from './storeContainer.ts';

/** Everything a resolution depends on. Its hash is the name under which the result is kept. */
export interface CompileInput {
  readonly rules: number;
  /** The project's own normalised name: never in its lock. */
  readonly self: string | null;
  readonly importRoots: readonly string[];
  readonly base: string;
  readonly runtimeVersion: string;
  readonly cutoff: IsoTime;
  /** Later cut-off of the runner where the runtime is younger than the cut-off. */
  readonly toolCutoff: IsoTime | null;
  /** Cut-off of build back ends: coarser than the calendar's, see `backendCutoff`. */
  readonly backendCutoff: IsoTime;
  readonly month: IsoTime;
  readonly exact: IsoTime;
  /** Run-time and build requirements, and the runner: all must resolve. */
  readonly required: readonly string[];
  readonly buildTools: readonly string[];
  /** Test requirements: one that cannot be had is dropped. */
  readonly optional: readonly string[];
}

export type CompileFailure = {
  readonly ok: false;
  readonly reason: RejectionReason;
  readonly detail: string;
};

const words = (text: string): readonly string[] => text.trim().split(/\s+/);

/** Tools whose release must fit the runtime rather than the calendar. */
export const RUNNER_TOOLS = words(
  'pytest pluggy iniconfig packaging py attrs tomli exceptiongroup importlib-metadata more-itertools wcwidth',
);
export const BACKEND_TOOLS = words(
  `setuptools wheel setuptools-scm flit-core flit-scm hatchling hatch-vcs hatch-fancy-pypi-readme poetry-core
  poetry-dynamic-versioning pdm-backend pdm-pep517 editables pathspec trove-classifiers cython`,
);
/** One way to ask the resolver. */
export interface Attempt {
  readonly optional: readonly string[];
  /** Wheels only, or source archives too: the first needs no compiler and runs no stranger's code. */
  readonly sources: boolean;
  /** Packages whose source cannot be built here: wheels only. */
  readonly noBuild: readonly string[];
  readonly relaxedTo: IsoTime | null;
  readonly carriers: Readonly<Record<string, IsoTime>>;
}

/** Asks the resolver once. Throws Infra when its output speaks of network or disk, or when it was killed. */
export async function compileOnce(
  container: StoreContainer,
  input: CompileInput,
  attempt: Attempt,
): Promise<
  | { readonly ok: true; readonly entries: readonly LockEntry[] }
  | { readonly ok: false; readonly output: string }
> {
  const text = [...new Set([...input.required, ...attempt.optional])].toSorted().join('\n');
  // `gc` takes this lock exclusively before it empties the working cache.
  const command = 'exec flock --shared /store/.resolve.lock uv pip compile - --python python3 "$@"';
  const result = await container.exec(['sh', '-c', command, 'sh', ...flagsOf(input, attempt)], `${text}\n`, {
    SETUPTOOLS_SCM_PRETEND_VERSION: '0',
  });
  if (result.exitCode === 0) return { ok: true, entries: parseLock(result.stdout.toString('utf8')) };
  const output = result.stderr.toString('utf8');
  throwIfUndelivered(output, 'Resolving requirements');
  throwIfKilled(result, 'Resolving requirements');
  return { ok: false, output };
}

function flagsOf(input: CompileInput, attempt: Attempt): readonly string[] {
  const dates = new Map<string, IsoTime>();
  const allow = (tools: readonly string[], date: IsoTime | null): void => {
    if (date === null) return;
    for (const tool of tools) if (date > (dates.get(tool) ?? '')) dates.set(tool, date);
  };
  allow(RUNNER_TOOLS, input.toolCutoff);
  allow(BACKEND_TOOLS, input.backendCutoff);
  allow([...RUNNER_TOOLS, ...BACKEND_TOOLS, ...input.buildTools], attempt.relaxedTo);
  for (const [carrier, date] of Object.entries(attempt.carriers)) dates.set(carrier, date);
  return [
    `--exclude-newer=${input.cutoff}`,
    '--generate-hashes',
    '--no-header',
    '--annotation-style=line',
    '--quiet',
    ...(attempt.sources ? attempt.noBuild.flatMap((name) => ['--only-binary', name]) : ['--no-build']),
    ...[...dates].flatMap(([name, date]) => ['--exclude-newer-package', `${name}=${date}`]),
  ];
}

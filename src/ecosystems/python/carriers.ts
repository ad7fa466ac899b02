import { shiftYears } from './calendar.ts';
import { compileOnce } from './resolver.ts';
import type { Attempt, CompileFailure, CompileInput } from './resolver.ts';
import { isVendored } from './leaks.ts';
import { dependentsOf } from './lock.ts';
import type { LockEntry } from './lock.ts';
import { throwIfUndelivered } from './storeContainer.ts';
import type { StoreContainer } from './storeContainer.ts';

/** The runner itself: a project that it needs would run inside the runner, and a patch could reach the verdict. */
const RUNNER = ['pytest'];

const words = (text: string): readonly string[] => text.trim().split(/\s+/);

/** Packages known to carry copies of others, by the import names they carried in any release. */
const VENDORS: Readonly<Record<string, readonly string[]>> = {
  setuptools: words(
    `more_itertools packaging pyparsing six appdirs ordered_set jaraco importlib_metadata importlib_resources zipp
    typing_extensions tomli nspektr platformdirs backports autocommand inflect typeguard wheel`,
  ),
  wheel: ['packaging'],
  'flit-core': ['tomli'],
  'poetry-core': words('packaging tomli lark fastjsonschema jsonschema attr attrs pyrsistent six tomlkit'),
  'pdm-backend': words('packaging tomli tomli_w pyproject_metadata editables'),
  'pdm-pep517': words('packaging tomli tomli_w pyproject_metadata cerberus boltons license_expression'),
};

/** What must still import on this runtime when the carrier is of another date. */
const MODULES: Readonly<Record<string, string>> = {
  setuptools: 'setuptools.build_meta',
  'flit-core': 'flit_core.buildapi',
  'poetry-core': 'poetry.core.masonry.api',
  'pdm-backend': 'pdm.backend',
  'pdm-pep517': 'pdm.pep517.api',
};

/** Years by which a carrier is moved: back for copies it did not have yet, forward for needs it has lost since. */
const LADDER_FORWARD = [1, 2, 3, 5];
const LADDER_BOTH = [...LADDER_FORWARD, -1, -2, -3, -5];

/** Moves packages that carry the project, or the runner when it needs the project, to another date. */
export async function withoutCarriers(
  container: StoreContainer,
  input: CompileInput,
  attempt: Attempt,
  entries: readonly LockEntry[],
): Promise<
  | { readonly ok: true; readonly entries: readonly LockEntry[]; readonly carriers: Attempt['carriers'] }
  | CompileFailure
> {
  let current = entries;
  let carriers = attempt.carriers;
  const names = new Set(input.importRoots.map((root) => root.split('/')[0] ?? root));
  for (const carrier of Object.keys(VENDORS)) {
    if (!VENDORS[carrier]?.some((name) => names.has(name))) continue;
    const test = async (lock: readonly LockEntry[]): Promise<boolean> =>
      !(await carries(container, input, lock, carrier));
    const moved = await climb(
      container,
      input,
      { ...attempt, carriers },
      current,
      carrier,
      LADDER_BOTH,
      test,
    );
    if (moved === null)
      return leakFailure(
        carrier,
        current,
        'carries a copy of the project in every release that could be had',
      );
    ({ entries: current, carriers } = moved);
  }
  for (const runner of RUNNER) {
    const test = async (lock: readonly LockEntry[]): Promise<boolean> =>
      input.self === null || !dependentsOf(lock, input.self).has(runner);
    const moved = await climb(
      container,
      input,
      { ...attempt, carriers },
      current,
      runner,
      LADDER_FORWARD,
      test,
    );
    if (moved === null)
      return leakFailure(
        runner,
        current,
        'needs the project itself, so the project would run inside the test runner',
      );
    ({ entries: current, carriers } = moved);
  }
  return { ok: true, entries: current, carriers };
}

const leakFailure = (carrier: string, entries: readonly LockEntry[], why: string): CompileFailure => {
  const version = entries.find((entry) => entry.name === carrier)?.version ?? '';
  return { ok: false, reason: 'leak', detail: `${carrier} ${version} ${why}.` };
};

/** Tries the dates of a ladder for one package until the test holds; null when none does. */
async function climb(
  container: StoreContainer,
  input: CompileInput,
  attempt: Attempt,
  entries: readonly LockEntry[],
  carrier: string,
  ladder: readonly number[],
  test: (entries: readonly LockEntry[]) => Promise<boolean>,
): Promise<{ readonly entries: readonly LockEntry[]; readonly carriers: Attempt['carriers'] } | null> {
  if (await test(entries)) return { entries, carriers: attempt.carriers };
  for (const years of ladder) {
    const carriers = { ...attempt.carriers, [carrier]: shiftYears(input.cutoff, years) };
    const next = await compileOnce(container, input, { ...attempt, carriers });
    if (next.ok && (await test(next.entries))) return { entries: next.entries, carriers };
  }
  return null;
}

/** Installs the carrier alone and looks for the project among its files. */
async function carries(
  container: StoreContainer,
  input: CompileInput,
  entries: readonly LockEntry[],
  carrier: string,
): Promise<boolean> {
  const entry = entries.find((candidate) => candidate.name === carrier);
  if (entry === undefined) return false;
  const answer = await container.request<{
    readonly status: 'ok' | 'failed';
    readonly paths?: readonly string[];
    readonly output?: string;
  }>({
    command: 'probe',
    requirement: `${carrier}==${entry.version}`,
    module: MODULES[carrier] ?? '',
  });
  if (answer.status === 'failed') {
    throwIfUndelivered(answer.output ?? '', `Looking into ${carrier} ${entry.version}`);
    return true; // what cannot be installed cannot be used either: take another date
  }
  const roots = input.importRoots.flatMap((root) => [`${root}/`, `${root}.py`]);
  return (answer.paths ?? []).some((path) => isVendored(path, roots));
}

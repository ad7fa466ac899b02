/** Bugs made by rule (the source `mutate`): which there are, in which order they are tried, and who may notice them. Pure. */
import { hashOf } from './canonical.ts';
import { classifyPath } from './split.ts';
import type { SplitOptions } from './split.ts';

/** What src/ecosystems/python/mutations.py can do; it says what each means. */
export const MUTATION_KINDS = [
  'argument',
  'bound',
  'branch',
  'comparison',
  'condition',
  'constant',
  'operator',
  'return',
  'statement',
  'swap',
] as const;
export type MutationKind = (typeof MUTATION_KINDS)[number];

/** One bug: bytes `start` to `end` of a file become `text`. */
export interface Mutation {
  readonly path: string;
  readonly kind: MutationKind;
  /** 1-based line where it begins. */
  readonly line: number;
  /** Dotted name of the function that it is in. */
  readonly function: string;
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** A function of the package, with every name that its body uses. */
export interface KnownFunction {
  readonly path: string;
  readonly name: string;
  readonly uses: readonly string[];
}

/** Copies of other people's code, at any depth, and what lies beside a package. */
const NOT_THE_PACKAGE =
  /(^|\/)(_?vendor(ed)?|_?vendored_packages|extern(al)?s?|third_?party)\/|^(examples?|samples?|scripts?|tools|bin|build|ci|benchmarks?|perf)\//i;
const HOUSEKEEPING = /(^|\/)(setup|conftest|versioneer|ez_setup|__main__|conf)\.py$/;

/** True for a module of the package's own code: no test, document, script, copy of somebody else's code or build file. */
export const isOwnCode = (path: string, options: SplitOptions = {}): boolean =>
  path.endsWith('.py') &&
  classifyPath(path, options) === 'source' &&
  !NOT_THE_PACKAGE.test(path) &&
  !HOUSEKEEPING.test(path);

/** Eight hex digits that tell the bugs of one tree apart. */
export const bugId = ({ path, start, end, text }: Mutation): string =>
  hashOf({ path, start, end, text }).slice(0, 8);

/**
 * The order in which bugs are tried: shuffled by the seed, kinds in turn, and within a kind the first bug of each function
 * before the second of any. Equal bugs, seed and kinds give the equal order. Bugs whose ids collide are left out but for the first.
 */
export function bugOrder(bugs: readonly Mutation[], seed: number): readonly Mutation[] {
  const ids = new Set<string>();
  const kinds = new Map<MutationKind, Ranked[]>();
  const inFunction = new Map<string, number>();
  const shuffled = bugs
    .map((bug) => ({ bug, draw: hashOf({ seed, id: bugId(bug), path: bug.path, line: bug.line }) }))
    .sort((a, b) => (a.draw < b.draw ? -1 : 1));
  for (const { bug } of shuffled) {
    const id = bugId(bug);
    if (ids.has(id)) continue;
    ids.add(id);
    const place = `${bug.kind} ${bug.path} ${bug.function}`;
    const round = inFunction.get(place) ?? 0;
    inFunction.set(place, round + 1);
    kinds.set(bug.kind, [...(kinds.get(bug.kind) ?? []), { bug, round }]);
  }
  const queues = MUTATION_KINDS.map((kind) => (kinds.get(kind) ?? []).sort((a, b) => a.round - b.round));
  const turns = Math.max(0, ...queues.map((queue) => queue.length));
  return Array.from({ length: turns }, (_, turn) => queues.flatMap((queue) => queue[turn]?.bug ?? [])).flat();
}

interface Ranked {
  readonly bug: Mutation;
  /** How many bugs of its kind its function has before it. */
  readonly round: number;
}

const CALLERS_OF_CALLERS = 2;

/**
 * Test modules that may notice a bug, by names alone: those that use the function, one that calls it, or one that calls
 * that. Where none does, those that name its module; else those that name its package. Sorted; empty when nobody would.
 * @param texts test modules by path
 */
export function createReach(
  functions: readonly KnownFunction[],
  texts: ReadonlyMap<string, string>,
): (bug: Pick<Mutation, 'path' | 'function'>) => readonly string[] {
  const words = new Map([...texts].map(([path, text]) => [path, new Set(text.match(/[A-Za-z_]\w*/g))]));
  const callers = new Map<string, Set<string>>();
  for (const { name, uses } of functions)
    for (const used of uses) callers.set(used, (callers.get(used) ?? new Set()).add(nameInUse(name)));
  const naming = (names: Iterable<string>): readonly string[] => {
    const wanted = [...names];
    return [...words].filter(([, own]) => wanted.some((name) => own.has(name))).map(([path]) => path);
  };
  return (bug) => {
    let latest: readonly string[] = [nameInUse(bug.function)];
    const names = new Set(latest);
    for (let step = 0; step < CALLERS_OF_CALLERS; step += 1) {
      latest = latest.flatMap((name) => [...(callers.get(name) ?? [])]);
      for (const name of latest) names.add(name);
    }
    const [package_, module] = importNames(bug.path);
    const found = [names, [module], [package_]].map(naming).find((paths) => paths.length > 0) ?? [];
    return found.toSorted();
  };
}

/** What code that uses a function writes: its own name, or the class where the name is Python's (`__init__`). */
function nameInUse(dotted: string): string {
  const parts = dotted.split('.');
  const own = parts.at(-1) ?? dotted;
  return /^__\w+__$/.test(own) ? (parts.at(-2) ?? own) : own;
}

/** `src/tiny/calc.py` → `tiny`, `calc`; `tiny/__init__.py` → `tiny`, `tiny`. */
function importNames(path: string): readonly [string, string] {
  const parts = path
    .replace(/^(src|lib|python)\//, '')
    .replace(/\.py$/, '')
    .split('/');
  const package_ = parts[0] ?? '';
  const last = parts.at(-1) ?? '';
  return [package_, last === '__init__' ? (parts.at(-2) ?? package_) : last];
}

import { satisfies, validRange } from '@renovatebot/pep440';
import type { IsoTime } from '../../domain/types.ts';
import type { RuntimeBase } from '../../sandbox/types.ts';

export interface RuntimeQuestion {
  /** PEP 440 specifier of `requires-python`; null when the project names none. */
  readonly requiresPython: string | null;
  /** Versions named by `Programming Language :: Python :: X.Y` classifiers, e.g. `['2.7', '3.8']`. */
  readonly classifiers: readonly string[];
  readonly baseCreatedAt: IsoTime;
  readonly available: readonly RuntimeBase[];
}

export type RuntimeChoice =
  | { readonly ok: true; readonly runtime: RuntimeBase; readonly rule: RuntimeRule }
  | { readonly ok: false; readonly detail: string };

/** Which rule chose the runtime; anything but `dated` is a fall-back and is recorded with the resolution. */
export type RuntimeRule = 'dated' | 'above_classifiers' | 'younger_than_base';

const numeric = (version: string): readonly [number, number] => {
  const [major = '0', minor = '0'] = version.split('.');
  return [Number(major), Number(minor)];
};

/** Orders `3.9` before `3.11`. */
export function compareRuntimes(a: string, b: string): number {
  const [aMajor, aMinor] = numeric(a);
  const [bMajor, bMinor] = numeric(b);
  return aMajor - bMajor || aMinor - bMinor;
}

/** `>= 3.7.*` was accepted by old tools although PEP 440 has no such thing. */
const mended = (specifier: string): string => specifier.replace(/([<>]=?\s*[\d.]+?)\.\*/g, '$1');

/**
 * Does requires-python admit any patch release of this runtime? Early and late patch releases are both asked, since
 * `>=3.9.1` excludes 3.9.0 and `<=3.11` excludes 3.11.9. A specifier that nobody can read admits everything.
 */
export function admits(requiresPython: string | null, runtimeVersion: string): boolean {
  if (requiresPython === null || requiresPython.trim() === '') return true;
  const specifier = mended(requiresPython);
  if (!validRange(specifier)) return true;
  return ['0', '1', '25'].some((patch) => satisfies(`${runtimeVersion}.${patch}`, specifier));
}

/**
 * The newest runtime that requires-python admits, that had been released when the base was published and that is not
 * above the newest classifier (DESIGN section 4). Fall-backs, in this order: the oldest admitted runtime that had been
 * released (all are above the classifiers), then the oldest admitted one (the base is older than every runtime).
 * A project that names only Python 2 gets none.
 */
export function chooseRuntime(question: RuntimeQuestion): RuntimeChoice {
  const { requiresPython, classifiers, baseCreatedAt, available } = question;
  const named = classifiers.filter((version) => /^\d+\.\d+$/.test(version)).toSorted(compareRuntimes);
  const newestNamed = named.at(-1);
  const onlyPython2 =
    classifiers.length > 0 &&
    classifiers.every((version) => version.startsWith('2')) &&
    (requiresPython === null || !admits(requiresPython, '3.9'));
  const admitted = available
    .filter((runtime) => admits(requiresPython, runtime.runtimeVersion))
    .toSorted((a, b) => compareRuntimes(a.runtimeVersion, b.runtimeVersion));
  const oldest = admitted[0];
  if (onlyPython2 || oldest === undefined) {
    const have = available.map((runtime) => runtime.runtimeVersion).join(', ') || 'none';
    const needs = onlyPython2 ? 'Python 2 only' : (requiresPython ?? 'any Python');
    return { ok: false, detail: `The project needs ${needs}; runtimes that can be had here: ${have}.` };
  }
  const dated = admitted.filter((runtime) => Date.parse(runtime.releasedAt) <= Date.parse(baseCreatedAt));
  const withinClassifiers = dated.filter(
    (runtime) => newestNamed === undefined || compareRuntimes(runtime.runtimeVersion, newestNamed) <= 0,
  );
  const best = withinClassifiers.at(-1);
  if (best !== undefined) return { ok: true, runtime: best, rule: 'dated' };
  const oldestDated = dated[0];
  if (oldestDated !== undefined) return { ok: true, runtime: oldestDated, rule: 'above_classifiers' };
  return { ok: true, runtime: oldest, rule: 'younger_than_base' };
}

import type { IsoTime } from '../../domain/types.ts';
import { withoutCarriers } from './carriers.ts';
import { dependentsOf, formatLock } from './lock.ts';
import type { LockEntry } from './lock.ts';
import { normaliseName } from '../../domain/packageName.ts';
import { BACKEND_TOOLS, RUNNER_TOOLS, compileOnce } from './resolver.ts';
import type { Attempt, CompileFailure, CompileInput } from './resolver.ts';
import { throwIfUndelivered } from './storeContainer.ts';
import type { StoreContainer } from './storeContainer.ts';

/** Rises when the rules of resolution change: kept resolutions are made anew. */
export const COMPILE_RULES_VERSION = 1;

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

type Compiled = { readonly ok: true; readonly value: CompileResult & { readonly lockText: string } };

const MAX_TRIES = 16; // each costs a resolution of about half a second

/**
 * Resolves in a store container: wheels only first; then with source archives, which are built at once, so that a lock
 * is never returned that cannot be installed; tools relaxed; optional requirements loosened, then dropped, one by one.
 */
export async function compileLock(
  container: StoreContainer,
  input: CompileInput,
): Promise<Compiled | CompileFailure> {
  let attempt: Attempt = {
    optional: input.optional,
    sources: false,
    noBuild: [],
    relaxedTo: null,
    carriers: {},
  };
  for (let tries = 0; ; tries += 1) {
    const outcome = await compileOnce(container, input, attempt);
    const failure = outcome.ok
      ? await sourceFailure(container, attempt, outcome.entries)
      : { reason: 'unresolvable' as const, output: outcome.output };
    if (failure === null && outcome.ok) return finished(container, input, attempt, outcome.entries);
    const output = failure?.output ?? '';
    const next = tries < MAX_TRIES ? nextAttempt(input, attempt, output) : null;
    if (next === null) {
      const detail = `Nothing that can be had before ${input.cutoff} will do: ${output.trim().slice(-1_500)}`;
      return { ok: false, reason: failure?.reason ?? 'unresolvable', detail };
    }
    attempt = next;
  }
}

async function finished(
  container: StoreContainer,
  input: CompileInput,
  attempt: Attempt,
  entries: readonly LockEntry[],
): Promise<Compiled | CompileFailure> {
  const clean = await withoutCarriers(container, input, attempt, entries);
  if (!clean.ok) return clean;
  const dependents = input.self === null ? [] : [...dependentsOf(clean.entries, input.self)].toSorted();
  return {
    ok: true,
    value: {
      lockText: formatLock(clean.entries.filter((entry) => entry.name !== input.self)),
      dropped: input.optional.filter((line) => !attempt.optional.includes(line)),
      relaxedTo: attempt.relaxedTo,
      carriers: clean.carriers,
      dependents,
    },
  };
}

/** What to try after a failure; null when nothing is left. Pure. */
export function nextAttempt(input: CompileInput, attempt: Attempt, output: string): Attempt | null {
  const broken = normaliseName(
    /Failed to (?:build|download and build)[^`]*`([A-Za-z0-9._-]+)/.exec(output)?.[1] ?? '',
  );
  if (broken !== '' && attempt.sources && !attempt.noBuild.includes(broken))
    return { ...attempt, noBuild: [...attempt.noBuild, broken] };
  if (
    !attempt.sources &&
    /building from source is disabled|no (?:usable|matching) wheels|requires building from source/i.test(
      output,
    )
  )
    return { ...attempt, sources: true };
  const culprit = attempt.optional.find((line) => blamed(line, output));
  if (culprit !== undefined) {
    // A pin of a later day than the cut-off: the package itself may still serve.
    const loose = loosened(culprit);
    const others = attempt.optional.filter((line) => line !== culprit);
    return { ...attempt, optional: loose === culprit ? others : [...new Set([...others, loose])].toSorted() };
  }
  if (hopeless(input, output)) return null; // tools of a later day would not help
  const later = [input.cutoff, input.month, input.exact].find((date) => date > (attempt.relaxedTo ?? ''));
  if (later !== undefined) return { ...attempt, relaxedTo: later };
  return attempt.optional.length > 0 ? { ...attempt, optional: [] } : null;
}

const nameOf = (line: string): string => /^[a-z0-9-]+/.exec(line)?.[0] ?? line;
const loosened = (line: string): string => line.replace(/^([a-z0-9-]+(?:\[[^\]]*\])?)[^;]*?(?=\s*;|$)/, '$1');

/** Does the resolver's explanation name this requirement as impossible? */
function blamed(line: string, output: string): boolean {
  const flat = output.replace(/\s+/g, ' ');
  return new RegExp(`(?<![\\w-])${nameOf(line).replaceAll('-', '[-_.]')}(?![\\w-])`, 'i').test(flat);
}

/** The resolver says that a run-time requirement is younger than the cut-off: no tool and no test requirement is to blame. */
function hopeless(input: CompileInput, output: string): boolean {
  const filtered = [...output.matchAll(/`([^`\s]+)` was filtered by `exclude-newer`/g)].map((match) =>
    normaliseName(match[1] ?? ''),
  );
  const tools = new Set([...RUNNER_TOOLS, ...BACKEND_TOOLS, ...input.buildTools]);
  return filtered.length > 0 && filtered.every((name) => !tools.has(name));
}

/** Builds what has only source now; the message when that fails, else null. Wheels need no proof. */
async function sourceFailure(
  container: StoreContainer,
  attempt: Attempt,
  entries: readonly LockEntry[],
): Promise<{ readonly reason: 'unbuildable'; readonly output: string } | null> {
  if (!attempt.sources) return null;
  const answer = await container.request<{ readonly status: 'ok' | 'failed'; readonly output?: string }>({
    command: 'prefetch',
    lock: formatLock(entries),
  });
  if (answer.status === 'ok') return null;
  throwIfUndelivered(answer.output ?? '', 'Building source archives');
  return { reason: 'unbuildable', output: answer.output ?? '' };
}

import { normaliseName } from '../../domain/packageName.ts';

/** One pinned package of a lock. */
export interface LockEntry {
  readonly name: string;
  readonly version: string;
  /** `sha256:…`, sorted. */
  readonly hashes: readonly string[];
  /** Names of the packages that need it; [] when only the input asked for it. */
  readonly via: readonly string[];
  /** The input itself asked for it. */
  readonly direct: boolean;
}

/** Reads `uv pip compile --generate-hashes --annotation-style line` output. */
export function parseLock(text: string): readonly LockEntry[] {
  const entries: { name: string; version: string; hashes: string[]; via: string[]; direct: boolean }[] = [];
  for (const line of text.split(/\r?\n/)) {
    const pin = /^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)/.exec(line);
    const current = entries.at(-1);
    if (pin?.[1] !== undefined) {
      entries.push({
        name: normaliseName(pin[1]),
        version: pin[2] ?? '',
        hashes: [],
        via: [],
        direct: false,
      });
    } else if (current !== undefined) {
      const hash = /--hash=(\S+)/.exec(line)?.[1];
      if (hash !== undefined) current.hashes.push(hash);
      const via = /#\s*via\s+(.+)$/.exec(line)?.[1];
      for (const source of (via ?? '').split(',').map((part) => part.trim())) {
        if (source.startsWith('-')) current.direct = true;
        else if (source !== '') current.via.push(normaliseName(source));
      }
    }
  }
  return entries.map((entry) => ({ ...entry, hashes: entry.hashes.toSorted(), via: entry.via.toSorted() }));
}

/** The canonical lock: sorted by name, hashes sorted, LF, no comments. Equal pins give equal bytes. */
export function formatLock(entries: readonly LockEntry[]): string {
  return entries
    .toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map(
      (entry) =>
        [`${entry.name}==${entry.version}`, ...entry.hashes.map((hash) => `--hash=${hash}`)].join(
          ' \\\n    ',
        ) + '\n',
    )
    .join('');
}

/** Names and versions of a canonical lock. */
export const lockPins = (text: string): Readonly<Record<string, string>> =>
  Object.fromEntries(parseLock(text).map((entry) => [entry.name, entry.version]));

/** Packages that need `name`, directly or through others. */
export function dependentsOf(entries: readonly LockEntry[], name: string): ReadonlySet<string> {
  const found = new Set<string>();
  const visit = (wanted: string): void => {
    for (const parent of entries.find((entry) => entry.name === wanted)?.via ?? []) {
      if (found.has(parent)) continue;
      found.add(parent);
      visit(parent);
    }
  };
  visit(name);
  return found;
}

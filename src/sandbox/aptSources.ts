import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** One line of the host's apt configuration. */
export interface AptSource {
  readonly uri: string;
  readonly suites: readonly string[];
  readonly components: readonly string[];
}

/**
 * The Debian mirror that this host's own apt uses, or null: then mmdebstrap takes its built-in one.
 * A mirror of Ubuntu, of security updates or of a third party has no Debian suites and does not count.
 */
export function debianMirror(sources: readonly AptSource[], suites: readonly string[]): string | null {
  const known = new Set(suites);
  const isMain = ({ suites: own, components }: AptSource): boolean =>
    components.includes('main') && own.some((suite) => known.has(suite));
  return sources.find(isMain)?.uri.replace(/\/+$/, '') ?? null;
}

/** Reads `sources.list`, `*.list` (one line each) and `*.sources` (deb822). */
export function readAptSources(root = '/etc/apt'): readonly AptSource[] {
  const parts = join(root, 'sources.list.d');
  const files = [join(root, 'sources.list'), ...listed(parts).map((name) => join(parts, name))];
  return files.flatMap((file) => {
    const text = readText(file);
    return file.endsWith('.sources') ? parseDeb822(text) : parseOneLine(text);
  });
}

export function parseOneLine(text: string): readonly AptSource[] {
  return text.split('\n').flatMap((line) => {
    const match = /^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s*(.*)$/.exec(line.trim());
    if (match?.[1] === undefined || match[2] === undefined) return [];
    return [{ uri: match[1], suites: [match[2]], components: words(match[3]) }];
  });
}

export function parseDeb822(text: string): readonly AptSource[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const fields = new Map<string, string>();
    let name = '';
    for (const line of stanza.split('\n').filter((one) => !one.startsWith('#'))) {
      const field = /^([A-Za-z-]+):\s*(.*)$/.exec(line);
      if (field?.[1] !== undefined) name = field[1].toLowerCase();
      fields.set(name, `${fields.get(name) ?? ''} ${field?.[2] ?? line}`);
    }
    if (!words(fields.get('types')).includes('deb') || /^\s*no\s*$/i.test(fields.get('enabled') ?? ''))
      return [];
    const suites = words(fields.get('suites'));
    const components = words(fields.get('components'));
    return words(fields.get('uris')).map((uri) => ({ uri, suites, components }));
  });
}

const words = (text: string | undefined): readonly string[] => (text ?? '').split(/\s+/).filter(Boolean);

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function listed(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
      .filter((name) => /\.(list|sources)$/.test(name))
      .sort();
  } catch {
    return [];
  }
}

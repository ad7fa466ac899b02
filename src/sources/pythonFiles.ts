import { parse as parseToml } from 'smol-toml';
import type { SourceMirror } from './mirror.ts';

const FILES = [
  'pytest.toml',
  '.pytest.toml',
  'pytest.ini',
  '.pytest.ini',
  'pyproject.toml',
  'tox.ini',
  'setup.cfg',
];

/**
 * The project's `python_files` patterns, read where pytest reads them (first file that configures pytest wins); null
 * when it sets none. Broken files count as silent: the run will tell.
 */
export async function readPythonFiles(
  mirror: SourceMirror,
  commit: string,
): Promise<readonly string[] | null> {
  const files = await mirror.readFiles(commit, FILES);
  for (const name of FILES) {
    const text = files.get(name)?.toString('utf8');
    const configured = text === undefined ? null : patternsIn(name, text);
    if (configured !== null) return configured.length > 0 ? configured : null;
  }
  return null;
}

/** null: this file does not configure pytest; []: it does, but sets no patterns. */
export function patternsIn(name: string, text: string): readonly string[] | null {
  if (name.endsWith('.toml')) return patternsInToml(name, text);
  const section = name === 'setup.cfg' ? 'tool:pytest' : 'pytest';
  const body = iniSection(text, section);
  if (body === null) return name.includes('pytest') ? [] : null;
  const match = /^python_files[ \t]*[=:][ \t]*(.*(?:\n[ \t]+.*)*)/m.exec(body);
  return words((match?.[1] ?? '').replace(/[ \t]#.*$/gm, ''));
}

function patternsInToml(name: string, text: string): readonly string[] | null {
  try {
    const document = parseToml(text);
    const pytest = name.includes('pytest') ? document : table(table(document, 'tool'), 'pytest');
    if (!pytest) return null;
    const value = (table(pytest, 'ini_options') ?? pytest)['python_files'];
    return typeof value === 'string'
      ? words(value)
      : Array.isArray(value)
        ? value.filter((item) => typeof item === 'string')
        : [];
  } catch {
    return null;
  }
}

type Table = Readonly<Record<string, unknown>>;

function table(parent: Table | null, key: string): Table | null {
  const value = parent?.[key];
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Table) : null;
}

function iniSection(text: string, section: string): string | null {
  const lines = text.split(/\r?\n/);
  const start = lines.findIndex((line) => line.trim() === `[${section}]`);
  if (start < 0) return null;
  const end = lines.findIndex((line, index) => index > start && line.startsWith('['));
  return lines.slice(start + 1, end < 0 ? undefined : end).join('\n');
}

const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');

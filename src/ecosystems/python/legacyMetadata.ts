import { iniLines, parseIni } from './ini.ts';
import type { Ini } from './ini.ts';
import { NO_METADATA, pythonClassifiers } from './projectMetadata.ts';
import type { ProjectMetadata } from './projectMetadata.ts';
import { normaliseName } from '../../domain/packageName.ts';

/** What setup.cfg says beside the core metadata. */
export interface SetupCfg {
  readonly ini: Ini;
  readonly metadata: ProjectMetadata;
  readonly setupRequires: readonly string[];
  readonly testsRequire: readonly string[];
  /** The requirements stand in another file. */
  readonly requiresElsewhere: boolean;
}

/** Reads setup.cfg. Values that point elsewhere (`file:`, `attr:`) count as not said. */
export function readSetupCfg(text: string): SetupCfg {
  const ini = parseIni(text);
  const options = ini.get('options');
  const value = (section: string, key: string): string | undefined => ini.get(section)?.get(key);
  const install = options?.get('install_requires');
  const extras = [...(ini.get('options.extras_require') ?? [])].map(
    ([name, members]) => [normaliseName(name), iniLines(members)] as const,
  );
  const indirect = (setting: string | undefined): boolean => /^\s*(?:file|attr)\s*:/.test(setting ?? '');
  return {
    ini,
    metadata: {
      name: value('metadata', 'name') ?? null,
      requiresPython: options?.get('python_requires') ?? value('options', 'requires-python') ?? null,
      classifiers: pythonClassifiers(
        iniLines(value('metadata', 'classifiers') ?? value('metadata', 'classifier')),
      ),
      dependencies: install === undefined || indirect(install) ? null : iniLines(install),
      extras: extras.length === 0 ? null : Object.fromEntries(extras),
      groups: {},
    },
    setupRequires: iniLines(options?.get('setup_requires')),
    testsRequire: iniLines(options?.get('tests_require')),
    requiresElsewhere: indirect(install),
  };
}

export interface SetupPy {
  readonly name: string | null;
  readonly requiresPython: string | null;
  readonly classifiers: readonly string[];
  readonly setupRequires: readonly string[];
  readonly testsRequire: readonly string[];
  /** The text names compiled extensions. */
  readonly compiled: boolean;
  /** Nothing but a call of `setup()` without arguments: setup.cfg says it all. */
  readonly empty: boolean;
}

/** String literals of `keyword=[...]` in a setup.py; [] when the value is computed. */
function literalList(text: string, keyword: string): readonly string[] {
  const match = new RegExp(`\\b${keyword}\\s*=\\s*[\\[(]([^\\])]*)[\\])]`).exec(text);
  return [...(match?.[1] ?? '').matchAll(/(['"])((?:(?!\1).)*)\1/g)].map((literal) => literal[2] ?? '');
}

const literal = (text: string, keyword: string): string | null =>
  new RegExp(`\\b${keyword}\\s*=\\s*(['"])((?:(?!\\1).)*)\\1`).exec(text)?.[2] ?? null;

/** Lines that a setup.py may consist of and still say nothing. */
const EMPTY_SETUP_LINE =
  /^\s*(?:#.*|import setuptools|from setuptools import setup|(?:setuptools\.)?setup\(\s*\)|if __name__ == (['"])__main__\1:)?\s*(?:#.*)?$/;

/** Reads what literals of a setup.py give without running it. */
export function readSetupPy(text: string): SetupPy {
  const classifiers = [...text.matchAll(/['"](Programming Language :: Python[^'"]*)['"]/g)].map(
    (match) => match[1] ?? '',
  );
  return {
    name: literal(text, 'name'),
    requiresPython: literal(text, 'python_requires'),
    classifiers: pythonClassifiers(classifiers),
    setupRequires: literalList(text, 'setup_requires'),
    testsRequire: literalList(text, 'tests_require'),
    compiled: /\bext_modules\s*=|\bcythonize\s*\(|\bcffi_modules\s*=|\bExtension\s*\(/.test(text),
    empty: text.split(/\r?\n/).every((line) => EMPTY_SETUP_LINE.test(line)),
  };
}

/** `foo>=1 ; python_version < "3.8" and extra == "test"` → the extra's name and the line without it. */
function splitExtra(line: string): { readonly extra: string | null; readonly line: string } {
  const match = /extra\s*==\s*['"]([^'"]+)['"]/.exec(line);
  if (match?.[1] === undefined) return { extra: null, line };
  const rest = line
    .replace(/\s*(?:\band\b\s*)?\(?\s*extra\s*==\s*['"][^'"]+['"]\s*\)?/, '')
    .replace(/;\s*and\s+/, '; ')
    .replace(/;\s*$/, '')
    .trim();
  return { extra: normaliseName(match[1]), line: rest };
}

/**
 * Reads PKG-INFO / METADATA. `Requires-Dist` counts only where the file can say it: a wheel's METADATA (`built`) or
 * metadata 2.2 and later that does not call it dynamic.
 */
export function readPkgInfo(text: string, built = false): ProjectMetadata {
  const header = text.replace(/\r\n/g, '\n').split('\n\n')[0] ?? '';
  const all = (field: string): readonly string[] =>
    [...header.matchAll(new RegExp(`^${field}:[ \\t]*(.*)$`, 'gim'))].map((match) => (match[1] ?? '').trim());
  const version = Number(all('Metadata-Version')[0] ?? '0');
  const dynamic = new Set(all('Dynamic').map((field) => field.toLowerCase()));
  const said = built || (version >= 2.2 && !dynamic.has('requires-dist'));
  const extras: Record<string, string[]> = {};
  for (const extra of all('Provides-Extra')) extras[normaliseName(extra)] ??= [];
  const dependencies: string[] = [];
  for (const entry of all('Requires-Dist').map(splitExtra)) {
    if (entry.extra === null) dependencies.push(entry.line);
    else (extras[entry.extra] ??= []).push(entry.line);
  }
  return {
    ...NO_METADATA,
    name: all('Name')[0] ?? null,
    requiresPython: all('Requires-Python')[0] ?? null,
    classifiers: pythonClassifiers(all('Classifier')),
    dependencies: said ? dependencies : null,
    extras: said ? extras : null,
  };
}

/** setuptools' `requires.txt`: plain lines, then `[extra]`, `[:marker]` and `[extra:marker]` sections. */
export function readRequiresTxt(text: string): Pick<ProjectMetadata, 'dependencies' | 'extras'> {
  const dependencies: string[] = [];
  const extras: Record<string, string[]> = {};
  let extra = '';
  let marker = '';
  for (const line of text.split(/\r?\n/).map((raw) => raw.trim())) {
    const header = /^\[([^\]:]*)(?::(.*))?\]$/.exec(line);
    if (header !== null) {
      extra = normaliseName(header[1] ?? '');
      marker = header[2] ?? '';
      if (extra !== '') extras[extra] ??= [];
    } else if (line !== '') {
      const full = marker === '' ? line : `${line} ; ${marker}`;
      if (extra === '') dependencies.push(full);
      else (extras[extra] ??= []).push(full);
    }
  }
  return { dependencies, extras };
}
